// Package repotest says what a [deploy.Repository] has to do, and tests it. To be accepted, an
// implementation
//
//   - makes each commit on the newest state of its branch or not at all: the server compares and
//     swaps, nothing is merged or forced, and an edit is made again when somebody else was faster;
//   - writes what the edit says and nothing else, and none if nothing would change;
//   - finds its earlier commits, newest first, also in a new process and below commits of others,
//     so that no commit is made twice;
//   - assumes nothing: the server decides what the tip is, errors of the edit are passed on, and if
//     an answer is lost, it finds out whether the commit was made;
//   - can be viewed without the right to push;
//   - bounds everything that a server or a branch may cost, in bytes, entries, depth and time.
//     Beyond a bound the error is Denied or Exhausted, which people can resolve, or Unavailable,
//     which is tried again; never one that ends the work for good. The values of the bounds, and
//     backing off from a silent server, are tested by the implementation itself.
//
// The suite runs against a real remote; somebody else commits to it while the repository works.
package repotest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// Branch is a branch of a real remote.
type Branch struct {
	// Open returns the repository as a new process has it. It tries an edit a hundred times before
	// it gives up.
	Open func(t testing.TB) deploy.Repository
	// Advance commits files to the branch as somebody else does, and returns the commit's id.
	Advance func(files map[string]string) (string, error)
	// Log are the ids of the branch, the newest first.
	Log func(t testing.TB) []string
	// Check fails if the remote is not sound.
	Check func(t testing.TB)
}

// Files are what a new branch has, in one commit.
func Files() map[string]string {
	return map[string]string{
		"README.md":            "# config\n",
		"apps/a/deploy.yaml":   "image: a:1\n",
		"apps/a.b/deploy.yaml": "image: ab:1\n", // sorts between "a" and "a/" in Git's order
		"apps/b/deploy.yaml":   "image: b:1\n",
	}
}

// Test runs the suite. Each test has a branch of its own, with [Files].
func Test(t *testing.T, branch func(t *testing.T) Branch) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Branch){
		"one commit": oneCommit, "done before": doneBefore, "cold": cold, "writers": writers,
		"moved": moved, "edit fails": editFails,
		"tree": tree, "view": view, "since": since, "what it did": whatItDid,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := branch(t)
			test(t, b)
			b.Check(t)
		})
	}
}

// set is an update that writes one file, with its content as the event.
func set(path, content string) deploy.Update {
	return deploy.Update{Edit: func(context.Context, deploy.Tip) (deploy.Edit, error) {
		return deploy.Edit{
			Files: map[string][]byte{path: []byte(content)}, Message: "set " + path,
			Trailers: []deploy.Trailer{{Key: "Pratique-Event", Value: content}},
		}, nil
	}}
}

// once keeps an update from being made again: it changes nothing where the event's commit is found,
// and found is that.
func once(u deploy.Update, event string) (update deploy.Update, found *string) {
	found = new(string)
	edit := u.Edit
	u.History = func(past iter.Seq[deploy.Past]) bool {
		*found = ""
		for p := range past {
			if slices.Contains(p.Trailers, deploy.Trailer{Key: "Pratique-Event",
				Value: event}) && p.Ours() {
				*found = p.ID
				return true
			}
		}
		return false
	}
	u.Edit = func(ctx context.Context, tip deploy.Tip) (deploy.Edit, error) {
		if *found != "" {
			return deploy.Edit{}, nil
		}
		return edit(ctx, tip)
	}
	return u, found
}

func update(t *testing.T, r deploy.Repository, u deploy.Update) deploy.Pushed {
	t.Helper()
	p, err := r.Update(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func advance(t *testing.T, b Branch, files map[string]string) string {
	t.Helper()
	id, err := b.Advance(files)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// content is every file of the branch, as a new process sees it.
func content(t *testing.T, b Branch) map[string]string {
	t.Helper()
	all := map[string]string{}
	_, err := b.Open(t).View(t.Context(), 0, func(ctx context.Context, tip deploy.Tip) error {
		return tip.Walk(ctx, "", func(f deploy.File) error {
			content, err := f.Read()
			all[f.Path()] = string(content)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// oneCommit: an update makes one commit on the tip, with what was asked for and nothing else.
func oneCommit(t *testing.T, b Branch) {
	r, before := b.Open(t), b.Log(t)
	p := update(t, r, set("apps/a/deploy.yaml", "two"))
	if p.Commit == "" || p.Remote == "" || p.Branch == "" || p.At.IsZero() ||
		!slices.Equal(b.Log(t), slices.Concat([]string{p.Commit}, before)) {
		t.Errorf("pushed %+v, the branch has %v", p, b.Log(t))
	}
	want := Files()
	want["apps/a/deploy.yaml"] = "two"
	if diff := cmp.Diff(want, content(t, b)); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	if again := update(t, r, set("apps/a/deploy.yaml", "two")); again.Commit != "" || len(b.Log(t)) != 2 {
		t.Errorf("a commit that changes nothing: %+v", again)
	}
	theirs := advance(t, b, map[string]string{"README.md": "other\n"})
	p = update(t, r, set("new/folder/x.yaml", "x"))
	if log := b.Log(t); log[0] != p.Commit || log[1] != theirs {
		t.Errorf("%+v is not on top of %s: %v", p, theirs, log)
	}
	want["README.md"], want["new/folder/x.yaml"] = "other\n", "x"
	if diff := cmp.Diff(want, content(t, b)); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	for _, trailer := range []deploy.Trailer{{Key: "A", Value: "b\nC: d"}, {Key: "A B", Value: "c"},
		{Key: "A"}} {
		u := set("README.md", "x")
		edit := u.Edit
		u.Edit = func(ctx context.Context, tip deploy.Tip) (deploy.Edit, error) {
			e, err := edit(ctx, tip)
			e.Trailers = []deploy.Trailer{trailer}
			return e, err
		}
		if _, err := r.Update(t.Context(), u); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("trailer %q: %v", trailer, err)
		}
	}
}

// doneBefore: what was done is found in the history, by the same process and by another.
func doneBefore(t *testing.T, b Branch) {
	r := b.Open(t)
	p := update(t, r, set("apps/a/deploy.yaml", "one"))
	for _, r := range []deploy.Repository{r, b.Open(t)} {
		u, found := once(set("apps/a/deploy.yaml", "two"), "one")
		if again := update(t, r, u); again.Commit != "" || *found != p.Commit {
			t.Errorf("%+v, found %q, want %s", again, *found, p.Commit)
		}
	}
}

// cold: a new process finds a commit of its predecessor although many came after it, and goes on
// from there.
func cold(t *testing.T, b Branch) {
	u, found := once(set("apps/a/deploy.yaml", "one"), "one")
	p := update(t, b.Open(t), u)
	for i := range 30 {
		advance(t, b, map[string]string{"apps/a/deploy.yaml": fmt.Sprint(i)})
	}
	r := b.Open(t)
	if again := update(t, r, u); again.Commit != "" || *found != p.Commit {
		t.Errorf("%+v, found %q, want %s", again, *found, p.Commit)
	}
	advance(t, b, Files()) // back to what is here by now
	if p := update(t, r, set("README.md", "two")); p.Commit != b.Log(t)[0] {
		t.Errorf("afterwards: %+v", p)
	}
}

// writers: several without a common lock, and somebody else in between. Each change is made once,
// and history is a line.
func writers(t *testing.T, b Branch) {
	const writers, changes, others = 4, 6, 5
	var all sync.WaitGroup
	for w := range writers {
		r := b.Open(t)
		all.Go(func() {
			for i := range changes {
				id := fmt.Sprintf("%d-%d", w, i)
				// Each appends to a file that all share, so that a lost update shows.
				u, _ := once(deploy.Update{Edit: func(_ context.Context,
					tip deploy.Tip) (deploy.Edit, error) {
					old, err := tip.Read("all")
					if err != nil && pratique.KindOf(err) != pratique.NotFound {
						return deploy.Edit{}, err
					}
					return deploy.Edit{
						Message: "add " + id,
						Files: map[string][]byte{"all": append(slices.Clone(old), id+"\n"...),
							fmt.Sprint("w", w): []byte(id)},
						Trailers: []deploy.Trailer{{Key: "Pratique-Event", Value: id}},
					}, nil
				}}, id)
				if _, err := r.Update(t.Context(), u); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			}
		})
	}
	all.Go(func() {
		for i := range others {
			if _, err := b.Advance(map[string]string{"other.yaml": fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	files := content(t, b)
	lines := strings.Fields(files["all"])
	slices.Sort(lines)
	if len(lines) != writers*changes || len(slices.Compact(lines)) != writers*changes ||
		files["README.md"] != Files()["README.md"] {
		t.Errorf("%d lines: %v", len(lines), files)
	}
	if n := len(b.Log(t)); n != 1+writers*changes+others {
		t.Errorf("%d commits", n)
	}
}

// moved: when somebody else was faster, the edit is made again on what is there then.
func moved(t *testing.T, b Branch) {
	calls := 0
	theirs := ""
	u := set("apps/a/deploy.yaml", "mine")
	edit := u.Edit
	u.Edit = func(ctx context.Context, tip deploy.Tip) (deploy.Edit, error) {
		if calls++; calls == 1 {
			theirs = advance(t, b, map[string]string{"apps/a/deploy.yaml": "theirs\n"})
		} else if got, err := tip.Read("apps/a/deploy.yaml"); string(got) != "theirs\n" ||
			tip.ID() != theirs {
			t.Errorf("the second call sees %q at %s, %v", got, tip.ID(), err)
		}
		return edit(ctx, tip)
	}
	p := update(t, b.Open(t), u)
	if log := b.Log(t); calls != 2 || log[0] != p.Commit || log[1] != theirs {
		t.Errorf("%+v after %d calls: %v", p, calls, log)
	}
}

// editFails: the error of the edit is passed on, and nothing is written.
func editFails(t *testing.T, b Branch) {
	r, mine := b.Open(t), errors.New("mine")
	for _, err := range []error{mine, pratique.Wrap(pratique.Conflict, "x", "", mine),
		fmt.Errorf("y: %w", mine)} {
		calls := 0
		_, got := r.Update(t.Context(),
			deploy.Update{Edit: func(context.Context, deploy.Tip) (deploy.Edit, error) {
				calls++
				return deploy.Edit{}, err
			}})
		if !errors.Is(got, mine) || pratique.KindOf(got) != pratique.KindOf(err) || calls != 1 {
			t.Errorf("%v after %d calls, want %v", got, calls, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Update(ctx, set("README.md", "x")); err == nil || len(b.Log(t)) != 1 {
		t.Errorf("after the end: %v, %v", err, b.Log(t))
	}
}
