// Package api answers, over HTTP, what is known about images: verdicts with their reasons, facts with times
// and authors, documents, attestations and deployments. It also takes submissions, and reports how far they
// have come. Every error is a problem document (RFC 9457), and the OpenAPI document describes all of it.
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

// Images answers questions about images. [index.Index] does; its errors carry kinds.
type Images interface {
	List(q index.Query) (index.Page, error)
	Images(d pratique.Digest) ([]pratique.Record, error)
	Tag(ref pratique.ImageRef) ([]index.TagStep, error)
	Links(s pratique.Subject) (index.Links, error)
}

// Events answers questions about events. [index.Index] does; its errors carry kinds.
type Events interface {
	Event(id string) (index.EventStatus, error)
	Dead(state pratique.State, since time.Time, limit int) ([]index.EventStatus, bool, error)
	// Position is that of the last fact that was read.
	Position() (uint64, error)
}

// Documents returns evidence by digest. It must not return bytes that do not match.
type Documents interface {
	Get(ctx context.Context, d pratique.Digest) ([]byte, error)
}

// Service is what the running service says about itself.
type Service struct {
	Version  string
	Profiles []pratique.Profile
	// Database is the vulnerability database in use, nil if none is loaded.
	Database *pratique.Database
	// Queues is the work that is not done, in the order of the line; empty where it is not known.
	Queues []pratique.QueueFigures
	// Outbox is what was acknowledged and is not in a queue yet; nil where it is not known.
	Outbox *pratique.OutboxFigures
	// Rescan is how far matching against the newest database has come; nil where it is not known.
	Rescan *Rescan
}

// Config is what the API is made of. All but Reconcile, Places, Operate, Auth, Now and OnError must be set.
type Config struct {
	Images    Images
	Events    Events
	Documents Documents
	// Deployments lists what is deployed where. [index.Index.Deployments] does; its errors carry kinds.
	Deployments func(q index.DeploymentQuery) (index.DeploymentPage, error)
	// Report returns the report that a fact names, whole: it is stored in documents that others share.
	Report func(ctx context.Context, of pratique.Scanned) ([]byte, error)
	// Submit makes an event durable and returns; its errors carry kinds.
	Submit func(ctx context.Context, e pratique.Event) error
	// Places says what the config repositories hold of a repository of images now; nil if this service has none.
	Places func(ctx context.Context, of ...pratique.Repository) ([]pratique.TargetPlaces, error)
	// Digest asks the registry what a tag names now; its errors carry kinds.
	Digest func(ctx context.Context, ref pratique.ImageRef) (pratique.Digest, error)
	// Describe tells about the service.
	Describe func(ctx context.Context) (Service, error)
	// NotReady says what the service waits for before it can evaluate images and answer in full, empty if for nothing; nil
	// waits for nothing.
	NotReady func(ctx context.Context) string
	// Reconcile sweeps repositories; nil if this service does not.
	Reconcile Reconciler
	// Operate lists, cancels and requeues work; nil if this service does not.
	Operate Operator
	// NextAttempt returns when the work for an event is tried again, zero if that is not known; nil never knows.
	NextAttempt func(stage, event string) time.Time
	Auth        Auth
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
	// OnError is told the cause of every answer of 500 and above, whose text the client does not get to
	// see; nil ignores it.
	OnError func(r *http.Request, err error)
}

type service struct {
	Config
}

// New returns the handler of /api/, of the probes, and of /openapi.json and /openapi.yaml. Other paths are answered with a problem.
// The caller has checked cfg.Auth with [Auth.Validate] and reported its error; an Auth that it refuses lets nobody
// in, not even those whose own token is good.
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

// identity is how a [pratique.Identity] reads in JSON.
type identity struct {
	KeyID  string `json:"keyID,omitempty" doc:"The hexadecimal sha256 of the public key, if somebody signed with a key of their own"`
	Issuer string `json:"issuer,omitempty" doc:"The OpenID Connect issuer, if a certificate says who signed"`
	SAN    string `json:"san,omitempty" doc:"The certificate's subject alternative name"`
}

func schemas() huma.Registry {
	r := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	r.RegisterTypeAlias(reflect.TypeFor[pratique.Identity](), reflect.TypeFor[identity]())
	return r
}

// humaConfig leaves out what huma adds by default: $schema links in answers, pages that load scripts from
// elsewhere, and its own route of the OpenAPI document, which is built on the first request without a lock.
func humaConfig() huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:   "Pratique attestation query API",
				Version: "1",
				Description: "What Pratique found out about container images, and why it decided as it did. " +
					"Errors are problem documents; their type names the kind of error, as in urn:pratique:error:not-found.",
			},
			Components: &huma.Components{
				Schemas:         schemas(),
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}},
			},
			Security: []map[string][]string{{"token": {}}},
			Tags: []*huma.Tag{
				{Name: "images", Description: "Verdicts, facts and documents of images"},
				{Name: "deployments", Description: "Which digests the targets hold"},
				{Name: "submissions", Description: "Images to be evaluated because somebody asks"},
				{Name: "jobs", Description: "Work that waits, runs or ended without an answer; cancel it, take it in anew"},
				{Name: "reconciliations", Description: "Sweeps for pushes that no webhook told of"},
				{Name: "service", Description: "The service itself"},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": jsonFormat(), "json": jsonFormat()},
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

// answer runs a handler and turns its error into a problem. The cause of a server's error stays here.
func answer[I, O any](s *service, fn func(context.Context, *I) (*O, error)) func(context.Context, *I) (*O, error) {
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
