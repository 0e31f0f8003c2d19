// Package edittest says what a locator of package edit has to do, and tests it. To be accepted, a
// locator has
//
//   - a file in package locate and a row in locate.All; if its files are of a syntax that is not
//     read yet, an [edit.Syntax] too;
//   - archives in testdata, one for each form that a place may have, and one for each that is
//     refused, which [Test] runs. In them stand CRLF line ends, a byte order mark, several places
//     on a line, and whatever else its syntax has;
//   - hostile files: names that are hidden by escapes, aliases, endless nesting. Each of them ends
//     soon as a problem of its place, never as an edit and never in silence;
//   - a page of documentation with examples that a test runs.
//
// The suite holds it to this, on each file of each archive: what is written is what the archive
// says, and the bytes on all other lines stay; a second edit has nothing to do; what is written can
// be read, under its object and field; the change of another image does nothing; a file that ends
// early does no harm; an edit ends with its context. [Fuzz] holds it to the same on everything
// else.
package edittest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy/edit"
	"github.com/pratique-dev/pratique/internal/imagename"
)

// Change is the change that is made in archives: registry.example.com/team/app, pushed as 1.20.
func Change() pratique.Change {
	return pratique.Change{
		Subject: pratique.Subject{
			Repository: pratique.Repository{Registry: "registry.example.com", Path: "team/app"},
			Digest:     pratique.DigestOf([]byte("new")),
		},
		Tag: "1.20",
	}
}

// Fill puts digests for two words, so that archives can be read: NEW is that of the change, OLD
// another one.
func Fill(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("NEW"), []byte(Change().Subject.Digest.String()))
	b = bytes.ReplaceAll(b, []byte("OLD"), []byte(pratique.DigestOf([]byte("old")).String()))
	return bytes.TrimSuffix(b, []byte("(no newline)\n"))
}

// archive is one case. File "in/NAME" becomes "out/NAME", or stays as it is if there is none, with
// the changes in "changes", a line for each, and the problems in "problems", of which each line is
// the beginning of one; those of others begin with "others: ". The first word of the comment,
// "crlf" or "bom", changes the bytes of both sides.
type archive struct {
	name, file        string
	in, out           []byte
	changes, problems string
}

func read(t testing.TB, archives fs.FS) []archive {
	t.Helper()
	names, err := fs.Glob(archives, "*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	var all []archive
	for _, name := range names {
		raw, err := fs.ReadFile(archives, name)
		if err != nil {
			t.Fatal(err)
		}
		parsed := txtar.Parse(raw)
		a := archive{name: strings.TrimSuffix(name, ".txtar")}
		for _, f := range parsed.Files {
			switch data := Fill(f.Data); {
			case strings.HasPrefix(f.Name, "in/"):
				a.file, a.in = strings.TrimPrefix(f.Name, "in/"), data
			case strings.HasPrefix(f.Name, "out/"):
				a.out = data
			case f.Name == "changes":
				a.changes = string(data)
			case f.Name == "problems":
				a.problems = string(data)
			default:
				t.Fatalf("%s: what is %s?", name, f.Name)
			}
		}
		if a.out == nil {
			a.out = a.in
		}
		switch {
		case bytes.HasPrefix(parsed.Comment, []byte("crlf")):
			a.in, a.out = bytes.ReplaceAll(a.in, []byte("\n"), []byte("\r\n")),
				bytes.ReplaceAll(a.out, []byte("\n"), []byte("\r\n"))
		case bytes.HasPrefix(parsed.Comment, []byte("bom")):
			a.in, a.out = append([]byte("\ufeff"), a.in...), append([]byte("\ufeff"), a.out...)
		}
		all = append(all, a)
	}
	return all
}

// Test runs the suite on a table with the archives, which are in the root of their file system.
func Test(t *testing.T, table edit.Table, archives fs.FS) {
	t.Helper()
	for _, a := range read(t, archives) {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			if !table.Relevant(a.file) {
				t.Fatalf("no locator of the table is for %s", a.file)
			}
			a.golden(t, table)
			a.others(t, table)
			a.ended(t, table)
			a.cut(t, table)
		})
	}
}

// apply makes an edit with a context that does not end, and checks what holds for every one.
func apply(t testing.TB, table edit.Table, name string, content []byte, c pratique.Change) edit.Result {
	t.Helper()
	before := bytes.Clone(content)
	r, err := table.Apply(t.Context(), name, content, c)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content, before) {
		t.Fatal("the input was written to")
	}
	lawful(t, table, name, content, c, r)
	return r
}

func (a archive) golden(t *testing.T, table edit.Table) {
	t.Helper()
	r := apply(t, table, a.file, a.in, Change())
	if diff := cmp.Diff(string(a.out), string(r.Content)); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	var got strings.Builder
	for _, c := range r.Changes {
		fmt.Fprintf(&got, "%d: %q -> %q\n", c.Line, c.Old, c.New)
	}
	if diff := cmp.Diff(a.changes, got.String()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	want, said := strings.SplitAfter(a.problems, "\n"), strings.SplitAfter(Said(r.Problems), "\n")
	for i := range max(len(want), len(said)) {
		if i >= len(want) || i >= len(said) ||
			!strings.HasPrefix(said[i], strings.TrimSuffix(want[i], "\n")) {
			t.Errorf("problems are\n%s, want\n%s", Said(r.Problems), a.problems)
			break
		}
	}
}

// Said are problems, one a line.
func Said(all []edit.Problem) string {
	var b strings.Builder
	for _, p := range all {
		if !p.Ours {
			b.WriteString("others: ")
		}
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

// others: the change of an image that the file does not name does nothing, and waits for nothing.
func (a archive) others(t *testing.T, table edit.Table) {
	t.Helper()
	c := Change()
	c.Subject.Repository.Path = "nobody/asked"
	r := apply(t, table, a.file, a.in, c)
	if !bytes.Equal(r.Content, a.in) || len(r.Changes) != 0 ||
		slices.ContainsFunc(r.Problems, func(p edit.Problem) bool {
			return p.Ours
		}) {
		t.Errorf("an image that is not named: %+v", r)
	}
}

// ended: nothing is done when the context has ended.
func (a archive) ended(t *testing.T, table edit.Table) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := table.Apply(ctx, a.file, a.in, Change())
	if err == nil || !bytes.Equal(r.Content, a.in) || len(r.Changes)+len(r.Problems) != 0 {
		t.Errorf("edited without time: %+v, %v", r, err)
	}
}

// cut: a file that ends at any byte is edited as lawfully as any other.
func (a archive) cut(t *testing.T, table edit.Table) {
	t.Helper()
	const most = 100
	for at := 0; at < len(a.in); at += len(a.in)/most + 1 {
		apply(t, table, a.file, a.in[:at], Change())
	}
}

// lawful checks the invariants of every edit.
func lawful(t testing.TB, table edit.Table, name string, in []byte, c pratique.Change, r edit.Result) {
	t.Helper()
	real := 0
	for _, m := range r.Changes {
		if m.Old != m.New {
			real++
		}
		if m.Path != name || m.Line < 1 || len(m.Field) > 512 {
			t.Fatalf("change %+v", m)
		}
	}
	for _, p := range r.Problems {
		if len(p.Reason) == 0 || len(p.Reason) > 1000 || p.Path != name || p.Line < 0 {
			t.Fatalf("problem %+v", p)
		}
	}
	if len(r.Problems) > 50 {
		t.Fatalf("%d problems", len(r.Problems))
	}
	if (real > 0) == bytes.Equal(in, r.Content) {
		t.Fatalf("%d changes: %q -> %q", real, in, r.Content)
	}
	if real > 0 {
		if line := stray(in, r.Content, r.Changes); line > 0 {
			t.Fatalf("line %d is another one, and no change says so\n%q\n%q", line, in, r.Content)
		}
	}
	again, err := table.Apply(t.Context(), name, r.Content, c)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Content, r.Content) || len(again.Changes) != len(r.Changes) {
		t.Fatalf("the second time: %d changes, %d before\n%q\n%q", len(again.Changes),
			len(r.Changes), r.Content, again.Content)
	}
	readable(t, table, name, c, again)
}

// readable: the places that hold the change are there for everybody who reads the file.
func readable(t testing.TB, table edit.Table, name string, c pratique.Change, r edit.Result) {
	t.Helper()
	places, _, err := table.Places(t.Context(), name, r.Content, edit.ImageOf(c))
	if err != nil || !slices.Equal(places, r.Places) {
		t.Fatalf("places are\n%+v\nand after an edit\n%+v, %v", places, r.Places, err)
	}
	all, _, err := table.Read(t.Context(), name, r.Content)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		if p.Digest != c.Subject.Digest && (!p.TagOnly || p.Tag != c.Tag) {
			t.Fatalf("a place that was written: %+v", p)
		}
		if !slices.ContainsFunc(all, func(f edit.Reference) bool {
			return f.Line == p.Line && (f.Digest == p.Digest || f.Tag == p.Tag) &&
				f.Object == p.Object && f.Image == imagename.Canonical(c.Subject.Repository.String())
		}) {
			t.Fatalf("not among what the file names: %+v\n%+v", p, all)
		}
	}
}

// stray returns the first line of after that is neither as before nor named by a change; 0 if there
// is none.
func stray(before, after []byte, changes []pratique.FileChange) int {
	if bytes.ContainsAny(before, "\r\u0085\u2028\u2029") { // lines may end otherwise
		return 0
	}
	named, added := map[int]bool{}, map[int]bool{}
	for _, m := range changes {
		named[m.Line] = true
		added[m.Line] = added[m.Line] || m.Old == ""
	}
	old, now := bytes.Split(before, []byte("\n")), bytes.Split(after, []byte("\n"))
	here := map[int]bool{0: true} // how many of the old lines may have come so far
	for j, line := range now {
		next := map[int]bool{}
		for i := range here {
			if i < len(old) && (named[j+1] || bytes.Equal(old[i], line)) {
				next[i+1] = true
			}
			if added[j+1] {
				next[i] = true
			}
		}
		if here = next; len(here) == 0 {
			return j + 1
		}
	}
	if !here[len(old)] {
		return len(now)
	}
	return 0
}
