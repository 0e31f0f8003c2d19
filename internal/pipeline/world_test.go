package pipeline_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/pipeline/attesting"
	"github.com/pratique-dev/pratique/internal/pipeline/deploying"
	"github.com/pratique-dev/pratique/internal/pipeline/inspecting"
	"github.com/pratique-dev/pratique/scanner"
)

// world is everything around the stages, in memory.
type world struct {
	*journal
	t   *testing.T
	now time.Time

	mu        sync.Mutex // guards what follows
	facts     []pratique.Fact
	documents map[pratique.Digest][]byte
	queue     []message
	known     map[string]bool // message ids

	names     map[pratique.Digest]string
	manifests map[string]pratique.Manifest // by ref
	bad       map[string]bool              // images with a finding
	held      int                          // images that were fetched and not released
	database  scanner.DatabaseDir
	scanner   pratique.Tool
	extras    []pratique.ExtraKind // that are asked for
	found     *pratique.Extras     // what the parser finds, if it is not just that nothing is there

	labels    map[string]string        // of every image
	evaluated func(attesting.Evidence) // is told what the policy is shown

	policy pratique.Profile
	// changes what the policy says about the same evidence, as rules about time do
	mood     func(*pratique.Decision)
	refresh  time.Duration
	registry *registry
	verifier string
	targets  map[string]deploy.Outcome
	changes  []pratique.Change
	// tagged is what the registry says that tags name, others what digests of another algorithm
	// name, and published what was published as further pushes.
	tagged    map[string]pratique.Digest
	others    map[pratique.ContentID]pratique.Digest
	published []pratique.Event
}

type message struct {
	stage    string
	priority pratique.Priority
	id       string
	body     []byte
}

var repository = pratique.Repository{Registry: "registry.test", Path: "team/app"}

const production = "production"

// committed is the outcome of a commit.
func committed(target string) deploy.Outcome {
	return deploy.Outcome{State: pratique.StateDeployed, Commit: &pratique.Commit{Target: target,
		ID: "c0ffee"}}
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), journal: newJournal(t),
		documents: map[pratique.Digest][]byte{}, known: map[string]bool{},
		names:     map[pratique.Digest]string{},
		manifests: map[string]pratique.Manifest{}, bad: map[string]bool{},
		scanner: pratique.Tool{Name: "trivy", Version: "1"}, verifier: "https://pratique.test",
		policy:  pratique.Profile{Name: "default", Digest: pratique.DigestOf([]byte("policy 1"))},
		refresh: 12 * time.Hour,
		targets: map[string]deploy.Outcome{production: committed(production)},
	}
	w.useDatabase("database 1")
	w.registry = newRegistry(w)
	w.image("1.0", "app")
	return w
}

func (w *world) useDatabase(name string) {
	w.database = scanner.DatabaseDir{Dir: "/db", Database: pratique.Database{
		Digest: pratique.DigestOf([]byte(name)), Version: 2,
		UpdatedAt: w.now.Add(-90 * time.Minute), Source: "registry.test/db:2",
	}}
}

func (w *world) digest(name string) pratique.Digest {
	d := pratique.DigestOf([]byte(name))
	w.names[d] = name
	return d
}

func (w *world) subject(name string) pratique.Subject {
	return pratique.Subject{Repository: repository, Digest: w.digest(name)}
}

// image makes the tag name an image, or an index of children given as "platform name".
func (w *world) image(tag, name string, children ...string) {
	m := pratique.Manifest{Subject: w.subject(name),
		MediaType: "application/vnd.oci.image.manifest.v1+json", Platform: "linux/amd64"}
	for _, c := range children {
		platform, child, _ := strings.Cut(c, " ")
		m.Platform = ""
		m.Children = append(m.Children, pratique.Child{Digest: w.digest(child),
			Platform: pratique.Platform(platform)})
	}
	w.manifests[ref(tag).String()] = m
}

func ref(tag string) pratique.ImageRef { return pratique.ImageRef{Repository: repository, Tag: tag} }

func (w *world) event(id, tag string) pratique.Event {
	return pratique.Event{ID: id, Ref: ref(tag), Source: "test", Priority: pratique.PriorityPush,
		ReceivedAt: w.now}
}

func (w *world) name(s pratique.Subject) string {
	if name, ok := w.names[s.Digest]; ok {
		return name
	}
	return s.String()
}

func (w *world) recorder(role pratique.Role) pipeline.Recorder {
	return pipeline.Recorder{
		Process: pipeline.Process{Now: func() time.Time {
			return w.now
		}, Instance: "host", Edge: w.edge}, Role: role, Ledger: ledger{w},
	}
}

func (w *world) base(role pratique.Role) pipeline.Base {
	return pipeline.Base{Recorder: w.recorder(role), Facts: ledger{w}, Queue: queue{w},
		Unreadable: documents{w}}
}

func (w *world) inspect() *inspecting.Stage {
	return &inspecting.Stage{
		Base: w.base(pratique.RoleInspect), Documents: documents{w}, Resolver: resolver{w}, Tags: tags{w},
		Publish: w.takeIn, Images: imagesFake{w}, Parser: parser{w},
		Scanner: w.scanner, Extras: w.extras, Database: func() (scanner.DatabaseDir, error) {
			return w.database, w.ask("database")
		},
	}
}

func (w *world) attest() *attesting.Stage {
	return &attesting.Stage{
		Base: w.base(pratique.RoleAttest), Documents: documents{w}, Policy: policy{w},
		Signer:   w.registry.key,
		Verifier: w.registry.key, Store: w.registry,
		Attestations: w.registry, VerifierID: w.verifier, Version: "1", Refresh: w.refresh,
	}
}

func (w *world) deploy() *deploying.Stage {
	return &deploying.Stage{Base: w.base(pratique.RoleDeploy), Answers: ledger{w}, Gate: gate{w}}
}

// handle delivers one message; alive is false if the process died.
func (w *world) handle(m message) (err error, alive bool) {
	defer func() {
		if at := recover(); at != nil {
			if _, ours := at.(died); !ours {
				panic(at)
			}
		}
	}()
	switch m.stage {
	case pratique.StageInspect:
		err = w.inspect().Handle(w.t.Context(), m.body)
	case pratique.StageAttest:
		err = w.attest().Handle(w.t.Context(), m.body)
	case pratique.StageDeploy:
		err = w.deploy().Handle(w.t.Context(), m.body)
	default:
		w.t.Fatalf("no such stage: %s", m.stage)
	}
	return err, true
}

// mustHandle delivers one message that has to succeed.
func (w *world) mustHandle(m message) {
	w.t.Helper()
	if err, _ := w.handle(m); err != nil {
		w.t.Fatalf("%s: %v", m.stage, err)
	}
}

// publish takes an event in and returns its message.
func (w *world) publish(e pratique.Event) message {
	w.t.Helper()
	intake := &pipeline.Intake{Recorder: w.recorder(pratique.RoleReceive), Batches: queue{w}}
	if err := intake.Publish(w.t.Context(), []pratique.Event{e}); err != nil {
		w.t.Fatal(err)
	}
	return w.last()
}

func (w *world) last() message {
	w.t.Helper()
	if len(w.queue) == 0 {
		w.t.Fatal("the queue is empty")
	}
	return w.queue[len(w.queue)-1]
}

// push takes an event in and delivers every message until none is left.
func (w *world) push(id, tag string) {
	w.t.Helper()
	w.process(w.event(id, tag))
}

// process takes an event in and delivers every message until none is left.
func (w *world) process(e pratique.Event) {
	w.t.Helper()
	first := len(w.queue)
	w.publish(e)
	for ; first < len(w.queue); first++ {
		w.mustHandle(w.queue[first])
	}
}

// upTo pushes and returns the message for the stage, which has not been delivered.
func (w *world) upTo(stage, id, tag string) message {
	w.t.Helper()
	m := w.publish(w.event(id, tag))
	for m.stage != stage {
		before := len(w.queue)
		w.mustHandle(m)
		if len(w.queue) == before {
			w.t.Fatalf("%s asks for no other stage", m.stage)
		}
		m = w.last()
	}
	return m
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(pratique.Digest{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// newest is the newest fact of a kind about a subject.
func (w *world) newest(s pratique.Subject, kind pratique.FactKind) pratique.Fact {
	w.t.Helper()
	f, ok := w.lookUp(s, kind)
	if !ok {
		w.t.Fatalf("no fact %s about %s", kind, w.name(s))
	}
	return f
}

func (w *world) lookUp(s pratique.Subject, kind pratique.FactKind) (pratique.Fact, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.facts) - 1; i >= 0; i-- {
		if w.facts[i].Subject == s && w.facts[i].Kind() == kind {
			return w.facts[i], true
		}
	}
	return pratique.Fact{}, false
}

// document decodes a stored document.
func (w *world) document(d pratique.Digest, into any) {
	w.t.Helper()
	content, ok := w.documents[d]
	if !ok {
		w.t.Fatalf("document %s is not stored", d)
	}
	if err := json.Unmarshal(content, into); err != nil {
		w.t.Fatal(err)
	}
}

// isKind checks the kind, and that the cause is still in the chain.
func isKind(t *testing.T, err error, kind pratique.Kind, cause error) {
	t.Helper()
	if pratique.KindOf(err) != kind || (cause != nil && !errors.Is(err, cause)) {
		t.Errorf("error %v of kind %s, want %s", err, pratique.KindOf(err), kind)
	}
}
