package locate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy/edit/edittest"
	"github.com/pratique-dev/pratique/internal/imagename"
	"github.com/pratique-dev/pratique/internal/yamltext"
)

// bomb is a kustomization whose merge keys stand for width^depth mappings.
func bomb(width, depth int, last string) []byte {
	var b strings.Builder
	b.WriteString("x:\n- &a0 {x: 1}\n")
	for i := 1; i <= depth; i++ {
		fmt.Fprintf(&b, "- &a%d {<<: [%s]}\n", i,
			strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), width), ", "))
	}
	fmt.Fprintf(&b, "images:\n- {<<: *a%d, %s}\n- name: registry.example.com/team/app\n", depth, last)
	return []byte(b.String())
}

// TestHostileYAML: whatever a file is made of, looking at it ends, and what cannot be edited is a
// problem of its place.
func TestHostileYAML(t *testing.T) {
	t.Parallel()
	const app = "images:\n- name: registry.example.com/team/app\n"
	chain := "x:\n- &a0 {name: registry.example.com/team/app}\n"
	for i := range 5000 {
		chain += fmt.Sprintf("- &a%d {<<: *a%d}\n", i+1, i)
	}
	for name, test := range map[string]struct {
		content string
		problem string // its beginning, behind the path
		changes int
	}{
		"merge keys": {string(bomb(60, 12, "name: registry.example.com/team/app")),
			":16: this images entry uses an alias or a merge key", 1},
		"merge keys, others": {string(bomb(60, 12, "name: registry.example.com/team/other")), "", 1},
		"deep merge keys": {chain +
			"images:\n- <<: *a5000\n- name: registry.example.com/team/app\n",
			":5004: this images entry uses merge keys that are nested", 1},
		"a merge of itself": {"images:\n- &a {<<: *a, name: registry.example.com/team/app}\n",
			":2: this images entry uses an alias or a merge key", 0},
		"an alias of a list": {"x: &l [{name: registry.example.com/team/app}]\nimages:\n- {<<: *l}\n", ":3: this images entry uses an alias or a merge key", 0},
		"merged and renamed": {"x: &a {newName: registry.example.com/team/other}\nimages:\n- {<<: *a, name: registry.example.com/team/app}\n", "", 0},
		"first merge wins":   {"x: [&a {name: registry.example.com/team/other}, &b {name: registry.example.com/team/app}]\nimages:\n- {<<: [*a, *b]}\n", "", 0},
		"nested flow": {app + "x: " + strings.Repeat("[", 20_000) +
			strings.Repeat("]", 20_000), ":", 0},
		"nested block": {app + "x:\n " + strings.Repeat("- ", 20_000) + "y\n", ":", 0},
		"many values": {app + "x: [" + strings.Repeat("1,", yamltext.MaxNodes) + "1]\n",
			": this file is too large to be edited", 0},
		"many documents": {app + strings.Repeat("---\n", yamltext.MaxNodes),
			": this file is too large to be edited", 0},
		"documents": {app +
			strings.Repeat("---\nimages: [{name: registry.example.com/team/app}]\n", 50), "", 51},
		"twice": {app + "x: {a: 1, a: 2}\n", ":3: the key \"a\" stands twice", 0},
		"twice, of many": {app + "x: {" + strings.Repeat("k: 1, ", 40) + "}\n",
			":3: the key \"k\" stands twice", 0},
		"no text": {app + "\x00\x01", ":", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := apply(t, "kustomization.yaml", []byte(test.content), change)
			if len(r.Changes) != test.changes {
				t.Errorf("%d changes, want %d", len(r.Changes), test.changes)
			}
			if got := edittest.Said(r.Problems); test.problem == "" && got != "" ||
				test.problem != "" && !strings.HasPrefix(got, "kustomization.yaml"+test.problem) {
				t.Errorf("problems: %.500s", got)
			}
		})
	}
}

// countdown is a context that ends when it was asked a number of times.
type countdown struct {
	context.Context
	left *int
}

func (c countdown) Err() error {
	if *c.left--; *c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestEnded: an edit ends with its context, also in the middle of a file.
func TestEnded(t *testing.T) {
	t.Parallel()
	content := []byte("images:\n- name: registry.example.com/team/app\n" +
		strings.Repeat("x: y # a comment of some length\n", 10_000))
	for _, left := range []int{0, 1, 2} {
		r, err := All().Apply(countdown{t.Context(), &left}, "kustomization.yaml", content, change)
		if left++; !errors.Is(err, context.Canceled) && len(r.Problems) == 0 {
			t.Errorf("%d: %v, %d changes", left, err, len(r.Changes))
		}
	}
	left := 5
	if _, err := yamltext.Parse(countdown{t.Context(), &left}, content); err == nil || left < -3 {
		t.Errorf("the parser went on: %v, asked %d times more", err, -left)
	}
	if ok, err := imagename.Mentions(countdown{t.Context(), new(int)}, bytes.NewReader(content),
		change.Subject.Repository); ok || err == nil {
		t.Errorf("the search went on: %v, %v", ok, err)
	}
}

// TestDockerHub: all spellings of a name on Docker Hub are one image, and each is left as it is.
func TestDockerHub(t *testing.T) {
	t.Parallel()
	for repository, spelled := range map[string]map[string]bool{
		"docker.io/acme/app": {"acme/app": true, "docker.io/acme/app": true,
			"index.docker.io/acme/app": true, "registry-1.docker.io/acme/app": true,
			"registry.example.com/acme/app": false, "acme/app2": false, "x/acme/app": false,
			"app": false, "localhost/acme/app": false, "library/app": false},
		"index.docker.io/acme/app": {"acme/app": true, "docker.io/acme/app": true,
			"index.docker.io/acme/app": true},
		"docker.io/library/nginx": {"nginx": true, "library/nginx": true, "docker.io/nginx": true,
			"docker.io/library/nginx": true, "acme/nginx": false, "registry.example.com/nginx": false},
		"registry.example.com/app": {"registry.example.com/app": true, "app": false,
			"docker.io/app": false},
	} {
		parsed, err := pratique.ParseRepository(repository)
		if err != nil {
			t.Fatal(err)
		}
		c := change
		c.Subject.Repository = parsed
		for name, ours := range spelled {
			want := name + ":1.20@" + digest.String()
			for marked, file := range map[string]string{
				"kustomization.yaml": "images:\n- name: " + name + "\n  newTag: v1\n",
				"renamed.yaml":       "",
				"a.yaml":             "image: " + name + ":1 # {\"$pratique\": \"" + repository + "\"}\n",
			} {
				if file == "" {
					marked, file = "x/kustomization.yaml", "images:\n- {name: x, newName: "+name+"}\n"
				}
				r := apply(t, marked, []byte(file), c)
				switch {
				case marked == "a.yaml" && !ours:
					if len(r.Changes) != 0 || len(r.Problems) != 1 ||
						!strings.Contains(r.Problems[0].Reason, "is no reference of") {
						t.Errorf("%s for %s in %s: %+v", name, repository, marked, r)
					}
				case marked == "a.yaml":
					if len(r.Changes) != 1 || r.Changes[0].New != want || len(r.Problems) != 0 {
						t.Errorf("%s for %s in %s: %+v, want %s", name, repository, marked, r, want)
					}
				case (len(r.Changes) > 0) != ours || len(r.Problems) != 0 ||
					!bytes.Contains(r.Content, []byte("ame: "+name)):
					t.Errorf("%s for %s in %s: %+v", name, repository, marked, r)
				}
			}
		}
	}
}

// TestMarkedSpelling: a marker may spell its image in any way, too; without a registry it is one of
// Docker Hub.
func TestMarkedSpelling(t *testing.T) {
	t.Parallel()
	c := change
	c.Subject.Repository = pratique.Repository{Registry: "docker.io", Path: "library/nginx"}
	for _, name := range []string{"docker.io/library/nginx", "docker.io/nginx",
		"index.docker.io/library/nginx", "nginx", "docker.io/nginx:1.*"} {
		r := apply(t, "a.yaml", []byte("image: nginx # {\"$pratique\": \""+name+"\"}\n"), c)
		if len(r.Changes) != 1 || !strings.HasPrefix(r.Changes[0].New, "nginx:1.20@sha256:") ||
			len(r.Problems) != 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestWide: a kustomization in UTF-16 is one for kustomize, and its place waits; one of others is
// nobody's business.
func TestWide(t *testing.T) {
	t.Parallel()
	for name, ours := range map[string]bool{"registry.example.com/team/app": true,
		"registry.example.com/team/other": false} {
		content := []byte{0xff, 0xfe}
		for _, c := range "images:\n- name: " + name + "\n  newTag: v1\n" {
			content = append(content, byte(c), 0)
		}
		r := apply(t, "kustomization.yaml", content, change)
		if !bytes.Equal(r.Content, content) || len(r.Changes) != 0 ||
			(len(r.Problems) == 1 && r.Problems[0].Ours &&
				strings.Contains(r.Problems[0].Reason, "UTF-16")) != ours {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
