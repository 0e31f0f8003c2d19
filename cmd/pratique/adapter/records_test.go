package adapter_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
	"github.com/pratique-dev/pratique/cmd/pratique/adapter"
)

// TestDeployed: every image that a target holds or held is visited once, also one that its
// deployment does not list any more; others are not.
func TestDeployed(t *testing.T) {
	ix, err := index.Open(filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer ix.Close()
	var entries []pratique.Entry
	add := func(path, image string, body pratique.Body) pratique.Subject {
		s := pratique.Subject{Digest: pratique.DigestOf([]byte(image)),
			Repository: pratique.Repository{Registry: "r.test", Path: path}}
		entries = append(entries, pratique.Entry{Seq: uint64(len(entries) + 1),
			Fact: pratique.Fact{Subject: s, Body: body}})
		return s
	}
	var want []pratique.Subject
	for n := range pratique.MaxPresent + pratique.MaxEarlier + index.MaxLimit {
		name, target := fmt.Sprint(n), fmt.Sprint("t", n%3)
		want = append(want, add("many", name, &pratique.Commit{Target: target, ID: name, Tag: name}))
		if n%2 == 0 {
			add("many", name, &pratique.Drifted{Target: target, State: pratique.StateReverted})
		}
		add("none", name, &pratique.Resolved{})
	}
	want = append(want, add("one", "0", &pratique.Commit{Target: "t0", ID: "c"}))
	add("one", "never", &pratique.Resolved{})
	if err := ix.Apply(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	var got []pratique.Subject
	if err := (adapter.Deployed{Index: ix}).Deployed(t.Context(), func(r pratique.Record) error {
		if len(r.Deployed) == 0 {
			t.Errorf("%s was never deployed", r.Subject)
		}
		got = append(got, r.Subject)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, all := range [][]pratique.Subject{want, got} {
		slices.SortFunc(all, func(a, b pratique.Subject) int {
			return slices.Compare([]byte(a.String()), []byte(b.String()))
		})
	}
	if !slices.Equal(want, got) {
		t.Errorf("%d images, want %d", len(got), len(want))
	}
}
