package edit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/yamltext"
)

var (
	digest = pratique.DigestOf([]byte("new"))
	old    = pratique.DigestOf([]byte("old"))
	change = pratique.Change{
		Subject: pratique.Subject{Repository: pratique.Repository{Registry: "registry.example.com", Path: "team/app"}, Digest: digest},
		Tag:     "1.20",
	}
	ref = "registry.example.com/team/app:1.20@" + digest.String()
)

// fill puts digests for short words, so that the golden files can be read.
func fill(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("NEW"), []byte(digest.String()))
	b = bytes.ReplaceAll(b, []byte("OLD"), []byte(old.String()))
	return bytes.TrimSuffix(b, []byte("(no newline)\n"))
}

// TestGolden runs the archives: file "in/NAME" becomes "out/NAME", or stays as it is if there is none, with the changes
// in "changes" and the problems in "problems", of which each line is the beginning of one; those of others begin with
// "others: ". The comment's first word "crlf" or "bom" changes the bytes of both sides.
func TestGolden(t *testing.T) {
	t.Parallel()
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var name, wantChanges, wantProblems string
			var in, want []byte
			for _, f := range a.Files {
				switch data := fill(f.Data); {
				case strings.HasPrefix(f.Name, "in/"):
					name, in = strings.TrimPrefix(f.Name, "in/"), data
				case strings.HasPrefix(f.Name, "out/"):
					want = data
				case f.Name == "changes":
					wantChanges = string(data)
				case f.Name == "problems":
					wantProblems = string(data)
				default:
					t.Fatalf("what is %s?", f.Name)
				}
			}
			if want == nil {
				want = in
			}
			if strings.HasPrefix(string(a.Comment), "crlf") {
				in, want = bytes.ReplaceAll(in, []byte("\n"), []byte("\r\n")), bytes.ReplaceAll(want, []byte("\n"), []byte("\r\n"))
			}
			if strings.HasPrefix(string(a.Comment), "bom") {
				in, want = append([]byte("\ufeff"), in...), append([]byte("\ufeff"), want...)
			}
			golden(t, name, in, want, wantChanges, wantProblems)
		})
	}
}

// apply runs Apply with a context that does not end.
func apply(t testing.TB, name string, content []byte, c pratique.Change) Result {
	t.Helper()
	r, err := All().Apply(t.Context(), name, content, c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// said are the problems, one a line.
func said(all []Problem) string {
	var b strings.Builder
	for _, p := range all {
		if !p.Ours {
			b.WriteString("others: ")
		}
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

func golden(t *testing.T, name string, in, want []byte, wantChanges, wantProblems string) {
	t.Helper()
	before := bytes.Clone(in)
	r := apply(t, name, in, change)
	out, changes := r.Content, r.Changes
	if !bytes.Equal(in, before) {
		t.Error("the input was written to")
	}
	if diff := cmp.Diff(string(want), string(out)); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	var got strings.Builder
	for _, c := range changes {
		if c.Path != name {
			t.Errorf("change names %s", c.Path)
		}
		fmt.Fprintf(&got, "%d: %q -> %q\n", c.Line, c.Old, c.New)
	}
	if diff := cmp.Diff(wantChanges, got.String()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	wantLines, gotLines := strings.SplitAfter(wantProblems, "\n"), strings.SplitAfter(said(r.Problems), "\n")
	for i := range max(len(wantLines), len(gotLines)) {
		if i >= len(wantLines) || i >= len(gotLines) || !strings.HasPrefix(gotLines[i], strings.TrimSuffix(wantLines[i], "\n")) {
			t.Errorf("problems are\n%s, want\n%s", said(r.Problems), wantProblems)
			break
		}
	}
	// Once more on the result: the same places, and nothing to do.
	again := apply(t, name, out, change)
	if !bytes.Equal(again.Content, out) || len(again.Changes) != len(changes) && !strings.Contains(wantChanges, `"" ->`) {
		t.Errorf("second time: %d changes, same bytes %v", len(again.Changes), bytes.Equal(again.Content, out))
	}
	for _, c := range again.Changes {
		if c.Old != c.New {
			t.Errorf("second time: line %d %q -> %q", c.Line, c.Old, c.New)
		}
	}
}

func TestRelevant(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"a/b.yaml": true, "b.yml": true, "x/Kustomization": true, "kustomization.yaml": true,
		"a.json": false, "Kustomization.txt": false, "yaml": false, "a.yaml.tmpl": false,
	} {
		if All().Relevant(name) != want {
			t.Errorf("Relevant(%q) is %v", name, !want)
		}
	}
}

// TestOtherImages: a file full of other people's images is left alone, byte for byte and without parsing.
func TestOtherImages(t *testing.T) {
	t.Parallel()
	in := []byte("image: registry.example.com/team/app-evil:1 # {\"$pratique\": \"registry.example.com/team/app-evil\"}\n{{ not YAML }}: [\n")
	if r := apply(t, "x.yaml", in, change); len(r.Changes) != 0 || len(r.Problems) != 0 || !bytes.Equal(in, r.Content) {
		t.Errorf("%+v", r)
	}
}

// TestOtherImagesKustomized: a broken file is nobody's business but that of the images it names as a whole.
func TestOtherImagesKustomized(t *testing.T) {
	t.Parallel()
	for image, ours := range map[string]bool{
		"registry.example.com/team/app-two": false, "registry.example.com/team/app/x": false, "registry.example.com/team/app.x": false,
		"my-registry.example.com/team/app": false, "other.example.com/team/app": false, "team/app": false,
		"registry.example.com/team/app": true, `"registry.example.com/team/app"`: true, "registry.example.com/team/app-two registry.example.com/team/app:1": true,
	} {
		r := apply(t, "kustomization.yaml", []byte("<<<<<<< HEAD\nimages:\n- name: "+image+"\n"), change)
		if (len(r.Problems) != 0) != ours || len(r.Changes) != 0 {
			t.Errorf("%s: %+v", image, r)
		}
	}
}

// FuzzApply: no input makes it panic; when it edits, the result parses to what went in but for the values
// that the changes name; and a second run has nothing to do.
func FuzzApply(f *testing.F) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range archives {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range txtar.Parse(raw).Files {
			if strings.HasPrefix(file.Name, "in/") {
				f.Add(strings.HasSuffix(file.Name, "kustomization.yaml"), fill(file.Data))
			}
		}
	}
	f.Fuzz(func(t *testing.T, kustomize bool, in []byte) {
		name := "deploy.yaml"
		if kustomize {
			name = "kustomization.yaml"
		}
		r := apply(t, name, in, change)
		real := 0
		for _, c := range r.Changes {
			if c.Old != c.New {
				real++
			}
			if c.Old != "" && !tagForm.MatchString(c.Old) && !digestForm.MatchString(c.Old) && !strings.Contains(c.Old, "registry.example.com/team/app") {
				t.Fatalf("overwrote %q", c.Old)
			}
		}
		if len(r.Problems) > maxProblems {
			t.Fatalf("%d problems", len(r.Problems))
		}
		for _, p := range r.Problems {
			if len(p.Reason) == 0 || len(p.Reason) > 1000 || p.Path != name || p.Line < 0 {
				t.Fatalf("problem %+v", p)
			}
		}
		out := r.Content
		if real == 0 {
			if !bytes.Equal(in, out) {
				t.Fatalf("changed without saying so: %q -> %q", in, out)
			}
			return
		}
		before, err := leaves(in)
		if err != nil {
			t.Fatalf("edited what cannot be read: %v", err)
		}
		after, err := leaves(out)
		if err != nil {
			t.Fatalf("cannot read the result: %v", err)
		}
		if n := distance(before, after); n > real {
			t.Fatalf("%d values differ, %d changes\n%q\n%q", n, real, in, out)
		}
		if again := apply(t, name, out, change); !bytes.Equal(again.Content, out) {
			t.Fatalf("second run:\n%q\n%q", out, again.Content)
		}
	})
}

// distance is the least number of edits of the allowed kinds that turn one list of values into the other: a
// value replaced by what may be written, or a digest field inserted. It is huge if there is no way.
func distance(before, after []string) int {
	const no = 1 << 20
	row := make([]int, len(after)+1) // costs of the values of before seen so far against each start of after
	for i := range len(before) + 1 {
		next := make([]int, len(after)+1)
		for j := range next {
			next[j] = no
			if i == 0 && j == 0 {
				next[j] = 0
			}
			if j >= 2 && after[j-2] == "digest" && after[j-1] == digest.String() {
				next[j] = min(next[j], next[j-2]+1)
			}
			if i == 0 || j == 0 {
				continue
			}
			if before[i-1] == after[j-1] {
				next[j] = min(next[j], row[j-1])
			}
			if after[j-1] == change.Tag || after[j-1] == digest.String() || strings.HasSuffix(after[j-1], ref) {
				next[j] = min(next[j], row[j-1]+1)
			}
		}
		row = next
	}
	return row[len(after)]
}

// leaves returns all scalars in the order of the text, by a walk of its own.
func leaves(content []byte) ([]string, error) {
	text, err := yamltext.Parse(context.Background(), content)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, d := range text.Docs {
		stack := d.Content
		for len(stack) > 0 {
			n := stack[0]
			stack = append(append(stack[:0:0], n.Content...), stack[1:]...)
			if len(n.Content) == 0 {
				all = append(all, n.Value)
			}
		}
	}
	return all, err
}

func BenchmarkScreen(b *testing.B) {
	content := bytes.Repeat([]byte("image: registry.example.com/other/app:1 # {\"$pratique\": \"registry.example.com/other/app\"}\n"), 15)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if r := apply(b, "x.yaml", content, change); len(r.Changes) != 0 || len(r.Problems) != 0 {
			b.Fatal(r)
		}
	}
}
