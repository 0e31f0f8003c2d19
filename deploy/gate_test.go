package deploy_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/verify"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/deploy/gitrepo"
	"github.com/pratique-dev/pratique/internal/testenv/gitserver"
)

var (
	app     = pratique.Repository{Registry: "registry.example.com", Path: "team/app"}
	profile = pratique.Profile{Name: "default", Digest: pratique.DigestOf([]byte("policy"))}
	one     = pratique.DigestOf([]byte("one"))
	two     = pratique.DigestOf([]byte("two"))
	now     = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
)

// world is a registry that knows tags and summaries, and a real config repository.
type world struct {
	t      *testing.T
	server *gitserver.Server
	url    string
	gate   *deploy.Gate
	before string

	key   []byte // commits are signed with it, if there is one
	built map[pratique.Digest]time.Time

	mu      sync.Mutex
	tags    map[string]pratique.Digest
	vsas    map[pratique.Digest]verify.Summary
	vsaErr  error
	tagErr  error
	asked   int
	onAsked func(n int) // called with the number of the question, before it is answered
}

func (w *world) Summary(_ context.Context, s pratique.Subject) (verify.Summary, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.vsas[s.Digest]
	if w.vsaErr == nil && !ok {
		return v, pratique.Errorf(pratique.NotFound, "read", "none")
	}
	return v, w.vsaErr
}

func (w *world) Digest(_ context.Context, ref pratique.ImageRef) (pratique.Digest, error) {
	w.mu.Lock()
	w.asked++
	n, f := w.asked, w.onAsked
	w.mu.Unlock()
	if f != nil {
		f(n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tagErr != nil {
		return pratique.Digest{}, w.tagErr
	}
	d, ok := w.tags[ref.Tag]
	if !ok || ref.Repository != app {
		return pratique.Digest{}, pratique.Errorf(pratique.NotFound, "resolve", "no tag")
	}
	return d, nil
}

// Created says when an image was built.
func (w *world) Created(_ context.Context, s pratique.Subject) (time.Time, error) {
	return w.built[s.Digest], nil
}

const kustomization = `images:
- name: registry.example.com/team/app
  newTag: old # for people
`

var files = map[string]string{
	"prod/kustomization.yaml": kustomization,
	"prod/deploy.yaml":        "# note\r\nimage: registry.example.com/team/app:0 # {\"$pratique\": \"registry.example.com/team/app\"}\r\n",
	"test/kustomization.yaml": kustomization,
	"prod/README.md":          "registry.example.com/team/app\n",
}

func newWorld(t *testing.T, targets ...deploy.Target) *world {
	t.Helper()
	server, err := gitserver.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	w := &world{t: t, server: server, tags: map[string]pratique.Digest{"v1": one},
		vsas: map[pratique.Digest]verify.Summary{}}
	for _, d := range []pratique.Digest{one, two} {
		w.vsas[d] = passed(d)
	}
	if w.url, err = server.Create(t.Context(), "config", files); err != nil {
		t.Fatal(err)
	}
	w.before = w.git("rev-parse", "main")
	w.git("config", "user.name", "Somebody")
	w.git("config", "user.email", "a@b")
	if len(targets) == 0 {
		targets = []deploy.Target{{Name: "prod", Path: "prod"}}
	}
	w.gate = w.newGate(targets...)
	return w
}

func passed(d pratique.Digest) verify.Summary {
	return verify.Summary{
		Envelope: pratique.DigestOf([]byte("vsa " + d.Hex())),
		Subject:  pratique.Subject{Repository: app, Digest: d}, Verifier: "https://pratique.example",
		Outcome: pratique.Allow, Profile: profile,
		Verdict: pratique.DigestOf([]byte("verdict " + d.Hex())), VerifiedAt: now.Add(-time.Hour),
	}
}

// newGate opens the repository anew, as another process would.
func (w *world) newGate(targets ...deploy.Target) *deploy.Gate {
	w.t.Helper()
	repo, err := gitrepo.Open(gitrepo.Config{URL: w.url, Tries: 50, SigningKey: w.key}, func() time.Time {
		return now
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(repo.Close)
	return w.gateOf(repo, targets...)
}

// gateOf is a gate whose targets are all in one repository.
func (w *world) gateOf(repo deploy.Repository, targets ...deploy.Target) *deploy.Gate {
	w.t.Helper()
	for i := range targets {
		if targets[i].Images == nil {
			targets[i].Images = []pratique.Glob{"registry.example.com/team/*"}
		}
		targets[i].Repository = repo
	}
	g, err := deploy.New(deploy.Config{Targets: targets, Summaries: w, Tags: w,
		Profiles: []pratique.Profile{profile},
		Verifier: "https://pratique.example", Ages: w, Now: func() time.Time { return now }})
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func (w *world) git(args ...string) string {
	w.t.Helper()
	out, err := w.server.Git(context.WithoutCancel(w.t.Context()), "config", nil, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) commits() string { return w.git("rev-list", "--count", w.before+"..main") }

func (w *world) tag(name string, d pratique.Digest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tags[name] = d
}

func change(d pratique.Digest, event string) pratique.Change {
	return pratique.Change{Subject: pratique.Subject{Repository: app, Digest: d}, Tag: "v1", Event: event,
		Verdict: pratique.DigestOf([]byte("claimed")), VSA: pratique.DigestOf([]byte("claimed")),
		Profile: pratique.Profile{Name: "claimed", Digest: profile.Digest}}
}

func TestDeploy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, deploy.Target{Name: "prod", Path: "prod"},
		deploy.Target{Name: "test", Path: "test"}, deploy.Target{Name: "none", Path: "none"},
		deploy.Target{Name: "releases", Tags: []pratique.Glob{"release-*"}})
	o, err := deployAll(t.Context(), w.gate, change(one, "event-1"))
	if err != nil || o.Superseded || o.NoTarget || len(o.Commits) != 2 {
		t.Fatalf("%+v, %v", o, err)
	}
	c := o.Commits[0]
	if c.Target != "prod" || c.Remote != w.url || c.Branch != "main" ||
		c.ID != w.git("rev-parse", "main^") ||
		o.Commits[1].ID != w.git("rev-parse", "main") || c.At.IsZero() {
		t.Errorf("commit %+v", c)
	}
	ref := "registry.example.com/team/app:v1@" + one.String()
	want := []pratique.FileChange{
		{Path: "prod/deploy.yaml", Line: 2, Field: "image", Old: "registry.example.com/team/app:0",
			New: ref},
		{Path: "prod/kustomization.yaml", Line: 3, Object: pratique.Object{Kind: "Kustomization"},
			Field: "images[0].newTag", Old: "old", New: "v1"},
		{Path: "prod/kustomization.yaml", Line: 4, Object: pratique.Object{Kind: "Kustomization"},
			Field: "images[0].digest", New: one.String()},
	}
	if diff := cmp.Diff(want, c.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got := w.git("show", "main:prod/deploy.yaml"); got != "# note\r\nimage: "+ref+
		" # {\"$pratique\": \"registry.example.com/team/app\"}\r" {
		t.Errorf("deploy.yaml is %q", got)
	}
	if got := w.git("log", "-1", "--format=%B", "main^"); !strings.Contains(got,
		"\n- prod/kustomization.yaml, line 4 (Kustomization images[0].digest): (none) -> "+
			one.String()+"\n") {
		t.Errorf("the message names no object: %s", got)
	}
	if got := w.git("diff", "--name-only", w.before,
		"main^"); got != "prod/deploy.yaml\nprod/kustomization.yaml" {
		t.Errorf("the commit for prod changed %q", got)
	}
	message := w.git("log", "-1", "--format=%B", "main^")
	if subject, _, _ := strings.Cut(message,
		"\n"); subject != fmt.Sprintf("deploy registry.example.com/team/app:v1 sha256:%.12s to prod", one.Hex()) {
		t.Errorf("subject is %q", subject)
	}
	// The evidence is what the gate verified, not what the message claimed.
	vsa := w.vsas[one]
	wantTrailers := fmt.Sprintf("Pratique-Image: registry.example.com/team/app@%s\nPratique-Tag: v1\nPratique-Target: prod\nPratique-Verdict: %s\n"+
		"Pratique-VSA: %s\nPratique-Profile: %s\nPratique-Event: event-1", one, vsa.Verdict,
		vsa.Envelope, profile)
	if diff := cmp.Diff(wantTrailers, parsedTrailers(t, message)); diff != "" {
		t.Errorf("trailers as git reads them (-want +got):\n%s", diff)
	}
	w.git("fsck", "--strict")
}

// TestClaimsAreIgnored: the evidence in a change makes no difference, not even by its absence.
func TestClaimsAreIgnored(t *testing.T) {
	t.Parallel()
	var said []string
	for _, claim := range []pratique.Digest{{}, two} {
		w := newWorld(t)
		c := change(one, "event-1")
		c.Verdict, c.VSA, c.Profile = claim, claim, pratique.Profile{Name: "claimed", Digest: claim}
		if _, err := deployAll(t.Context(), w.gate, c); err != nil {
			t.Fatal(err)
		}
		said = append(said, w.git("log", "-1", "--format=%B", "main"))
	}
	if diff := cmp.Diff(said[0], said[1]); diff != "" ||
		!strings.Contains(said[0], "Pratique-Verdict: ") {
		t.Errorf("messages (-without +with claims):\n%s\n%s", diff, said[0])
	}
}

// parsedTrailers asks git what the trailers of a message are.
func parsedTrailers(t *testing.T, message string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "interpret-trailers", "--parse")
	cmd.Stdin = strings.NewReader(message)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, err := deployAll(t.Context(), w.gate, change(one, "event-1"))
	if err != nil {
		t.Fatal(err)
	}
	again := func(name string, g *deploy.Gate, event, commits, id string) {
		t.Helper()
		o, err := deployAll(t.Context(), g, change(one, event))
		if err != nil || len(o.Commits) != 1 || o.Commits[0].ID != id || w.commits() != commits {
			t.Errorf("%s: %+v, %v, %s commits", name, o, err, w.commits())
		}
	}
	prod := deploy.Target{Name: "prod", Path: "prod"}
	again("same event", w.gate, "event-1", "1", first.Commits[0].ID)
	again("same event, new process", w.newGate(prod), "event-1", "1", first.Commits[0].ID)
	again("other event", w.gate, "event-2", "1", first.Commits[0].ID)
	if _, err := w.server.Advance(t.Context(), "config", "other",
		map[string]string{"x": "y"}); err != nil {
		t.Fatal(err)
	}
	again("others on top, new process", w.newGate(prod), "event-2", "2", first.Commits[0].ID)

	// A person takes it back: no event for the same digest may bring it again, and none says that
	// it is deployed.
	takenBack := func(name string, g *deploy.Gate, event string) {
		t.Helper()
		o, err := deployAll(t.Context(), g, change(one, event))
		if err != nil || !o.Reverted || o.Superseded || o.NoTarget || len(o.Commits) != 0 ||
			w.commits() != "3" || len(o.Drifted) != 1 {
			t.Fatalf("%s: %+v, %v, %s commits", name, o, err, w.commits())
		}
		by := w.git("rev-parse", "main")
		if d := o.Drifted[0]; d.Target != "prod" || d.State != pratique.StateReverted ||
			d.Tip != by || len(d.Places) != 2 ||
			d.Places[0].Since != by || !strings.Contains(o.Detail, first.Commits[0].ID) ||
			!strings.Contains(o.Detail, "revert that commit") || !strings.Contains(o.Detail, by) {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if _, err := w.server.Advance(t.Context(), "config", "take back", files); err != nil {
		t.Fatal(err)
	}
	takenBack("same event, after a revert", w.gate, "event-1")
	takenBack("other event, after a revert", w.gate, "event-3")
	takenBack("no event, after a revert", w.gate, "")
	takenBack("other event, after a revert, new process", w.newGate(prod), "event-4")
	// Another digest is news, and then this one is again.
	for i, d := range []pratique.Digest{two, one} {
		w.tag("v1", d)
		o, err := deployAll(t.Context(), w.gate, change(d, "event-1"))
		if err != nil || len(o.Commits) != 1 || o.Commits[0].ID != w.git("rev-parse", "main") ||
			w.commits() != fmt.Sprint(4+i) {
			t.Errorf("digest %d after a revert: %+v, %v", i, o, err)
		}
	}
}

// TestOlderThanTheClone: a new process finds the commit although it is below what a new clone has.
// Only where it is older than everything that is looked at, the files decide.
func TestOlderThanTheClone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := deployAll(t.Context(), w.gate, change(one, "event-1")); err != nil {
		t.Fatal(err)
	}
	w.others(25)
	o, err := deployAll(t.Context(), w.newGate(deploy.Target{Name: "prod", Path: "prod"}),
		change(one, "event-2"))
	if err != nil || len(o.Commits) != 1 || o.Commits[0].ID != w.git("rev-parse", "main~25") ||
		w.commits() != "26" {
		t.Errorf("%+v, %v, %s commits", o, err, w.commits())
	}
	w.others(2000)
	o, err = deployAll(t.Context(), w.newGate(deploy.Target{Name: "prod", Path: "prod"}),
		change(one, "event-2"))
	if err != nil || len(o.Commits) != 1 || o.Commits[0].ID != "" || len(o.Commits[0].Files) != 3 ||
		w.commits() != "2026" {
		t.Errorf("%+v, %v, %s commits", o, err, w.commits())
	}
}

// TestBackAndForth: pushing one, two and one again deploys one, even if the sender gave both pushes
// one id.
func TestBackAndForth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, step := range []struct {
		digest pratique.Digest
		event  string
	}{{one, "event-1"}, {two, "event-2"}, {one, "event-1"}} {
		w.tag("v1", step.digest)
		o, err := deployAll(t.Context(), w.gate, change(step.digest, step.event))
		if err != nil || len(o.Commits) != 1 || o.Commits[0].ID != w.git("rev-parse", "main") ||
			w.commits() != fmt.Sprint(i+1) {
			t.Errorf("step %d: %+v, %v", i, o, err)
		}
		if !strings.Contains(w.git("show", "main:prod/kustomization.yaml"), "digest: "+
			step.digest.String()) {
			t.Errorf("step %d: not deployed", i)
		}
	}
	if got := parsedTrailers(t, w.git("log", "-1", "--format=%B", "main")); !strings.HasSuffix(got,
		"Pratique-Previous: "+two.String()) {
		t.Errorf("the replaced digest is not named: %s", got)
	}
}

func TestSuperseded(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(w *world){
		"moved before":          func(w *world) { w.tag("v1", two) },
		"moved inside the lock": func(w *world) { w.onAsked = func(n int) { w.moveAt(n, 2) } },
		"moved after a conflict": func(w *world) {
			w.onAsked = func(n int) {
				if n == 2 {
					w.advance()
				}
				w.moveAt(n, 3)
			}
		},
		"gone": func(w *world) { w.mu.Lock(); delete(w.tags, "v1"); w.mu.Unlock() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			prepare(w)
			o, err := deployAll(t.Context(), w.gate, change(one, "event-1"))
			if err != nil || !o.Superseded || len(o.Commits) != 0 || o.Detail == "" {
				t.Errorf("%+v, %v", o, err)
			}
			if got := w.git("log", "--format=%s", w.before+"..main"); strings.Contains(got, "deploy") {
				t.Errorf("committed: %s", got)
			}
		})
	}
}

func (w *world) moveAt(n, at int) {
	if n == at {
		w.tag("v1", two)
	}
}

func (w *world) advance() {
	if _, err := w.server.Advance(context.WithoutCancel(w.t.Context()), "config", "other",
		map[string]string{"other": "x"}); err != nil {
		w.t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(w *world, v *verify.Summary, c *pratique.Change)
		kind  pratique.Kind
	}{
		"failed": {func(_ *world, v *verify.Summary, _ *pratique.Change) {
			v.Outcome = pratique.Deny
		}, pratique.Unverified},
		"no outcome": {func(_ *world, v *verify.Summary, _ *pratique.Change) {
			v.Outcome = ""
		}, pratique.Unverified},
		"other digest": {func(_ *world, v *verify.Summary, _ *pratique.Change) {
			v.Subject.Digest = two
		}, pratique.Unverified},
		"other place": {func(_ *world, v *verify.Summary, _ *pratique.Change) {
			v.Subject.Repository.Path = "team/other"
		}, pratique.Unverified},
		"other policy": {func(_ *world, v *verify.Summary, _ *pratique.Change) {
			v.Profile.Digest = one
		}, pratique.Unverified},
		"no policy": {func(_ *world, v *verify.Summary, _ *pratique.Change) {
			v.Profile.Digest = pratique.Digest{}
		}, pratique.Unverified},
		"other name": {func(_ *world, v *verify.Summary, _ *pratique.Change) {
			v.Profile.Name = "lenient"
		}, pratique.Unverified},
		"other verifier": {func(_ *world, v *verify.Summary, _ *pratique.Change) {
			v.Verifier = "https://evil.example"
		}, pratique.Unverified},
		"no envelope": {func(_ *world, v *verify.Summary, _ *pratique.Change) {
			v.Envelope = pratique.Digest{}
		}, pratique.Unverified},
		"stale": {func(_ *world, v *verify.Summary, _ *pratique.Change) {
			v.VerifiedAt = now.Add(-24*time.Hour - 1)
		}, pratique.Stale},
		"no time": {func(_ *world, v *verify.Summary, _ *pratique.Change) {
			v.VerifiedAt = time.Time{}
		}, pratique.Stale},
		"from tomorrow": {func(_ *world, v *verify.Summary, _ *pratique.Change) {
			v.VerifiedAt = now.Add(time.Hour)
		}, pratique.Unverified},
		"none": {func(w *world, _ *verify.Summary, _ *pratique.Change) {
			w.vsaErr = pratique.Errorf(pratique.NotFound, "read", "none")
		}, pratique.Unverified},
		"none to be had": {func(w *world, _ *verify.Summary, _ *pratique.Change) {
			w.vsaErr = pratique.Errorf(pratique.Unavailable, "read", "away")
		}, pratique.Unavailable},
		"tag cannot be trusted": {func(w *world, _ *verify.Summary, _ *pratique.Change) {
			w.tagErr = pratique.Errorf(pratique.Unverified, "resolve", "odd certificate")
		}, pratique.Denied},
		"no branch": {func(w *world, _ *verify.Summary, _ *pratique.Change) {
			w.git("branch", "-m", "main", "trunk")
		}, pratique.Unavailable},
		"tag unknown": {func(w *world, _ *verify.Summary, _ *pratique.Change) {
			w.tagErr = pratique.Errorf(pratique.Unavailable, "resolve", "away")
		}, pratique.Unavailable},
		"forged tag": {func(_ *world, _ *verify.Summary, c *pratique.Change) {
			c.Tag = "v1\nPratique-Tag: v2"
		}, pratique.Invalid},
		"no digest": {func(_ *world, _ *verify.Summary, c *pratique.Change) {
			c.Subject.Digest = pratique.Digest{}
		}, pratique.Invalid},
		"forged subject": {func(_ *world, _ *verify.Summary, c *pratique.Change) {
			c.Subject.Repository.Path = "a\nb"
		}, pratique.Invalid},
		"push refused": {func(w *world, _ *verify.Summary, _ *pratique.Change) {
			if err := w.server.Reject("config", "frozen"); err != nil {
				w.t.Error(err)
			}
		}, pratique.Denied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := change(one, "event-1")
			v := w.vsas[one]
			test.spoil(w, &v, &c)
			w.vsas[one] = v
			o, err := deployAll(t.Context(), w.gate, c)
			if err == nil || pratique.KindOf(err) != test.kind || len(o.Commits) != 0 {
				t.Errorf("%+v, %v (kind %v), want kind %v", o, err, pratique.KindOf(err), test.kind)
			}
			if n := w.git("rev-list", "--count", "--all", "^"+w.before); n != "0" {
				t.Errorf("%s commits", n)
			}
		})
	}
}

func TestNoTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, deploy.Target{Name: "docs", Path: "docs"},
		deploy.Target{Name: "prod", Path: "prod", Tags: []pratique.Glob{"v*"}})
	w.tag("main", one)
	for _, tag := range []string{"", "main"} {
		c := change(one, "event-1")
		c.Tag = tag
		if o, err := deployAll(t.Context(), w.gate, c); err != nil || !o.NoTarget ||
			len(o.Commits) != 0 || o.Detail == "" {
			t.Errorf("tag %q: %+v, %v", tag, o, err)
		}
	}
	if w.commits() != "0" {
		t.Errorf("%s commits", w.commits())
	}
}

// TestOneTargetFails: the others are served, the error says which failed, and the next delivery
// finishes.
func TestOneTargetFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, deploy.Target{Name: "broken", Path: "broken"},
		deploy.Target{Name: "prod", Path: "prod"})
	if _, err := w.server.Advance(t.Context(), "config", "x",
		map[string]string{"broken/a.yaml": "a: b # {\"$pratique\": \"registry.example.com/team/app\", \"writes\": 1}\n"}); err != nil {
		t.Fatal(err)
	}
	o, err := deployAll(t.Context(), w.gate, change(one, "event-1"))
	if pratique.KindOf(err) != pratique.Denied ||
		!strings.Contains(err.Error(), "target broken: edit: broken/a.yaml:1") || len(o.Commits) != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := w.server.Advance(t.Context(), "config", "x",
		map[string]string{"broken/a.yaml": "a: registry.example.com/team/app # {\"$pratique\": \"registry.example.com/team/app\"}\n"}); err != nil {
		t.Fatal(err)
	}
	o, err = deployAll(t.Context(), w.gate, change(one, "event-1"))
	if err != nil || len(o.Commits) != 2 || w.commits() != "4" {
		t.Errorf("%+v, %v, %s commits", o, err, w.commits())
	}
}

// TestEventText: whatever an event's id holds, it stays one trailer.
func TestEventText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := deployAll(t.Context(), w.gate,
		change(one, "x\nPratique-Profile: forged\r\n\u2028y\x00"+strings.Repeat("z", 2000))); err != nil {
		t.Fatal(err)
	}
	got := parsedTrailers(t, w.git("log", "-1", "--format=%B", "main"))
	if strings.Count(got, "\n") != 6 || strings.Contains(got, "\nPratique-Profile: forged") {
		t.Errorf("trailers: %s", got)
	}
}

// TestConcurrentGates: two processes and many events, each digest and event several times: at most
// one commit for each digest, and the newest is in place at the end.
func TestConcurrentGates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	prod := deploy.Target{Name: "prod", Path: "prod"}
	gates := []*deploy.Gate{w.gate, w.newGate(prod)}
	var wg sync.WaitGroup
	for i := range 12 {
		d, event := one, "event-1"
		if i%2 == 1 {
			d, event = two, "event-2"
		}
		if i == 6 {
			w.tag("v1", two)
		}
		wg.Go(func() {
			if _, err := deployAll(t.Context(), gates[i%3%2], change(d, event)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := w.commits(); n != "1" && n != "2" {
		t.Errorf("%s commits", n)
	}
	if got := w.git("show", "main:prod/kustomization.yaml"); !strings.Contains(got, two.String()) {
		t.Errorf("the newest is not in place: %s", got)
	}
	w.git("fsck", "--strict", "--no-dangling")
}

func TestNew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	repo, err := gitrepo.Open(gitrepo.Config{URL: w.url}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	good := deploy.Target{Name: "a", Images: []pratique.Glob{"x.example/*"}, Repository: repo}
	for name, spoil := range map[string]func(c *deploy.Config){
		"no policy":   func(c *deploy.Config) { c.Profiles = nil },
		"zero policy": func(c *deploy.Config) { c.Profiles = []pratique.Profile{{}} },
		"no reader":   func(c *deploy.Config) { c.Summaries = nil },
		"twice":       func(c *deploy.Config) { c.Targets = append(c.Targets, good) },
		"no images":   func(c *deploy.Config) { c.Targets[0].Images = nil },
		"bad pattern": func(c *deploy.Config) { c.Targets[0].Tags = []pratique.Glob{"["} },
		"bad name":    func(c *deploy.Config) { c.Targets[0].Name = "a\nb" },
		"no repo":     func(c *deploy.Config) { c.Targets[0].Repository = nil },
	} {
		c := deploy.Config{Targets: []deploy.Target{good}, Summaries: w, Tags: w,
			Profiles: []pratique.Profile{profile}, Now: time.Now}
		if _, err := deploy.New(c); err != nil {
			t.Fatal(err)
		}
		spoil(&c)
		if _, err := deploy.New(c); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
