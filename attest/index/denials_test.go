package index

import (
	"fmt"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

// TestDenials: a denial is pending until it is attested, and whoever pushed the image, or an index
// around it, is known.
func TestDenials(t *testing.T) {
	t.Parallel()
	ix := fresh(t)
	e := event("e1", repoA, "1.0", epoch)
	index, child := subject(repoA, "index"), subject(repoA, "child")
	seq := uint64(0)
	add := func(facts ...pratique.Fact) {
		t.Helper()
		apply(t, ix, entries(seq+1, facts...)...)
		seq += uint64(len(facts))
	}
	pending := func(want ...pratique.PendingDenial) {
		t.Helper()
		got, next, err := ix.Denials(pratique.Subject{}, 10)
		if err != nil || !next.IsZero() {
			t.Fatal(next, err)
		}
		equal(t, "pending denials", want, got)
	}
	attested := func(s pratique.Subject, o pratique.Outcome) pratique.Fact {
		return pratique.Fact{Subject: s, Event: e.ID, At: epoch, By: "attest@test",
			Body: &pratique.Attested{Verdict: verdictDigest(s, o)}}
	}
	add(seen(e, index, pratique.Child{Digest: child.Digest, Platform: "linux/amd64"}),
		evaluated(e.ID, child, pratique.Allow), attested(child, pratique.Allow))
	pending()
	add(evaluated(e.ID, child, pratique.Deny))
	pending(pratique.PendingDenial{Subject: child, Pushed: index, Push: e})
	why := failed(e, child, 1, true)
	pratique.As[pratique.Failed](why).Stage, pratique.As[pratique.Failed](why).Message = "attest",
		"immutable"
	add(why)
	pending(pratique.PendingDenial{Subject: child, Pushed: index, Push: e})
	add(settled(e, index, pratique.StateDenied))
	pending(pratique.PendingDenial{Subject: child, Pushed: index, Push: e, Idle: true})
	if r, err := ix.Image(child); err != nil || !Unattested(r) {
		t.Errorf("%+v, %v", r.Attested, err)
	}
	add(attested(child, pratique.Deny))
	pending()
	// One that was pushed by itself, and the summary of an older verdict does not count.
	own := subject(repoB, "own")
	add(seen(e, own), evaluated(e.ID, own, pratique.Deny), attested(own, pratique.Allow))
	pending(pratique.PendingDenial{Subject: own, Pushed: own, Push: e})
	add(evaluated(e.ID, own, pratique.Allow))
	pending()
	if err := ix.Reset(); err != nil {
		t.Fatal(err)
	}
	if at, mark, err := ix.At(); err != nil || at != 0 || mark != "" {
		t.Errorf("after a reset: %d %q, %v", at, mark, err)
	}
}

// TestContradictions: an index that is allowed while an image in it is denied is pending, whichever
// of the two came last, until one of them says something else.
func TestContradictions(t *testing.T) {
	t.Parallel()
	ix := fresh(t)
	index, arm, other := subject(repoA, "index"), subject(repoA, "arm"), subject(repoA, "other")
	e, later := event("e1", repoA, "2.0", epoch), event("e2", repoA, "1.0", epoch)
	children := []pratique.Child{{Digest: other.Digest, Platform: "linux/amd64"},
		{Digest: arm.Digest, Platform: "linux/arm64"}}
	seq := uint64(0)
	add := func(want bool, facts ...pratique.Fact) {
		t.Helper()
		apply(t, ix, entries(seq+1, facts...)...)
		seq += uint64(len(facts))
		got, _, err := ix.Denials(pratique.Subject{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		found := slices.ContainsFunc(got, func(d pratique.PendingDenial) bool { return d.Contradicted })
		if found != want {
			t.Errorf("after %d facts: %+v", seq, got)
		}
		for _, d := range got {
			if d.Contradicted && (d.Subject != index || d.Push.ID != e.ID || !d.Idle) {
				t.Errorf("%+v", d)
			}
		}
	}
	add(false, seen(e, index, children...), evaluated(e.ID, other, pratique.Allow),
		evaluated(e.ID, arm, pratique.Allow), evaluated(e.ID, index, pratique.Allow),
		settled(e, index, pratique.StateDeployed))
	add(true, seen(later, arm), evaluated(later.ID, arm, pratique.Deny))
	add(true, settled(later, arm, pratique.StateDenied))
	add(false, evaluated(e.ID, index, pratique.Deny))
	add(true, evaluated(e.ID, index, pratique.Allow)) // by a worker that had the older report
	add(false, evaluated(later.ID, arm, pratique.Allow))
	add(true, evaluated(later.ID, arm, pratique.Deny), evaluated(later.ID, other, pratique.Allow))
	add(false, evaluated(e.ID, index, pratique.Deny), evaluated(later.ID, arm, pratique.Deny))
}

// TestMarksOfContradictions: a mark that holds no more is taken away, so that nobody looks at it
// again and again.
func TestMarksOfContradictions(t *testing.T) {
	t.Parallel()
	ix := fresh(t)
	index, arm := subject(repoA, "index"), subject(repoA, "arm")
	e := event("e1", repoA, "2.0", epoch)
	marks := func(want int) {
		t.Helper()
		if err := ix.file.View("look", func(tx *bbolt.Tx) error {
			n := 0
			c := tx.Bucket(bucketDenials).Cursor()
			for k, _ := c.First(); k != nil; k, _ = c.Next() {
				n++
			}
			if n != want {
				t.Errorf("%d marks, want %d", n, want)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	apply(t, ix, entries(1, seen(e, index, pratique.Child{Digest: arm.Digest, Platform: "linux/arm64"}),
		evaluated(e.ID, arm, pratique.Allow), evaluated(e.ID, index, pratique.Allow))...)
	marks(0)
	apply(t, ix, entries(4, evaluated(e.ID, arm, pratique.Deny))...)
	marks(2) // the image's own: its denial is not attested
	apply(t, ix, entries(5, evaluated(e.ID, arm, pratique.Allow))...)
	marks(0)
}

// TestPagesOfDenials: page by page each denial comes once.
func TestPagesOfDenials(t *testing.T) {
	t.Parallel()
	ix := fresh(t)
	want := map[pratique.Subject]bool{}
	for i := range 5 {
		s := subject(repoA, fmt.Sprint("image ", i))
		want[s] = true
		apply(t, ix, entries(uint64(i+1), evaluated("e", s, pratique.Deny))...)
	}
	for _, limit := range []int{1, 2, 4, 5, 6} {
		got, pages := map[pratique.Subject]bool{}, 0
		for after := (pratique.Subject{}); pages == 0 || !after.IsZero(); pages++ {
			page, next, err := ix.Denials(after, limit)
			if err != nil || len(page) > limit || pages > 5 {
				t.Fatalf("%d denials on page %d of %d: %v", len(page), pages, limit, err)
			}
			for _, d := range page {
				if got[d.Subject] {
					t.Errorf("%s comes twice", d.Subject)
				}
				got[d.Subject] = true
			}
			after = next
		}
		equal(t, "denials", want, got)
		if most := (5 + limit - 1) / limit; pages != most {
			t.Errorf("%d pages of %d", pages, limit)
		}
	}
}

// TestMark: the mark is that of the last entry, and moves with the position.
func TestMark(t *testing.T) {
	t.Parallel()
	ix := fresh(t)
	all := entries(1, evaluated("e", subject(repoA, "a"), pratique.Allow),
		evaluated("e", subject(repoA, "b"), pratique.Allow))
	all[0].Mark, all[1].Mark = "first", "second"
	apply(t, ix, all...)
	if at, mark, err := ix.At(); err != nil || at != 2 || mark != "second" {
		t.Errorf("%d %q, %v", at, mark, err)
	}
	apply(t, ix, all[0]) // known
	if at, mark, err := ix.At(); err != nil || at != 2 || mark != "second" {
		t.Errorf("%d %q, %v", at, mark, err)
	}
}
