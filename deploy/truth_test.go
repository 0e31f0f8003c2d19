package deploy_test

import (
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/deploy/gitrepo"
)

// at puts content into the branch as somebody else would, with a message.
func (w *world) at(message, path, content string) string {
	w.t.Helper()
	w.commitAs("Somebody <a@b>", message, path, content)
	return w.git("rev-parse", "main")
}

// commitAs writes one file with a committer of choice.
func (w *world) commitAs(committer, message, path, content string) {
	w.t.Helper()
	in := fmt.Sprintf("commit refs/heads/main\ncommitter %s %d +0000\ndata %d\n%s\nfrom refs/heads/main^0\nM 644 inline %s\ndata %d\n%s\n",
		committer, now.Unix(), len(message), message, path, len(content), content)
	if _, err := w.server.Git(w.t.Context(), "config", []byte(in), "fast-import", "--quiet"); err != nil {
		w.t.Fatal(err)
	}
}

// kustomized is the file with a tag and a digest.
func kustomized(tag string, d pratique.Digest) string {
	return fmt.Sprintf("images:\n- name: registry.example.com/team/app\n  newTag: %s # for people\n  digest: %s\n", tag, d)
}

func signingKey(t *testing.T) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

// forged are the trailers of a commit of ours, on a commit of somebody else.
func forged(tag string, d pratique.Digest, pushedAt string) string {
	return fmt.Sprintf("docs\n\nPratique-Image: registry.example.com/team/app@%s\nPratique-Tag: %s\nPratique-Target: prod\nPratique-Pushed: %s", d, tag, pushedAt)
}

// TestForeignTrailers: the trailers of a commit that is not ours, or did not do what they say,
// prove nothing and are in nobody's way.
func TestForeignTrailers(t *testing.T) {
	t.Parallel()
	const us, github = "Pratique <pratique@localhost>", "GitHub <noreply@github.com>"
	recent := now.Add(-time.Minute).Format(time.RFC3339)
	for name, test := range map[string]struct {
		signed                   bool
		committer, message, path string
		content                  string
	}{
		"a commit of documentation": {false, github, forged("v1", one, recent),
			"README.md", "x"},
		"documentation in our name": {false, us, forged("v1", one, recent),
			"README.md", "x"},
		"a later push of another tag": {false, github, forged("zzz", two, recent),
			"README.md", "x"},
		"a later push of another tag in our name": {false, us, forged("zzz", two, recent),
			"README.md", "x"},
		"it did it, and is not ours": {false, github, forged("zzz", two, recent),
			"prod/kustomization.yaml", kustomized("zzz", two)},
		"in our name, for ever": {false, us,
			forged("zzz", two, "2999-01-01T00:00:00Z"), "prod/kustomization.yaml",
			kustomized("zzz", two)},
		"in our name, elsewhere": {false, us, forged("zzz", two, recent),
			"test/kustomization.yaml", kustomized("zzz", two)},
		"in our name, another digest": {false, us, forged("zzz", one, recent),
			"prod/kustomization.yaml", kustomized("zzz", two)},
		"in our name, said twice": {false, us, forged("zzz", two, recent) +
			"\nPratique-Tag: v1", "prod/kustomization.yaml", kustomized("zzz", two)},
		"in our name, without our signature": {true, us, forged("zzz", two, recent),
			"prod/kustomization.yaml", kustomized("zzz", two)},
		"the same digest, without our signature": {true, us, forged("v1", one, recent),
			"README.md", "x"},
		"a message without end": {false, us, forged("zzz", two, recent) +
			strings.Repeat("\nX: y", 100_000), "prod/kustomization.yaml", kustomized("zzz", two)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if test.signed {
				w.key = signingKey(t)
			}
			gate := w.newGate(prod())
			c := w.push("v1", one, 0)
			w.commitAs(test.committer, test.message, test.path, test.content)
			w.deployed(gate, c)
			// What is ours, and did it, counts.
			w.deployed(gate, w.push("v2", two, 1))
			w.superseded(w.newGate(prod()), c, "v2@"+two.String(), w.git("rev-parse", "main"))
		})
	}
}

// claims makes commits of documentation that claim to have written a digest.
func (w *world) claims(n int, committer, message string) {
	w.t.Helper()
	var b strings.Builder
	for i := range n {
		from := ""
		if i == 0 {
			from = "from refs/heads/main^0\n"
		}
		fmt.Fprintf(&b,
			"commit refs/heads/main\ncommitter %s %d +0000\ndata %d\n%s\n%sM 644 inline README.md\ndata %d\n%d\n",
			committer, now.Unix(), len(message), message, from, len(fmt.Sprint(i)), i)
	}
	if _, err := w.server.Git(w.t.Context(), "config", []byte(b.String()), "fast-import",
		"--quiet"); err != nil {
		w.t.Fatal(err)
	}
}

// TestFlooded: however many commits claim something, they hide none of ours. Where nobody can tell
// them from ours, that is said, and an older push is not written.
func TestFlooded(t *testing.T) {
	t.Parallel()
	const us, eve = "Pratique <pratique@localhost>", "Eve <eve@b>"
	recent := now.Add(-time.Minute).Format(time.RFC3339)
	for name, test := range map[string]struct {
		signed    bool
		n         int
		committer string
		message   string
		unsure    bool
	}{
		"the same tag": {false, 700, eve, forged("v1", one, recent), false},
		"another tag":  {false, 700, eve, forged("zzz", one, recent), false},
		"another target": {false, 700, eve,
			strings.Replace(forged("v1", one, recent), "prod", "test", 1), false},
		"in our name, without a key": {true, 700, us, forged("v1", one, recent), false},
		"in our name":                {false, 300, us, forged("v1", one, recent), false},
		"in our name, of another place": {false, 700, us, strings.Replace(forged("v1", one, recent),
			"prod", "test", 1), false},
		"in our name, very many": {false, 700, us, forged("v1", one, recent), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if test.signed {
				w.key = signingKey(t)
			}
			older := w.push("v1", one, 0)
			newer := w.push("v2", two, 1)
			w.deployed(w.newGate(prod()), newer)
			newest := w.git("rev-parse", "main")
			w.claims(test.n, test.committer, test.message)
			if !test.unsure {
				w.superseded(w.newGate(prod()), older, "v2", newest)
				return
			}
			before := w.git("rev-parse", "main")
			o, err := deployAll(t.Context(), w.newGate(prod()), older)
			if pratique.KindOf(err) != pratique.Denied ||
				!strings.Contains(err.Error(), "could not be found out") ||
				!strings.Contains(err.Error(), "signingKey") ||
				len(o.Commits) != 0 || w.git("rev-parse", "main") != before {
				t.Errorf("%+v, %v", o, err)
			}
			// What stands there is deployed, as the tip says so.
			if o, err := deployAll(t.Context(), w.newGate(prod()), newer); err != nil ||
				len(o.Commits) != 1 {
				t.Errorf("%+v, %v", o, err)
			}
		})
	}
}

// TestAnotherConfiguration: commits of another path, of another target or of a folder that is gone
// do not make an image deployed.
func TestAnotherConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deployed(w.gate, w.push("v1", one, 0))
	c := w.push("v1", one, 1)
	for name, target := range map[string]deploy.Target{
		"a wrong path":   {Name: "prod", Path: "nosuch"},
		"another target": {Name: "production", Path: "nosuch"},
	} {
		o, err := deployAll(t.Context(), w.newGate(target), c)
		if err != nil || !o.NoTarget || len(o.Commits) != 0 ||
			!strings.Contains(o.Detail, "no place below ") {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
	// Under another name, what the tip holds counts.
	o, err := deployAll(t.Context(), w.newGate(deploy.Target{Name: "renamed", Path: "prod"}), c)
	if err != nil || len(o.Commits) != 1 || o.Commits[0].ID != w.git("rev-parse", "main") ||
		o.Commits[0].Created || o.Superseded || o.Reverted {
		t.Errorf("renamed: %+v, %v", o, err)
	}
	// Under the same name with another path that holds something else, it is written.
	w.deployed(w.newGate(deploy.Target{Name: "prod", Path: "test"}), c)
	w.git("update-ref", "refs/heads/main", w.git("rev-parse", "main^"))

	w.at("remove", "prod/kustomization.yaml", "resources: []\n")
	w.at("remove", "prod/deploy.yaml", "a: b\n")
	o, err = deployAll(t.Context(), w.gate, c)
	if err != nil || !o.Reverted || len(o.Commits) != 0 ||
		!strings.Contains(o.Detail, "asks for this tag any longer") || len(o.Drifted) != 1 {
		t.Errorf("places are gone: %+v, %v", o, err)
	}
}

// TestHistoryRewritten: what somebody has taken out of the history was never deployed, as far as
// anybody can tell; what the tip holds is deployed, whoever wrote it.
func TestHistoryRewritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deployed(w.gate, w.push("v1", one, 0))
	holds := w.git("rev-parse", "main^{tree}")
	squashed := w.git("commit-tree", holds, "-m", "everything so far")
	w.git("update-ref", "refs/heads/main", squashed)
	o, err := deployAll(t.Context(), w.gate, w.push("v1", one, 1))
	if err != nil || len(o.Commits) != 1 || o.Commits[0].ID != squashed || o.Commits[0].Created {
		t.Errorf("rewritten with it: %+v, %v", o, err)
	}
	w.git("update-ref", "refs/heads/main", w.before)
	w.deployed(w.gate, w.push("v1", one, 2))
}

// TestCrashAfterThePush: the commit is there, and the fact about it is not. The next delivery says
// that it is deployed, by this event.
func TestCrashAfterThePush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.push("v1", one, 0)
	w.deployed(w.gate, c)
	id := w.git("rev-parse", "main")
	w.others(30)
	o, err := deployAll(t.Context(), w.newGate(prod()), c)
	if err != nil || len(o.Commits) != 1 || o.Commits[0].ID != id || !o.Commits[0].Created ||
		o.Superseded || o.Reverted {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestSubmissions: what somebody asks for goes back to an older image only with the right to, and
// then also over what a person did; one event is written once.
func TestSubmissions(t *testing.T) {
	t.Parallel()
	three, four := pratique.DigestOf([]byte("three")), pratique.DigestOf([]byte("four"))
	for name, test := range map[string]struct {
		stands, asked string
		built         map[pratique.Digest]time.Time
		older         bool
	}{
		"a lower version":            {"v1.10.0", "v1.9.0", nil, true},
		"a higher version":           {"v1.9.0", "v1.10.0", nil, false},
		"a candidate of what stands": {"1.2.0", "1.2.0-rc.1", nil, true},
		"a later candidate":          {"1.2.0-rc.2", "1.2.0-rc.10", nil, false},
		"the same tag": {"latest", "latest",
			map[pratique.Digest]time.Time{three: now.Add(-2 * time.Hour),
				four: now.Add(-time.Hour)}, false},
		"built before": {"blue", "green",
			map[pratique.Digest]time.Time{three: now.Add(-2 * time.Hour),
				four: now.Add(-time.Hour)}, true},
		"built after": {"blue", "green",
			map[pratique.Digest]time.Time{three: now.Add(-time.Hour),
				four: now.Add(-2 * time.Hour)}, false},
		"built at no time": {"blue", "green",
			map[pratique.Digest]time.Time{three: time.Unix(0, 0), four: now.Add(-time.Hour)}, false},
		"built in the future": {"blue", "green",
			map[pratique.Digest]time.Time{three: now.Add(-time.Hour), four: now.Add(time.Hour)}, false},
		"nobody knows": {"blue", "green", nil, false},
		"a higher version, built first": {"v1.9.0", "v1.10.0",
			map[pratique.Digest]time.Time{three: now.Add(-2 * time.Hour),
				four: now.Add(-time.Hour)}, false},
		"a line is no version": {"v1.9.0", "v1", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.built = test.built
			for _, d := range []pratique.Digest{three, four} {
				v := w.vsas[one]
				v.Subject.Digest = d
				w.vsas[d] = v
			}
			stands := w.at("by hand", "prod/kustomization.yaml", kustomized(test.stands, four))
			w.at("by hand", "prod/deploy.yaml", "a: b\n")
			c := w.push(test.asked, three, 0)
			c.Asked = true
			if !test.older {
				w.deployed(w.gate, c)
				return
			}
			w.superseded(w.gate, c, test.stands+"@"+four.String(), stands)
			c.AllowOlder = true
			w.deployed(w.gate, c)
			w.at("revert", "prod/kustomization.yaml", kustomized(test.stands, four))
			o, err := deployAll(t.Context(), w.gate, c)
			if err != nil || !o.Reverted {
				t.Errorf("the same event again: %+v, %v", o, err)
			}
			c.Event = "asked again"
			w.deployed(w.gate, c)
			// A push needs no right: who pushes a tag last has the word.
			w.deployed(w.gate, w.push(test.stands, four, 1))
		})
	}
}

// TestSweeps: what a sweep found is written only where Git names that very tag.
func TestSweeps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const marked = "a: registry.example.com/team/app:v2 # {\"$pratique\": \"registry.example.com/team/app\"}\n" +
		"b: registry.example.com/team/app:v1 # {\"$pratique\": \"registry.example.com/team/app\"}\n" +
		"c: v1 # {\"$pratique\": \"registry.example.com/team/app\", \"write\": \"tag\"}\n" +
		"d: \"\" # {\"$pratique\": \"registry.example.com/team/app\", \"write\": \"digest\"}\n"
	w.at("by hand", "prod/kustomization.yaml", kustomized("v2", two))
	before := w.at("by hand", "prod/deploy.yaml", marked)
	c := w.push("v0", one, 0)
	c.RefreshOnly = true
	o, err := deployAll(t.Context(), w.gate, c)
	if err != nil || !o.NoTarget ||
		!strings.Contains(o.Detail,
			"pratique reconcile --deploy registry.example.com/team/app:v0 writes it") ||
		!strings.Contains(o.Detail, "app:v2") || w.git("rev-parse", "main") != before {
		t.Errorf("%+v, %v", o, err)
	}
	c = w.push("v1", one, 0)
	c.RefreshOnly = true
	w.deployed(w.gate, c)
	want := strings.NewReplacer("app:v1", "app:v1@"+one.String(), "d: \"\"", "d: \""+one.String()+
		"\"").Replace(marked)
	if got := w.git("show", "main:prod/deploy.yaml") + "\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := w.git("show", "main:prod/kustomization.yaml") + "\n"; got != kustomized("v2", two) {
		t.Errorf("another tag was overwritten: %s", got)
	}
}

// TestSignedCommits: with a key, the signature tells our commits from others, also in a new process.
func TestSignedCommits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.key = signingKey(t)
	c := w.push("v1", one, 0)
	w.deployed(w.newGate(prod()), c)
	w.at("revert", "prod/kustomization.yaml", kustomization)
	if o, err := deployAll(t.Context(), w.newGate(prod()), c); err != nil || !o.Reverted {
		t.Errorf("ours: %+v, %v", o, err)
	}
	// For a service with another key they are nobody's.
	w.key = signingKey(t)
	w.deployed(w.newGate(prod()), c)
}

// TestAuthor: without a key the configured author has to be the committer.
func TestAuthor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deployed(w.gate, w.push("v1", one, 0))
	w.at("revert", "prod/kustomization.yaml", kustomization)
	other, err := gitrepo.Open(gitrepo.Config{URL: w.url, Author: gitrepo.Signature{Name: "Other",
		Email: "other@localhost"}}, func() time.Time {
		return now
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	g, err := deploy.New(deploy.Config{Summaries: w, Tags: w, Profiles: []pratique.Profile{profile},
		Now: func() time.Time {
			return now
		},
		Targets: []deploy.Target{{Name: "prod", Path: "prod",
			Images: []pratique.Glob{"registry.example.com/team/*"}, Repository: other}}})
	if err != nil {
		t.Fatal(err)
	}
	w.deployed(g, w.push("v1", one, 1))
}

// TestNewPlaces: a place that somebody adds, or repairs, after the commit is written; nobody has
// taken it away.
func TestNewPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.at("broken", "prod/more.yaml", "a: web # {\"$pratique\": \"registry.example.com/team/app\"}\n")
	c := w.push("v1", one, 0)
	if o, err := deployAll(t.Context(), w.gate, c); pratique.KindOf(err) != pratique.Denied ||
		len(o.Commits) != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	w.at("repaired", "prod/more.yaml",
		"a: registry.example.com/team/app # {\"$pratique\": \"registry.example.com/team/app\"}\n")
	w.deployed(w.gate, c)
	w.at("added", "prod/new/kustomization.yaml", kustomization)
	w.deployed(w.gate, w.push("v1", one, 1))
	w.at("reverted and added", "prod/new/kustomization.yaml", kustomization)
	if o, err := deployAll(t.Context(), w.gate, w.push("v1", one, 2)); err != nil || !o.Reverted {
		t.Errorf("%+v, %v", o, err)
	}
}
