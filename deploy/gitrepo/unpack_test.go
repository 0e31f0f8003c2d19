package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/testenv/gitserver"
)

// bounded opens a repository with other limits.
func openBounded(t testing.TB, url string, change func(l *limits)) *Repo {
	t.Helper()
	r := open(t, Config{URL: url})
	change(&r.limits)
	return r
}

// look runs f with the tree of the tip.
func look(t *testing.T, r *Repo, f func(ctx context.Context, tree deploy.Tree)) {
	t.Helper()
	_, err := r.Update(t.Context(),
		deploy.Update{Edit: func(ctx context.Context, tree deploy.Tip) (deploy.Edit, error) {
			f(ctx, tree)
			return deploy.Edit{}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
}

// commit puts a file on top of the branch.
func commit(t *testing.T, s *gitserver.Server, repository, path, content string) {
	t.Helper()
	if _, err := s.Advance(t.Context(), repository, "x", map[string]string{path: content}); err != nil {
		t.Fatal(err)
	}
}

// TestHugeFile: a file of which a small pack makes hundreds of megabytes costs no memory, and
// everything else in the repository goes on. It is not run beside others, as it counts what is
// allocated.
func TestHugeFile(t *testing.T) {
	const huge = 300 << 20
	s := start(t)
	url := create(t, s, "r", files)
	commit(t, s, "r", "models/zeros.yaml", strings.Repeat("\x00", huge))
	r := openBounded(t, url, func(l *limits) { l.object = 1 << 20 })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if err := r.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > huge/10 {
		t.Errorf("reading a file of %d MiB allocated %d MiB", huge>>20, got>>20)
	}
	p, err := r.Update(t.Context(), set("apps/a/deploy.yaml", "image: a:2"))
	if err != nil || p.Commit == "" || git(t, s, "r", "show", "main:apps/a/deploy.yaml") != "image: a:2" {
		t.Fatalf("%+v, %v", p, err)
	}
	if got := git(t, s, "r", "cat-file", "-s", "main:models/zeros.yaml"); got != fmt.Sprint(huge) {
		t.Errorf("the file has %s bytes now", got)
	}
	look(t, r, func(ctx context.Context, tree deploy.Tree) {
		_, err := tree.Read("models/zeros.yaml")
		wantKind(t, err, pratique.Exhausted, "models/zeros.yaml has more than 1 MiB")
		if err := tree.Walk(ctx, "models", func(f deploy.File) error {
			_, err := f.Open(ctx)
			wantKind(t, err, pratique.Exhausted, "more than 1 MiB")
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

// TestLargeFile: a file that is too large to be edited can be searched, and one that was made
// smaller can be edited, also where Git sends it as the difference from the large one.
func TestLargeFile(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := create(t, s, "r", files)
	lines := make([]string, 40_000)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d %x\n", i, plumbing.ComputeHash(plumbing.BlobObject,
			fmt.Append(nil, i)))
	}
	all := strings.Join(lines, "")
	commit(t, s, "r", "big.yaml", all)
	small := strings.Join(lines[:len(lines)/3], "")
	commit(t, s, "r", "big.yaml", small)
	commit(t, s, "r", "other.yaml", all+"more\n")
	git(t, s, "r", "repack", "-adfq")
	size := int64(len(all))
	for name, test := range map[string]struct {
		change func(l *limits)
		small  error // what reading the smaller one says
		search bool
	}{
		"all is at hand": {func(l *limits) { l.file = size / 2 }, nil, true},
		"large ones are dropped": {func(l *limits) {
			l.object, l.file = size/2, size/2
		}, errors.New("any"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := openBounded(t, url, test.change)
			look(t, r, func(ctx context.Context, tree deploy.Tree) {
				got, err := tree.Read("big.yaml")
				switch {
				case err == nil && string(got) != small:
					t.Errorf("big.yaml has %d bytes, want %d", len(got), len(small))
				case err != nil && test.small == nil:
					t.Error(err)
				case err != nil: // Git may have sent it whole
					wantKind(t, err, pratique.Exhausted, "big.yaml has more than")
				}
				_, err = tree.Read("other.yaml")
				wantKind(t, err, pratique.Exhausted, "other.yaml has")
				if err := tree.Walk(ctx, "other.yaml", func(f deploy.File) error {
					in, err := f.Open(ctx)
					if !test.search {
						wantKind(t, err, pratique.Exhausted, "other.yaml has more than")
						return nil
					}
					if err != nil {
						return err
					}
					defer in.Close()
					content, err := io.ReadAll(in)
					if err != nil || string(content) != all+"more\n" {
						t.Errorf("%d bytes, %v", len(content), err)
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
			if p, err := r.Update(t.Context(), set("x/"+name, "y")); err != nil || p.Commit == "" {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

// TestTooMuch: a branch that takes more than it may is refused as a whole, in words that say what
// to do, and waits.
func TestTooMuch(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := create(t, s, "r", files)
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, "%x\n", plumbing.ComputeHash(plumbing.BlobObject, fmt.Append(nil, i)))
	}
	commit(t, s, "r", "x.yaml", b.String())
	for text, change := range map[string]func(l *limits){
		"takes more than 0 MiB of memory":                func(l *limits) { l.kept = 100_000 },
		"inflates to more than 0 MiB":                    func(l *limits) { l.inflated = 100_000 },
		"the pack of the branch has more than 0 MiB":     func(l *limits) { l.pack = 100 },
		"the list of branches has more than 0 MiB":       func(l *limits) { l.refs = 100 },
		"what comes before the pack has more than 0 MiB": func(l *limits) { l.answer = 3 },
	} {
		for _, remote := range []string{url, s.FileURL("r")} {
			r := openBounded(t, remote, change)
			err := r.Warm(t.Context())
			wantKind(t, err, pratique.Denied, text)
			if r.local != nil {
				t.Errorf("%s: what was read is still held", text)
			}
			r.limits = defaults()
			if err := r.Warm(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		}
	}
}

// TestGrown: what one fetch after another adds is given back before the limit is met.
func TestGrown(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := create(t, s, "r", files)
	r := openBounded(t, url, func(l *limits) { l.kept = 300_000 })
	for i := range 8 {
		// 64 kB each
		commit(t, s, "r", "x.yaml", strings.Repeat(fmt.Sprintf("%015d\n", i), 4_000))
		// history does not pile up
		git(t, s, "r", "update-ref", "refs/heads/main", git(t, s, "r", "-c", "user.name=x", "-c",
			"user.email=x@y", "commit-tree", "-m", "x", "main^{tree}"))
		if err := r.Warm(t.Context()); err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
	}
}

// bombed makes a branch whose root holds a folder ten times, and that another one ten times, and so
// on.
func bombed(t *testing.T, s *gitserver.Server, name string, depth int) string {
	t.Helper()
	url := create(t, s, name, files)
	mktree := func(entries string) string {
		id, err := s.Git(t.Context(), name, []byte(entries), "mktree")
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	level := git(t, s, name, "rev-parse", "main:apps/a")
	for range depth {
		var b strings.Builder
		for i := range 10 {
			fmt.Fprintf(&b, "040000 tree %s\tf%d\n", level, i)
		}
		level = mktree(b.String())
	}
	id := git(t, s, name, "-c", "user.name=x", "-c", "user.email=x@y", "commit-tree", "-m", "bomb",
		"-p", "main", mktree("040000 tree "+level+"\tbomb\n"))
	git(t, s, name, "update-ref", "refs/heads/main", id)
	return url
}

// TestManyFiles: a walk ends before it has visited more files than anybody has, and says where.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	s := start(t)
	r := open(t, Config{URL: bombed(t, s, "r", 8)})
	look(t, r, func(ctx context.Context, tree deploy.Tree) {
		visited := 0
		err := tree.Walk(ctx, "bomb", func(deploy.File) error { visited++; return nil })
		wantKind(t, err, pratique.Exhausted, "bomb/f0/")
		if visited == 0 || visited > maxEntries {
			t.Errorf("visited %d", visited)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if err := tree.Walk(ended, "bomb", func(deploy.File) error {
			t.Error("visited")
			return nil
		}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestEndlessRefs: a server that never stops to list branches is left, over http and over pipes.
func TestEndlessRefs(t *testing.T) {
	t.Parallel()
	line := func(i int) string {
		text := fmt.Sprintf("%040x refs/heads/b%d", i+1, i)
		if i == 0 {
			text += "\x00report-status"
		}
		return fmt.Sprintf("%04x%s\n", len(text)+5, text)
	}
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "001f# service=git-receive-pack\n0000")
		for i := 0; r.Context().Err() == nil; i++ {
			if _, err := io.WriteString(w, line(i)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(host.Close)
	r := openBounded(t, host.URL+"/r.git", func(l *limits) { l.refs = 1 << 20 })
	wantKind(t, r.Warm(t.Context()), pratique.Denied, "the list of branches has more than 1 MiB")

	r = openBounded(t, "file:///none", func(l *limits) { l.refs = 1 << 20 })
	r.client = &pipes{start: func(context.Context, string, *transport.Endpoint) (*running, error) {
		out, in := io.Pipe()
		go func() {
			for i := 0; ; i++ {
				if _, err := io.WriteString(in, line(i)); err != nil {
					return
				}
			}
		}()
		closed := func() error { return out.Close() }
		return &running{stdin: in, stdout: out, stderr: &tail{}, wait: closed, kill: closed,
			close: closed}, nil
	}}
	err := r.Warm(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the list of branches has more than 1 MiB") {
		t.Error(err)
	}
}

// TestPanic: a parser that panics is a failure of this repository, and the next one has its turn.
func TestPanic(t *testing.T) {
	t.Parallel()
	s := start(t)
	r := open(t, Config{URL: create(t, s, "r", files)})
	_, err := r.Update(t.Context(),
		deploy.Update{Edit: func(context.Context, deploy.Tip) (deploy.Edit, error) {
			panic("odd bytes")
		}})
	wantKind(t, err, pratique.Internal, "odd bytes")
	if _, err := r.Update(t.Context(), set("README.md", "x")); err != nil {
		t.Error(err)
	}
}

// TestTurn: who waits for others to be done does so only until its context ends.
func TestTurn(t *testing.T) {
	t.Parallel()
	s := start(t)
	r := open(t, Config{URL: create(t, s, "r", files)})
	_, err := r.Update(t.Context(),
		deploy.Update{Edit: func(ctx context.Context, _ deploy.Tip) (deploy.Edit, error) {
			ended, cancel := context.WithCancel(ctx)
			cancel()
			wantKind(t, r.Warm(ended), pratique.Unavailable, "canceled")
			return deploy.Edit{}, nil
		}})
	if err != nil {
		t.Error(err)
	}
}

// packOf encodes objects as go-git does, with deltas against their predecessors in the window.
func packOf(t testing.TB, refDeltas bool, contents ...string) []byte {
	t.Helper()
	st := memory.NewStorage()
	var hashes []plumbing.Hash
	for _, content := range contents {
		o := &plumbing.MemoryObject{}
		o.SetType(plumbing.BlobObject)
		_, _ = o.Write([]byte(content))
		h, err := st.SetEncodedObject(o)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, h)
	}
	var b bytes.Buffer
	if _, err := packfile.NewEncoder(&b, st, refDeltas).Encode(hashes, 10); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzUnpack: no pack makes it panic or hold more than it may; what it keeps has the hash that it
// is kept under; and where it takes a pack as a whole, it has what the parser of go-git has.
func FuzzUnpack(f *testing.F) {
	text := strings.Repeat("some text that repeats itself, ", 50)
	for _, refDeltas := range []bool{false, true} {
		f.Add(packOf(f, refDeltas, "a", "b", ""))
		f.Add(packOf(f, refDeltas, text, text+"and more", text+"and even more", text[:500]))
		f.Add(packOf(f, refDeltas, strings.Repeat("x", 20_000), strings.Repeat("x", 20_001)))
	}
	f.Fuzz(func(t *testing.T, pack []byte) {
		l := limits{inflated: 1 << 20, object: 64 << 10, file: 8 << 10, commit: 4 << 10, kept: 256 << 10}
		s := newStore(l)
		err := s.unpack(t.Context(), bytes.NewReader(pack))
		held := int64(0)
		for h, o := range s.objects.Objects {
			content, cerr := contentOf(o)
			if cerr != nil || plumbing.ComputeHash(o.Type(), content) != h ||
				int64(len(content)) > l.file {
				t.Fatalf("%s is %d bytes, %v", h, len(content), cerr)
			}
			held += int64(len(content))
		}
		for h, o := range s.large {
			if o.packed == nil {
				continue
			}
			content, cerr := o.all()
			if cerr != nil || plumbing.ComputeHash(o.typ, content) != h ||
				int64(len(content)) > l.object {
				t.Fatalf("large %s is %d bytes, %v", h, len(content), cerr)
			}
			held += int64(len(o.packed))
		}
		if held > l.kept+l.file {
			t.Fatalf("%d bytes are held", held)
		}
		if err != nil || s.partial {
			return
		}
		other := memory.NewStorage()
		if err := packfile.UpdateObjectStorage(other, bytes.NewReader(pack)); err != nil {
			return // it is stricter in places, such as deltas that nothing needs
		}
		for h, o := range other.Objects {
			if !s.has(h) {
				t.Fatalf("%s of type %s is missing", h, o.Type())
			}
		}
	})
}

// TestUnpackEnds: a pack is not read on when its context has ended.
func TestUnpackEnds(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newStore(defaults()).unpack(ended,
		bytes.NewReader(packOf(t, false, "a"))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
