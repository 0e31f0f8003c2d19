package edit_test

import (
	"bytes"
	"context"
	"iter"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique/deploy/edit"
	"github.com/pratique-dev/pratique/deploy/edit/edittest"
)

// variables is a syntax that is not YAML: lines of the form key = "value".
type variables struct{}

var assignment = regexp.MustCompile(`(?m)^([a-z_]+) *= *"([^"\n]*)"(?: *#.*)?$`)

func (variables) Parse(_ context.Context, content []byte) (edit.Source, error) {
	for i, line := range strings.Split(string(content), "\n") {
		if line != "" && line[0] != '#' && !assignment.MatchString(line) {
			return nil, &edit.Unreadable{Line: i + 1, Reason: "this is no assignment"}
		}
	}
	s := &source{content: content}
	for _, at := range assignment.FindAllSubmatchIndex(content, -1) {
		s.keys = append(s.keys, string(content[at[2]:at[3]]))
		s.values = append(s.values, string(content[at[4]:at[5]]))
		s.spans = append(s.spans, [2]int{at[4], at[5]})
	}
	return s, nil
}

type source struct {
	content      []byte
	keys, values []string
	spans        [][2]int
}

func (s *source) Flaw() (int, string) { return 0, "" }

func (s *source) Texts() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, v := range s.values {
			if !yield(v) {
				return
			}
		}
	}
}

func (s *source) Difference(after edit.Source) int {
	got := after.(*source)
	if strings.Join(s.keys, "\n") != strings.Join(got.keys, "\n") ||
		strings.Join(s.values, "\n") != strings.Join(got.values, "\n") {
		return 1
	}
	return 0
}

// variable locates values that name an image. What it says of their bytes can be wrong by a few.
type variable struct{ wrong int }

func (variable) Relevant(name string) bool { return strings.HasSuffix(name, ".tfvars") }
func (variable) Syntax() edit.Syntax       { return variables{} }
func (variable) Screen(content []byte, image edit.Image) edit.Look {
	if image.NamedIn(content) {
		return edit.Named
	}
	return edit.Nothing
}

func (l variable) Locate(from edit.Source) edit.Found {
	s := from.(*source)
	var found edit.Found
	for i, value := range s.values {
		name, _, _ := strings.Cut(value, "@")
		if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
			name = name[:colon]
		}
		if !strings.Contains(name, "/") {
			continue
		}
		found.Sites = append(found.Sites, edit.Site{Image: name, Values: []edit.Value{{
			Form: edit.Ref, Text: value, Line: bytes.Count(s.content[:s.spans[i][0]],
				[]byte("\n")) + 1, Field: s.keys[i],
			Slot: edit.Slot{Start: s.spans[i][0] + l.wrong, End: s.spans[i][1] + l.wrong,
				Encode: func(value string) (string, bool) {
					return value, !strings.ContainsAny(value, "\"\n")
				},
				Set: func(value string) { s.values[i] = value }},
		}}})
	}
	return found
}

// TestAnotherSyntax: nothing in the engine or in the suite is about YAML.
func TestAnotherSyntax(t *testing.T) {
	t.Parallel()
	edittest.Test(t, edit.Table{variable{}}, os.DirFS("testdata"))
}

// TestVerified: what a locator says of bytes is not believed. If the result does not read as what
// was meant, nothing is written.
func TestVerified(t *testing.T) {
	t.Parallel()
	content := []byte("a = \"registry.example.com/team/app:1\" # x\nb = \"other\"\n")
	for _, wrong := range []int{-100, -4, -3, -2, -1, 0, 1, 2, 3, 4, 100} {
		r, err := edit.Table{variable{wrong}}.Apply(t.Context(), "x.tfvars", content, edittest.Change())
		if err != nil {
			t.Fatal(err)
		}
		if wrote := !bytes.Equal(r.Content, content); wrote != (wrong == 0) ||
			wrote != (len(r.Problems) == 0) {
			t.Errorf("wrong by %d: %q, %s", wrong, r.Content, edittest.Said(r.Problems))
		}
	}
}

// TestRead: everything that names an image is read, whichever image that is, and what is out of
// reach is said.
func TestRead(t *testing.T) {
	t.Parallel()
	table := edit.Table{variable{}}
	all, wrong, err := table.Read(t.Context(), "x.tfvars",
		[]byte("a = \"nginx\"\nb = \"acme/app:1\"\nc = \"registry.example.com/team/app:2@"+
			edittest.Change().Subject.Digest.String()+"\"\n"))
	if err != nil || len(wrong) != 0 || len(all) != 2 {
		t.Fatalf("%+v, %v, %v", all, wrong, err)
	}
	if r := all[0]; r.Image != "docker.io/acme/app" || r.Tag != "1" || r.Line != 2 ||
		r.Field != "b" || !r.Digest.IsZero() {
		t.Errorf("%+v", r)
	}
	if r := all[1]; r.Image != "registry.example.com/team/app" || r.Tag != "2" ||
		r.Digest != edittest.Change().Subject.Digest {
		t.Errorf("%+v", r)
	}
	if all, wrong, err := table.Read(t.Context(), "x.tfvars", []byte("?\n")); err != nil ||
		len(all) != 0 || len(wrong) != 1 || wrong[0].Line != 1 {
		t.Errorf("%+v, %v, %v", all, wrong, err)
	}
	if all, wrong, err := table.Read(t.Context(), "x.yaml", []byte("?\n")); err != nil ||
		len(all)+len(wrong) != 0 {
		t.Errorf("%+v, %v, %v", all, wrong, err)
	}
}
