// Package api is the HTTP API. It answers what is known about images: verdicts with their reasons,
// facts with times and authors, documents, attestations and deployments. It also accepts
// submissions, and reports how far they have come. Every error is a problem document (RFC 9457). The
// OpenAPI document describes all of it.
package api

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
)

// Images looks up images. An [index.Index] does. Its errors have kinds.
type Images interface {
	List(q index.Query) (index.Page, error)
	Images(d pratique.Digest) ([]pratique.Record, error)
	Tag(ref pratique.ImageRef) ([]index.TagStep, error)
	Links(s pratique.Subject) (index.Links, error)
}

// Events looks up events. An [index.Index] does. Its errors have kinds.
type Events interface {
	Event(id string) (index.EventStatus, error)
	Dead(state pratique.State, since time.Time, limit int) ([]index.EventStatus, bool, error)
	// Position is the ledger position of the last fact that was read.
	Position() (uint64, error)
}

// Documents returns documents by their digests. It must not return bytes that do not match.
type Documents interface {
	Get(ctx context.Context, d pratique.Digest) ([]byte, error)
}

// Service describes the running service.
type Service struct {
	Version  string
	Profiles []pratique.Profile
	// Database is the vulnerability database in use, nil if none is loaded.
	Database *pratique.Database
	// Queues are the backlogs of the queues, in the order of the stages; empty if they are not
	// known.
	Queues []pratique.QueueStats
	// Outbox is the backlog of the outbox; nil if it is not known.
	Outbox *pratique.OutboxStats
	// Rescan is the progress of the last rescan; nil if it is not known.
	Rescan *Rescan
}

// Config is the configuration of the API. Reconcile, Places, Operate, Auth, Now and OnError are
// optional.
type Config struct {
	Images    Images
	Events    Events
	Documents Documents
	// Deployments lists what is deployed where. [index.Index.Deployments] does; its errors carry
	// kinds.
	Deployments func(q index.DeploymentQuery) (index.DeploymentPage, error)
	// Report returns the whole report that a fact names. It is stored in parts that other reports
	// share.
	Report func(ctx context.Context, of pratique.Scanned) ([]byte, error)
	// Submit stores an event durably. Its errors have kinds.
	Submit func(ctx context.Context, e pratique.Event) error
	// Places returns what the config repositories hold now of an image repository; nil if the
	// service has no config repositories.
	Places func(ctx context.Context, of ...pratique.Repository) ([]pratique.TargetPlaces, error)
	// Digest returns what a tag names now in the registry. Its errors have kinds.
	Digest func(ctx context.Context, ref pratique.ImageRef) (pratique.Digest, error)
	// Describe describes the service.
	Describe func(ctx context.Context) (Service, error)
	// NotReady says what the service waits for before it can evaluate images and answer in full.
	// Empty, or a nil func, means that it is ready.
	NotReady func(ctx context.Context) string
	// Reconcile sweeps repositories; nil if the service does not.
	Reconcile Reconciler
	// Operate lists, cancels and requeues jobs; nil if the service does not.
	Operate Operator
	// NextAttempt returns when the work for an event is retried, zero if that is not known. It may
	// be nil.
	NextAttempt func(stage, event string) time.Time
	Auth        Auth
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
	// OnError is called with the cause of every response with status 500 and above, because the
	// client does not get it. It may be nil.
	OnError func(r *http.Request, err error)
}

type service struct {
	Config
}

// New returns the handler of /api/, of the probes, and of /openapi.json and /openapi.yaml. Other
// paths get a problem. The caller has checked cfg.Auth with [Auth.Validate]: an invalid Auth lets
// nobody in, not even holders of good tokens.
func New(cfg Config) http.Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.NotReady == nil {
		cfg.NotReady = func(context.Context) string { return "" }
	}
	if cfg.NextAttempt == nil {
		cfg.NextAttempt = func(string, string) time.Time { return time.Time{} }
	}
	mux := http.NewServeMux()
	s := &service{Config: cfg}
	doc := s.register(humago.New(mux, humaConfig()), mux)
	mux.HandleFunc("GET /openapi.json", doc.serveJSON)
	mux.HandleFunc("GET /openapi.yaml", doc.serveYAML)
	return &front{mux: mux, auth: newAuthenticator(cfg.Auth)}
}

// identity is the JSON form of a [pratique.Identity].
type identity struct {
	KeyID  string `json:"keyID,omitempty" doc:"The hexadecimal sha256 of the public key, for a signer with a key"`
	Issuer string `json:"issuer,omitempty" doc:"The OpenID Connect issuer, for a signer with a certificate"`
	SAN    string `json:"san,omitempty" doc:"The certificate's subject alternative name"`
}

func schemas() huma.Registry {
	r := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	r.RegisterTypeAlias(reflect.TypeFor[pratique.Identity](), reflect.TypeFor[identity]())
	return r
}

// humaConfig leaves out what huma adds by default: $schema links in responses, pages that load
// scripts from elsewhere, and its own route for the OpenAPI document, which is built on the first
// request without a lock.
func humaConfig() huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:   "Pratique attestation query API",
				Version: "1",
				Description: "What Pratique knows about container images, and the reasons of its verdicts. " +
					"Errors are problem documents; their type names the kind of error, as in urn:pratique:error:not-found.",
			},
			Components: &huma.Components{
				Schemas: schemas(),
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http",
					Scheme: "bearer"}},
			},
			Security: []map[string][]string{{"token": {}}},
			Tags: []*huma.Tag{
				{Name: "images", Description: "Verdicts, facts and documents of images"},
				{Name: "deployments", Description: "Which digests the targets hold"},
				{Name: "submissions", Description: "Images that somebody asked to evaluate"},
				{Name: "jobs",
					Description: "Work that waits, runs, failed or was canceled; cancel or requeue it"},
				{Name: "reconciliations", Description: "Sweeps for pushes that no webhook reported"},
				{Name: "service", Description: "The service itself"},
			},
		},
		Formats: map[string]huma.Format{"application/json": jsonFormat(),
			"json": jsonFormat()},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
}

func (s *service) register(api huma.API, mux *http.ServeMux) document {
	s.registerImages(api)
	s.registerDocuments(api)
	s.registerPlaces(api)
	s.registerDeployments(api)
	s.registerSubmissions(api)
	s.registerJobs(api)
	s.registerReconciliations(api)
	s.registerStatus(api)
	s.registerProbes(api, mux)
	return renderDocument(api.OpenAPI())
}

// answer runs a handler and turns its error into a problem. The cause of a server error is not sent.
func answer[I, O any](s *service,
	fn func(context.Context, *I) (*O, error)) func(context.Context, *I) (*O, error) {
	return func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if err == nil {
			return out, nil
		}
		if Status(err) >= http.StatusInternalServerError && s.OnError != nil {
			s.OnError(callerOf(ctx).request, err)
		}
		return nil, problem(err)
	}
}
