package deploy_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// TestNothingIsHidden: what a place names is shown however many others there are, with the tags it
// asks for.
func TestNothingIsHidden(t *testing.T) {
	t.Parallel()
	b := &branch{name: "prod/z.yaml", content: marked(500) + "- registry.example.com/team/app:v1@" +
		one.String() + " # {\"$pratique\": \"registry.example.com/team/app:v1*\"}\n" + marked(5),
		quick: 1}
	all, err := memoryWorld(t).gateOf(b, prod()).Places(t.Context(), app)
	if err != nil || len(all) != 1 || len(all[0].Places) != 200 || all[0].Count != 506 {
		t.Fatalf("%+v, %v", all, err)
	}
	last := all[0].Places[199]
	if last.Digest != one || last.Line != 501 || last.Tags != "v1*" || all[0].Places[0].Line != 1 ||
		all[0].Places[0].Tags != "" {
		t.Errorf("first %+v, last %+v", all[0].Places[0], last)
	}
}

// TestPlacesInATooLargeFile: a file that is too large to be read is a problem by its name, as the
// image may have stood in it.
func TestPlacesInATooLargeFile(t *testing.T) {
	t.Parallel()
	b := &branch{name: "prod/z.yaml", quick: 1, unread: pratique.Errorf(pratique.Exhausted,
		"read file", "it has more than 16 MiB")}
	all, err := memoryWorld(t).gateOf(b, prod()).Places(t.Context(), app)
	if err != nil || len(all) != 1 || len(all[0].Problems) != 1 ||
		all[0].Problems[0].Path != "prod/z.yaml" {
		t.Fatalf("%+v, %v", all, err)
	}
}

// TestHints: where nothing asks for an image, people are told which lines name it, and that a path
// is not there.
func TestHints(t *testing.T) {
	t.Parallel()
	const content = "# registry.example.com/team/app:1\nrepository: registry.example.com/team/app\nimage: \"registry.example.com/team/app:1\"\n" +
		"other: registry.example.com/team/app-2:1\nmirror: my-registry.example.com/team/app:1\n"
	b := &branch{name: "prod/values.yaml", content: content, quick: 10}
	all, err := memoryWorld(t).gateOf(b, prod()).Places(t.Context(), app)
	if err != nil || len(all) != 1 || all[0].Count != 0 || len(all[0].Hints) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	for i, p := range all[0].Hints {
		if p.Path != "prod/values.yaml" || p.Line != 2+i ||
			!strings.Contains(p.Reason, "docs/editing.md") {
			t.Errorf("%+v", p)
		}
	}
	b.content = marked(1)
	if all, err = memoryWorld(t).gateOf(b, prod()).Places(t.Context(), app); err != nil ||
		all[0].Count != 1 || len(all[0].Hints) != 0 {
		t.Errorf("a place needs no hints: %+v, %v", all, err)
	}
	w := newWorld(t)
	all, err = w.newGate(deploy.Target{Name: "prod", Path: "nosuch"}).Places(t.Context(), app)
	if err != nil || len(all[0].Hints) != 1 || all[0].Hints[0].Path != "nosuch" ||
		!strings.Contains(all[0].Hints[0].Reason, "deploy.targets[].path") {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestPlacesBesideABrokenFolder: what can be read is shown, and what cannot be is said.
func TestPlacesBesideABrokenFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	blob := w.git("rev-parse", "main:prod/kustomization.yaml")
	raw, err := hex.DecodeString(blob)
	if err != nil {
		t.Fatal(err)
	}
	entry := "100644 kustomization.yaml\x00" + string(raw)
	tree := func(raw string) string {
		id, err := w.server.Git(t.Context(), "config", []byte(raw), "hash-object", "-t", "tree",
			"-w", "--stdin", "--literally")
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	mktree := func(lines ...string) string {
		id, err := w.server.Git(t.Context(), "config", []byte(strings.Join(lines, "\n")+"\n"), "mktree")
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	apps := mktree(fmt.Sprintf("100644 blob %s\tkustomization.yaml", blob),
		fmt.Sprintf("040000 tree %s\tx", tree(entry+entry)))
	w.git("update-ref", "refs/heads/main",
		w.git("commit-tree", mktree(fmt.Sprintf("040000 tree %s\tprod", apps)), "-p", "main", "-m", "x"))
	all, err := w.gate.Places(t.Context(), app)
	if err != nil || len(all) != 1 || all[0].Failure != "" || len(all[0].Places) != 1 ||
		len(all[0].Problems) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	if p := all[0].Problems[0]; p.Path != "prod" || !strings.Contains(p.Reason, `"prod/x/" is broken`) {
		t.Errorf("%+v", p)
	}
	o, err := deployAll(t.Context(), w.gate, w.push("v1", one, 0))
	if pratique.KindOf(err) != pratique.Denied ||
		!strings.Contains(err.Error(), "stands in it twice") || len(o.Commits) != 0 {
		t.Errorf("%+v, %v", o, err)
	}
}
