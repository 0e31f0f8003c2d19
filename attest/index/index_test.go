package index

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
	"github.com/pratique-dev/pratique/internal/projection"
)

var epoch = time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)

var (
	repoA = pratique.Repository{Registry: "registry.example", Path: "team/app"}
	// a prefix of one must not match the other
	repoB = pratique.Repository{Registry: "registry.example", Path: "team/app2"}
)

// equal compares values, telling neither nil from empty nor one spelling of a time from another.
func equal(t testing.TB, what string, want, got any) {
	t.Helper()
	opts := cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b pratique.Digest) bool {
		return a == b
	})}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func digest(name string) pratique.Digest { return pratique.DigestOf([]byte(name)) }

func subject(r pratique.Repository, name string) pratique.Subject {
	return pratique.Subject{Repository: r, Digest: digest(name)}
}

func event(id string, r pratique.Repository, tag string, at time.Time) pratique.Event {
	return pratique.Event{
		ID: id, Ref: pratique.ImageRef{Repository: r, Tag: tag}, Source: "test",
		Priority: pratique.PriorityPush, OccurredAt: at, ReceivedAt: at.Add(time.Second),
	}
}

func seen(e pratique.Event, s pratique.Subject, children ...pratique.Child) pratique.Fact {
	return pratique.Fact{
		Subject: s, Event: e.ID, At: e.ReceivedAt, By: "inspect@test",
		Body: &pratique.Resolved{Event: e, Manifest: pratique.Manifest{Subject: s, Children: children}},
	}
}

func evaluated(e string, s pratique.Subject, o pratique.Outcome) pratique.Fact {
	v := pratique.Verdict{Subject: s, Outcome: o}
	if o == pratique.Deny {
		v.Reasons = []pratique.Reason{{Rule: "severity", Message: "HIGH"}}
	}
	return pratique.Fact{Subject: s, Event: e, At: epoch, By: "attest@test",
		Body: &pratique.Evaluated{Verdict: v, Digest: verdictDigest(s, o)}}
}

func verdictDigest(s pratique.Subject, o pratique.Outcome) pratique.Digest {
	return digest(s.String() + string(o))
}

func settled(e pratique.Event, s pratique.Subject, state pratique.State) pratique.Fact {
	return pratique.Fact{
		Subject: s, Event: e.ID, At: epoch, By: "deploy@test",
		Body: &pratique.Completed{State: state, Detail: "so it is", Ref: e.Ref},
	}
}

func failed(e pratique.Event, s pratique.Subject, attempt int, final bool) pratique.Fact {
	return pratique.Fact{
		Subject: s, Event: e.ID, At: epoch, By: "inspect@test",
		Body: &pratique.Failed{Stage: "inspect", Kind: pratique.Unavailable, Message: "no answer",
			Ref: e.Ref, Attempts: attempt, Final: final},
	}
}

func open(t testing.TB, path string) *Index {
	t.Helper()
	ix, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ix.Close() }) // closing twice does nothing
	return ix
}

func fresh(t testing.TB) *Index { return open(t, filepath.Join(t.TempDir(), "index.db")) }

func entries(first uint64, facts ...pratique.Fact) []pratique.Entry {
	var out []pratique.Entry
	for i, f := range facts {
		out = append(out, pratique.Entry{Seq: first + uint64(i), Fact: f})
	}
	return out
}

func apply(t testing.TB, ix *Index, es ...pratique.Entry) {
	t.Helper()
	if err := ix.Apply(t.Context(), es); err != nil {
		t.Fatal(err)
	}
}

// Image is the record of one subject.
func (ix *Index) Image(s pratique.Subject) (pratique.Record, error) {
	records, err := ix.Images(s.Digest)
	for _, r := range records {
		if r.Subject == s {
			return r, nil
		}
	}
	if err == nil {
		err = notFound("find image", s.String())
	}
	return pratique.Record{}, err
}

// Stats counts what an open index holds; [Check] wants it closed.
func (ix *Index) Stats() (Stats, error) {
	var s Stats
	err := ix.view("count index", func(tx *bbolt.Tx) error {
		s = stats(tx)
		return nil
	})
	return s, err
}

func TestPositionAndReplay(t *testing.T) {
	t.Parallel()
	ix, s := fresh(t), subject(repoA, "a")
	all := entries(5, seen(event("e", repoA, "1", epoch), s), evaluated("e", s, pratique.Deny))
	apply(t, ix, all...)
	apply(t, ix, all...)
	apply(t, ix)
	if at, err := ix.Position(); err != nil || at != 6 {
		t.Fatal(at, err)
	}
	r, err := ix.Image(s)
	if err != nil || len(r.History) != 2 {
		t.Fatalf("replayed facts were folded again: %v %v", r.History, err)
	}
	err = ix.Apply(t.Context(), []pratique.Entry{{Seq: 9, Fact: all[0].Fact},
		{Seq: 8, Fact: all[1].Fact}})
	if pratique.KindOf(err) != pratique.Internal {
		t.Errorf("descending positions: %v", err)
	}
	if at, _ := ix.Position(); at != 6 {
		t.Errorf("a refused batch moved the position to %d", at)
	}
}

func TestRejectedFactsAreCountedAndDoNotStop(t *testing.T) {
	t.Parallel()
	ix, s := fresh(t), subject(repoA, "a")
	apply(t, ix,
		pratique.Entry{Seq: 1, Fact: pratique.Fact{Subject: s, Body: (*pratique.Resolved)(nil)}},
		pratique.Entry{Seq: 2}, pratique.Entry{Seq: 3, Fact: evaluated("", s, pratique.Allow)})
	stats, err := ix.Stats()
	if err != nil || stats.Rejected != 2 || stats.Images != 1 || stats.Position != 3 {
		t.Errorf("%+v %v", stats, err)
	}
}

func TestParents(t *testing.T) {
	t.Parallel()
	ix := fresh(t)
	one, two, child := subject(repoA, "one"), subject(repoA, "two"), subject(repoA, "child")
	c := pratique.Child{Digest: child.Digest, Platform: "linux/amd64"}
	e := event("1", repoA, "v1", epoch)
	ofChild := seen(e, child)
	// a fact about the child that repeats its parent's manifest
	pratique.As[pratique.Resolved](ofChild).Manifest.Subject = one
	apply(t, ix, entries(1, seen(e, one, c), seen(event("2", repoA, "", epoch), two, c), ofChild)...)
	links, err := ix.Links(child)
	if err != nil || len(links.Parents) != 2 || len(links.Tags) != 0 {
		t.Errorf("%+v %v", links, err)
	}
	if links, _ := ix.Links(subject(repoB, "child")); len(links.Parents) != 0 {
		t.Errorf("a parent in another repository: %v", links)
	}
}

func TestImagesOfOneDigestInTwoRepositories(t *testing.T) {
	t.Parallel()
	ix := fresh(t)
	apply(t, ix, entries(1, evaluated("", subject(repoB, "a"), pratique.Deny),
		evaluated("", subject(repoA, "a"), pratique.Allow))...)
	records, err := ix.Images(digest("a"))
	if err != nil || len(records) != 2 || records[0].Subject.Repository != repoA ||
		records[1].Evaluated.Verdict.Outcome != pratique.Deny {
		t.Errorf("%+v %v", records, err)
	}
	if _, err := ix.Images(digest("b")); pratique.KindOf(err) != pratique.NotFound {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "index.db")
	ix := open(t, path)
	if err := ix.file.Update("spoil", func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("meta")).Put([]byte("schema"), []byte("99"))
	}); err != nil {
		t.Fatal(err)
	}
	if err := ix.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path)
	var schema *projection.SchemaError
	if !errors.As(err, &schema) || schema.Have != 99 || pratique.KindOf(err) != pratique.Corrupt ||
		!strings.Contains(err.Error(), "pratique projections rebuild index") {
		t.Errorf("other schema: %v", err)
	}
	if _, _, err := Check(path); !errors.As(err, &schema) {
		t.Errorf("check of other schema: %v", err)
	}
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(garbage); pratique.KindOf(err) != pratique.Corrupt ||
		!strings.Contains(err.Error(), "rebuild") {
		t.Errorf("garbage: %v (%v)", err, pratique.KindOf(err))
	}
	if _, _, err := Check(filepath.Join(dir, "absent.db")); pratique.KindOf(err) != pratique.NotFound {
		t.Errorf("check of nothing: %v", err)
	}
	if !testing.Short() {
		held := open(t, filepath.Join(dir, "held.db"))
		if _, err := Open(held.file.Path()); pratique.KindOf(err) != pratique.Conflict {
			t.Errorf("held: %v", err)
		}
	}
}

func TestCheckFindsDamage(t *testing.T) {
	t.Parallel()
	s := subject(repoA, "a")
	first := number(1)
	tests := map[string]struct {
		spoil func(tx *bbolt.Tx) error
		want  string
	}{
		"none": {func(*bbolt.Tx) error { return nil }, ""},
		"unreadable": {func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketRecords).Put(subjectKey(s), []byte("{"))
		}, "record"},
		"wrong key": {func(tx *bbolt.Tx) error {
			return boltfile.PutJSON(tx.Bucket(bucketRecords), subjectKey(s), pratique.Record{})
		}, "is of"},
		"not in list": {func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketList).Delete(first)
		}, "not in the list"},
		"not in repo": {func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketByRepo).Delete(join([]byte(repoA.String()), first))
		}, "list of its repository"},
		"no record": {func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketRecords).Delete(subjectKey(s))
		}, "has no record"},
		"position behind": {func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("meta")).Put([]byte("position"), number(0))
		}, "beyond the position"},
		"broken event": {func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketEvents).Put([]byte("e"), []byte("[]"))
		}, "event"},
		"no bucket": {func(tx *bbolt.Tx) error {
			return tx.DeleteBucket(bucketParents)
		}, "missing"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ix := fresh(t)
			apply(t, ix, pratique.Entry{Seq: 1, Fact: seen(event("e", repoA, "1", epoch), s)})
			if err := ix.file.Update("spoil", tt.spoil); err != nil {
				t.Fatal(err)
			}
			path := ix.file.Path()
			if err := ix.Close(); err != nil {
				t.Fatal(err)
			}
			_, problems, err := Check(path)
			if err != nil || (tt.want == "") != (len(problems) == 0) ||
				!strings.Contains(strings.Join(problems, "\n"), tt.want) {
				t.Errorf("%q %v", problems, err)
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			ix, random, seq := fresh(b), rand.New(rand.NewPCG(1, 2)), uint64(0)
			g := newGenerator(random, 5000)
			for b.Loop() {
				var batch []pratique.Entry
				for range size {
					seq++
					batch = append(batch, pratique.Entry{Seq: seq, Fact: g.fact()})
				}
				apply(b, ix, batch...)
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "facts/s")
		})
	}
}
