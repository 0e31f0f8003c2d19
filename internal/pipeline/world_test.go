package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/scanner"
)

// world is everything around the stages, in memory. All of it writes into one journal, so that tests can ask
// what came before what.
type world struct {
	t       *testing.T
	writing sync.Mutex // attesting goes on beside evaluating
	journal []string
	now     time.Time
	// fail makes the call with this journal line fail, before it has an effect.
	fail map[string]error
	// crash is the edge, with its count, at which the process dies; see crashed.
	crash string
	// at, if set, is told every edge, before a crash.
	at    func(point string)
	edges map[string]int

	after map[string]func() // what happens while that is done, once

	facts     []pratique.Fact
	documents map[pratique.Digest][]byte
	storing   sync.Mutex // stages store and read documents side by side
	queue     []message
	known     map[string]bool // message ids

	names     map[pratique.Digest]string
	manifests map[string]pratique.Manifest // by ref
	bad       map[string]bool              // images with a finding
	held      int                          // fetched images that were not released
	database  scanner.DatabaseDir
	scanner   pratique.Tool
	extras    []pratique.ExtraKind // that are asked for
	found     *pratique.Extras     // what the parser finds, if it is not just that nothing is there

	labels    map[string]string       // of every image
	evaluated func(pipeline.Evidence) // is told what the policy is shown

	policy   pratique.Profile
	mood     func(*pratique.Decision) // changes what the policy says about the same evidence, as time may
	refresh  time.Duration
	registry *registry
	verifier string
	targets  map[string]deploy.Outcome
	changes  []pratique.Change
	// tagged is what the registry says that tags name, others what digests of another algorithm name, and published what
	// was taken in as further pushes.
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
	return deploy.Outcome{State: pratique.StateDeployed, Commit: &pratique.Commit{Target: target, ID: "c0ffee"}}
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), fail: map[string]error{}, edges: map[string]int{},
		documents: map[pratique.Digest][]byte{}, known: map[string]bool{}, names: map[pratique.Digest]string{},
		manifests: map[string]pratique.Manifest{}, bad: map[string]bool{},
		scanner: pratique.Tool{Name: "trivy", Version: "1"}, verifier: "https://pratique.test",
		policy: pratique.Profile{Name: "default", Digest: pratique.DigestOf([]byte("policy 1"))}, refresh: 12 * time.Hour,
		targets: map[string]deploy.Outcome{production: committed(production)},
	}
	w.useDatabase("database 1")
	w.registry = newRegistry(w)
	w.image("1.0", "app")
	return w
}

func (w *world) useDatabase(name string) {
	w.database = scanner.DatabaseDir{Dir: "/db", Database: pratique.Database{
		Digest: pratique.DigestOf([]byte(name)), Version: 2, UpdatedAt: w.now.Add(-90 * time.Minute), Source: "registry.test/db:2",
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
	m := pratique.Manifest{Subject: w.subject(name), MediaType: "application/vnd.oci.image.manifest.v1+json", Platform: "linux/amd64"}
	for _, c := range children {
		platform, child, _ := strings.Cut(c, " ")
		m.Platform = ""
		m.Children = append(m.Children, pratique.Child{Digest: w.digest(child), Platform: pratique.Platform(platform)})
	}
	w.manifests[ref(tag).String()] = m
}

func ref(tag string) pratique.ImageRef { return pratique.ImageRef{Repository: repository, Tag: tag} }

func (w *world) event(id, tag string) pratique.Event {
	return pratique.Event{ID: id, Ref: ref(tag), Source: "test", Priority: pratique.PriorityPush, ReceivedAt: w.now}
}

func (w *world) name(s pratique.Subject) string {
	if name, ok := w.names[s.Digest]; ok {
		return name
	}
	return s.String()
}

// do writes the line and returns the error that the test wants there.
func (w *world) do(format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	w.writing.Lock()
	w.journal = append(w.journal, line)
	happens := w.after[line]
	delete(w.after, line)
	err := w.fail[line]
	w.writing.Unlock()
	if happens != nil {
		happens()
	}
	return err
}

// died is what an edge panics with: no deferred call of a stage may count on more.
type died string

func (w *world) edge(point string) {
	w.writing.Lock()
	w.edges[point]++
	passed := w.edges[point]
	w.journal = append(w.journal, "edge "+point)
	w.writing.Unlock()
	if w.at != nil {
		w.at(point)
	}
	if at := fmt.Sprintf("%s#%d", point, passed); at == w.crash {
		panic(died(at))
	}
}

func (w *world) base() pipeline.Base {
	return pipeline.Base{
		Ledger: ledger{w}, Documents: documents{w}, Queue: queue{w}, Now: func() time.Time { return w.now },
		Instance: "host", Edge: w.edge,
	}
}

func (w *world) inspect() *pipeline.Inspect {
	return &pipeline.Inspect{
		Base: w.base(), Resolver: resolver{w}, Tags: tags{w}, Publish: w.takeIn, Images: imagesFake{w}, Parser: parser{w}, Scanner: w.scanner, Extras: w.extras,
		Database: func() (scanner.DatabaseDir, error) { return w.database, w.do("database") },
	}
}

func (w *world) attest() *pipeline.Attest {
	return &pipeline.Attest{
		Base: w.base(), Policy: policy{w}, Signer: w.registry.key, Verifier: w.registry.key, Store: w.registry, Attestations: w.registry, VerifierID: w.verifier,
		Version: "1", Refresh: w.refresh,
	}
}

func (w *world) deploy() *pipeline.Deploy { return &pipeline.Deploy{Base: w.base(), Gate: gate{w}} }

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
	intake := &pipeline.Intake{Base: w.base(), Batches: queue{w}}
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

// forget empties the journal and returns what was in it, without the edges and the reading.
func (w *world) forget() []string {
	all := effects(w.journal)
	w.journal = nil
	return all
}

// effects leaves out the lines that change nothing outside.
func effects(journal []string) []string {
	var out []string
	for _, line := range journal {
		if verb, _, _ := strings.Cut(line, " "); verb != "edge" && verb != "last" && verb != "get" && verb != "put" && verb != "release" && verb != "upload" {
			out = append(out, line)
		}
	}
	return out
}

// background says which lines stand anywhere: the SBOMs are read, signed and uploaded while the image is evaluated.
func background(line string) bool { return line == "get" || strings.HasPrefix(line, "upload ") }

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
	w.writing.Lock()
	defer w.writing.Unlock()
	for i := len(w.facts) - 1; i >= 0; i-- {
		if w.facts[i].Subject == s && w.facts[i].Kind() == kind {
			return w.facts[i], true
		}
	}
	return pratique.Fact{}, false
}

// ledger keeps facts as they come back from JSON, so that nothing is compared that is not stored.
type ledger struct{ *world }

func (l ledger) Append(_ context.Context, f pratique.Fact) (uint64, error) {
	if err := l.do("fact %s %s", f.Kind(), l.name(f.Subject)); err != nil {
		return 0, err
	}
	if err := f.Validate(); err != nil {
		return 0, err
	}
	raw, err := json.Marshal(f)
	if err != nil {
		return 0, err
	}
	var kept pratique.Fact
	if err := json.Unmarshal(raw, &kept); err != nil {
		return 0, err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	l.facts = append(l.facts, kept)
	return uint64(len(l.facts)), nil
}

func (l ledger) Last(_ context.Context, s pratique.Subject, kind pratique.FactKind) (pratique.Fact, bool, error) {
	if err := l.do("last %s %s", kind, l.name(s)); err != nil {
		return pratique.Fact{}, false, err
	}
	f, ok := l.lookUp(s, kind)
	return f, ok, nil
}

func (l ledger) Completed(_ context.Context, s pratique.Subject, event string) (pratique.Fact, bool, error) {
	if err := l.do("last completed %s", l.name(s)); err != nil {
		return pratique.Fact{}, false, err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	for _, f := range slices.Backward(l.facts) {
		if f.Kind() == pratique.FactCompleted && f.Subject == s && f.Event == event {
			return f, true, nil
		}
	}
	return pratique.Fact{}, false, nil
}

func (l ledger) Answered(_ context.Context, s pratique.Subject, event, target string) (pratique.Fact, bool, error) {
	if err := l.do("last answered %s", l.name(s)); err != nil {
		return pratique.Fact{}, false, err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	for _, f := range slices.Backward(l.facts) {
		if a := pratique.As[pratique.Answered](f); a != nil && f.Subject == s && f.Event == event && a.Target == target {
			return f, true, nil
		}
	}
	return pratique.Fact{}, false, nil
}

type documents struct{ *world }

func (d documents) Put(_ context.Context, content []byte) (pratique.Digest, error) {
	d.storing.Lock()
	defer d.storing.Unlock()
	if err := d.do("put"); err != nil {
		return pratique.Digest{}, err
	}
	digest := pratique.DigestOf(content)
	d.documents[digest] = content
	return digest, nil
}

func (d documents) Get(_ context.Context, digest pratique.Digest) ([]byte, error) {
	d.storing.Lock()
	defer d.storing.Unlock()
	if err := d.do("get"); err != nil {
		return nil, err
	}
	content, ok := d.documents[digest]
	if !ok {
		return nil, pratique.Errorf(pratique.NotFound, "get document", "%s", digest)
	}
	return content, nil
}

// queue keeps one message of each id, as JetStream does.
type queue struct{ *world }

func (q queue) Publish(_ context.Context, stage pratique.Stage, priority pratique.Priority, id string, body []byte) error {
	if err := q.do("enqueue %s %s", stage, id); err != nil {
		return err
	}
	q.writing.Lock()
	defer q.writing.Unlock()
	if !q.known[id] {
		q.known[id] = true
		q.world.queue = append(q.world.queue, message{string(stage), priority, id, body})
	}
	return nil
}

func (q queue) PublishBatch(ctx context.Context, stage pratique.Stage, all []pratique.Message) error {
	for _, m := range all {
		if err := q.Publish(ctx, stage, m.Priority, m.ID, m.Body); err != nil {
			return err
		}
	}
	return nil
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
