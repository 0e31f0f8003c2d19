package gitrepo

import (
	"context"
	"encoding/hex"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/testenv/gitserver"
)

// TestOddNames: names that nobody can check out are no files of ours, and the rest of the folder is.
func TestOddNames(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := create(t, s, "r", files)
	blob := git(t, s, "r", "rev-parse", "main:README.md")
	entries := "100644 blob " + blob + "\t" + strings.Repeat("x", 300) + ".yaml\n100644 blob " +
		blob + "\ta.yaml\n100644 blob " + blob + "\tb\\c.yaml\n"
	id, err := s.Git(t.Context(), "r", []byte(entries), "mktree")
	if err != nil {
		t.Fatal(err)
	}
	tip := git(t, s, "r", "-c", "user.name=x", "-c", "user.email=x@y", "commit-tree", "-m", "x",
		"-p", "main", id)
	git(t, s, "r", "update-ref", "refs/heads/main", tip)
	r := open(t, Config{URL: url})
	if err := r.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	err = (&tree{store: r.local, root: plumbing.NewHash(id)}).Walk(t.Context(), "",
		func(f deploy.File) error {
			got = append(got, f.Path())
			return nil
		})
	if err != nil || strings.Join(got, " ") != "a.yaml" {
		t.Errorf("visited %q, %v", got, err)
	}
}

// entry is one of a folder as it stands in Git, and what it says behind its mode.
func entry(t *testing.T, mode, name, id string) string {
	t.Helper()
	raw, err := hex.DecodeString(id)
	if err != nil {
		t.Fatal(err)
	}
	return mode + " " + name + "\x00" + string(raw)
}

// commitTree makes a commit whose folder apps has these bytes, and does not ask whether Git would
// write them so.
func commitTree(t *testing.T, s *gitserver.Server, repo, apps string) {
	t.Helper()
	id, err := s.Git(t.Context(), repo, []byte(apps), "hash-object", "-t", "tree", "-w", "--stdin",
		"--literally")
	if err != nil {
		t.Fatal(err)
	}
	root, err := s.Git(t.Context(), repo, []byte("040000 tree "+id+"\tapps\n"), "mktree")
	if err != nil {
		t.Fatal(err)
	}
	tip := git(t, s, repo, "-c", "user.name=x", "-c", "user.email=x@y", "commit-tree", "-m", "x",
		"-p", "main", root)
	git(t, s, repo, "update-ref", "refs/heads/main", tip)
}

// TestBrokenFolder: where a checkout and another reader may differ on what a folder holds, nothing
// is read from it and nothing is written to it, and the error says which folder it is. What is
// beside it can be read.
func TestBrokenFolder(t *testing.T) {
	t.Parallel()
	s := start(t)
	create(t, s, "ids", files)
	blob, other, folder := git(t, s, "ids", "rev-parse", "main:README.md"),
		git(t, s, "ids", "rev-parse", "main:apps/a/deploy.yaml"), git(t, s, "ids", "rev-parse",
			"main:apps/a")
	const file, dir, link = "100644", "40000", "120000"
	for i, test := range []struct {
		entries string
		want    string // nothing if the folder is as it should be
	}{
		{entry(t, file, "a.yaml", blob) + entry(t, file, "a.yaml", other), `"a.yaml" stands in it twice`},
		{entry(t, file, "a.yaml", blob) + entry(t, link, "a.yaml", other), `"a.yaml" stands in it twice`},
		{entry(t, file, "a", blob) + entry(t, dir, "a", folder), `"a" stands in it twice`},
		{entry(t, file, "a", blob) + entry(t, file, "a.b", blob) + entry(t, dir, "a", folder),
			`"a" stands in it twice`},
		{entry(t, dir, "a", folder) + entry(t, file, "a", blob), `"a" stands in it twice`},
		{entry(t, file, "b", blob) + entry(t, file, "a", blob), "order of names"},
		{entry(t, dir, "a", folder) + entry(t, file, "a.b", blob), "order of names"},
		{entry(t, dir, ".git", folder), `".git" is no name`},
		{entry(t, file, ".GIT", blob), `".GIT" is no name`},
		{entry(t, file, ".git. ", blob), `is no name`},
		{entry(t, file, "GIT~1", blob), `is no name`},
		{entry(t, file, ".git::$INDEX_ALLOCATION", blob), `is no name`},
		{entry(t, file, `a\.git`, blob), `is no name`},
		{entry(t, file, ".g\u200cit", blob), `is no name`},
		{entry(t, dir, "..", folder), `".." is no name`},
		{entry(t, dir, ".", folder), `"." is no name`},
		{entry(t, file, "a/b", blob), `"a/b" is no name`},
		{entry(t, file, ".gitignore", blob) + entry(t, file, "a", blob) +
			entry(t, file, "a.b", blob) + entry(t, dir, "b", folder) + entry(t, file, "b0", blob) +
			entry(t, file, "git~2", blob), ""},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			name := fmt.Sprint("r", i)
			r := open(t, Config{URL: create(t, s, name, files)})
			commitTree(t, s, name, test.entries)
			_, err := r.View(t.Context(), 0, func(ctx context.Context, tip deploy.Tip) error {
				return tip.Walk(ctx, "", func(f deploy.File) error { _, err := f.Read(); return err })
			})
			_, wrote := r.Update(t.Context(), set("apps/a.yaml", "x: y"))
			_, beside := r.Update(t.Context(), set("beside/a.yaml", "x: z"))
			if beside != nil {
				t.Errorf("beside it: %v", beside)
			}
			if test.want == "" {
				if err != nil || wrote != nil {
					t.Errorf("%v; %v", err, wrote)
				}
				return
			}
			wantKind(t, err, pratique.Denied, test.want)
			wantKind(t, err, pratique.Denied, `"apps/"`)
			wantKind(t, wrote, pratique.Denied, test.want)
		})
	}
}

// TestMalformedFolder: what git's own server does not send, another one may.
func TestMalformedFolder(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("ab", 20)
	for content, want := range map[string]string{
		entry(t, "100644", "a", strings.Repeat("0", 40)): `"a" stands for nothing`,
		entry(t, "100644", "", id):                       "malformed",
		entry(t, "100644", "a", id)[:20]:                 "malformed",
		entry(t, "1006x4", "a", id):                      "malformed",
	} {
		s := newStore(defaults())
		o := &kept{typ: plumbing.TreeObject, hash: plumbing.ComputeHash(plumbing.TreeObject,
			[]byte(content)), content: []byte(content)}
		if _, err := s.objects.SetEncodedObject(o); err != nil {
			t.Fatal(err)
		}
		_, err := s.tree("apps", o.hash)
		wantKind(t, err, pratique.Denied, want)
		wantKind(t, err, pratique.Denied, `"apps/"`)
	}
}

// TestBrokenBefore: a folder that was broken once, and is not at the tip, stops nobody: who looks
// at that commit cannot tell.
func TestBrokenBefore(t *testing.T) {
	t.Parallel()
	s := start(t)
	r := open(t, Config{URL: create(t, s, "r", files)})
	blob := git(t, s, "r", "rev-parse", "main:README.md")
	commitTree(t, s, "r", entry(t, "100644", "a.yaml", blob)+entry(t, "100644", "a.yaml", blob))
	commitTree(t, s, "r", entry(t, "100644", "a.yaml", blob))
	u := set("apps/a.yaml", "x: y")
	u.History = func(past iter.Seq[deploy.Past]) bool {
		n := 0
		for p := range past {
			if known, err := p.Changed(t.Context(), "apps", func(deploy.File) error {
				return nil
			}); err != nil || known && n < 2 {
				t.Errorf("commit %d: %v, %v", n, known, err)
			}
			n++
		}
		return true
	}
	if p, err := r.Update(t.Context(), u); err != nil || p.Commit == "" {
		t.Errorf("%+v, %v", p, err)
	}
}
