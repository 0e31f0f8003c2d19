package locate

import (
	"bytes"
	"os"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy/edit"
	"github.com/pratique-dev/pratique/deploy/edit/edittest"
)

var (
	change = edittest.Change()
	digest = change.Subject.Digest
)

// archives are the cases of the suite.
var archives = os.DirFS("testdata")

// TestLocators: all of them pass the suite together.
func TestLocators(t *testing.T) {
	t.Parallel()
	edittest.Test(t, All(), archives)
}

// FuzzApply: the laws of the suite hold for every input.
func FuzzApply(f *testing.F) {
	edittest.Fuzz(f, All(), archives, "deploy.yaml", "kustomization.yaml")
}

// apply runs Apply with a context that does not end.
func apply(t testing.TB, name string, content []byte, c pratique.Change) edit.Result {
	t.Helper()
	r, err := All().Apply(t.Context(), name, content, c)
	if err != nil {
		t.Fatal(err)
	}
	return r
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

// TestOtherImages: a file full of other people's images is left alone, byte for byte and without
// parsing.
func TestOtherImages(t *testing.T) {
	t.Parallel()
	in := []byte("image: registry.example.com/team/app-evil:1 # {\"$pratique\": \"registry.example.com/team/app-evil\"}\n{{ not YAML }}: [\n")
	if r := apply(t, "x.yaml", in, change); len(r.Changes) != 0 || len(r.Problems) != 0 ||
		!bytes.Equal(in, r.Content) {
		t.Errorf("%+v", r)
	}
}

// TestOtherImagesKustomized: a broken file is nobody's business but that of the images it names as
// a whole.
func TestOtherImagesKustomized(t *testing.T) {
	t.Parallel()
	for image, ours := range map[string]bool{
		"registry.example.com/team/app-two": false, "registry.example.com/team/app/x": false,
		"registry.example.com/team/app.x":  false,
		"my-registry.example.com/team/app": false, "other.example.com/team/app": false, "team/app": false,
		"registry.example.com/team/app": true, `"registry.example.com/team/app"`: true,
		"registry.example.com/team/app-two registry.example.com/team/app:1": true,
	} {
		r := apply(t, "kustomization.yaml", []byte("<<<<<<< HEAD\nimages:\n- name: "+image+"\n"), change)
		if (len(r.Problems) != 0) != ours || len(r.Changes) != 0 {
			t.Errorf("%s: %+v", image, r)
		}
	}
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

// TestPairs: a digest belongs to the tag of its own entry, and to no tag of the next one.
func TestPairs(t *testing.T) {
	t.Parallel()
	const name = "registry.example.com/team/app"
	content := "images:\n- name: " + name + "\n  digest: " + string(edittest.Fill([]byte("OLD"))) +
		"\n- name: " + name + "\n  newTag: v2\n  digest: " + string(edittest.Fill([]byte("NEW"))) + "\n"
	places, problems, err := All().Places(t.Context(), "kustomization.yaml", []byte(content),
		edit.ImageOf(change))
	if err != nil || len(problems) != 0 || len(places) != 2 {
		t.Fatalf("%+v, %v, %v", places, problems, err)
	}
	if p := places[0]; p.Tag != "" || p.Digest == digest || p.Line != 3 {
		t.Errorf("the first: %+v", p)
	}
	if p := places[1]; p.Tag != "v2" || p.Digest != digest || p.Line != 5 {
		t.Errorf("the second: %+v", p)
	}
}
