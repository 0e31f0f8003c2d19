package inventory

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/projection"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/rescan"
)

// memory is a store of documents.
type memory map[pratique.Digest][]byte

func (m memory) Get(_ context.Context, d pratique.Digest) ([]byte, error) {
	content, ok := m[d]
	if !ok {
		return nil, pratique.Errorf(pratique.NotFound, "get document", "%s", d)
	}
	return content, nil
}

func (m memory) put(d scanner.Document, err error) pratique.Digest {
	if err != nil {
		panic(err)
	}
	m[d.Digest] = d.Content
	return d.Digest
}

// world is an inventory with the documents and facts that it is made from.
type world struct {
	t     *testing.T
	docs  memory
	e     *Projection
	path  string
	facts []pratique.Entry
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, docs: memory{}, path: filepath.Join(t.TempDir(), "inventory.db")}
	w.open()
	t.Cleanup(func() { _ = w.e.Close() })
	return w
}

// open opens the file; the keys of a list are the names of its packages.
func (w *world) open() {
	w.t.Helper()
	var err error
	w.e, err = Open(w.path, Config{Documents: w.docs, Keys: func(inv pratique.Inventory) []string {
		var keys []string
		for _, l := range inv.Lists {
			for _, p := range l.Packages {
				keys = append(keys, p.Name)
			}
		}
		return keys
	}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) position() (uint64, error) {
	at, _, err := w.e.At()
	return at, err
}

func (w *world) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func about(name string) pratique.Subject {
	return pratique.Subject{Repository: pratique.Repository{Registry: "r.test", Path: "team/app"},
		Digest: pratique.DigestOf([]byte(name))}
}

func database(name string) pratique.Database {
	return pratique.Database{Digest: pratique.DigestOf([]byte(name)), Version: 2}
}

// list is a list of packages, with the base or an application.
func list(class pratique.PackageClass, names ...string) pratique.PackageList {
	l := pratique.PackageList{Class: class, Type: "t"}
	for _, n := range names {
		l.Packages = append(l.Packages, pratique.Package{Name: n, Version: "1"})
	}
	return l
}

func (w *world) fact(f pratique.Fact) {
	f.By = "test"
	w.facts = append(w.facts, pratique.Entry{Seq: uint64(len(w.facts) + 1), Fact: f})
}

// image records that an image was seen and inspected, matched against db with findings, by list,
// and evaluated.
func (w *world) image(name string, db pratique.Database, findings [][]string,
	lists ...pratique.PackageList) pratique.Subject {
	w.t.Helper()
	s := about(name)
	inv := pratique.Inventory{Lists: lists}
	if slices.ContainsFunc(lists, func(l pratique.PackageList) bool {
		return l.Class == pratique.ClassOS
	}) {
		inv.OS.Family = "debian"
	}
	whole, parts, err := scanner.SplitInventory(inv)
	w.docs.put(whole, err)
	for _, p := range parts {
		w.docs.put(p, nil)
	}
	ref := pratique.ImageRef{Repository: s.Repository, Tag: name}
	w.fact(pratique.Fact{Subject: s, Body: &pratique.Resolved{
		Event:    pratique.Event{ID: "push", Ref: ref, ReceivedAt: time.Unix(1000, 0).UTC()},
		Manifest: pratique.Manifest{Subject: s}}})
	w.fact(pratique.Fact{Subject: s, Body: &pratique.Inspected{Inventory: whole.Digest}})
	w.fact(pratique.Fact{Subject: s, Event: "push", Body: &pratique.Scanned{
		Report: w.report(whole.Digest, db, findings), Inventory: whole.Digest, Database: db}})
	w.fact(pratique.Fact{Subject: s, Body: &pratique.Evaluated{}})
	return s
}

func (w *world) report(inventory pratique.Digest, db pratique.Database,
	findings [][]string) pratique.Digest {
	var digests []pratique.Digest
	for _, ids := range findings {
		digests = append(digests, w.found(ids...))
	}
	return w.docs.put(scanner.ReportDocument(pratique.Report{Inventory: inventory, Database: db},
		digests))
}

func (w *world) found(ids ...string) pratique.Digest {
	var all []pratique.Finding
	for _, id := range ids {
		all = append(all, pratique.Finding{ID: id})
	}
	docs, err := scanner.FindingsDocuments(pratique.Report{Findings: all, Coverage: &pratique.Coverage{}})
	if err != nil {
		w.t.Fatal(err)
	}
	var last pratique.Digest
	for _, d := range docs {
		last = w.docs.put(d, nil)
	}
	return last
}

func (w *world) apply() {
	w.t.Helper()
	w.do(w.e.Apply(w.t.Context(), w.facts))
}

func (w *world) begin(db pratique.Database, d rescan.Delta) pratique.Rescan {
	w.t.Helper()
	r, err := w.e.Begin(db, d, time.Unix(2000, 0))
	w.do(err)
	return r
}

func (w *world) pending() []rescan.List {
	w.t.Helper()
	parts, err := w.e.Pending(1000)
	w.do(err)
	return parts
}

func (w *world) stale() []rescan.StaleImage {
	w.t.Helper()
	all, err := w.e.Stale(1000)
	w.do(err)
	return all
}

// two is an inventory of two images on one base, matched against database A.
func two(t *testing.T) (w *world, one, other pratique.Subject) {
	w = newWorld(t)
	w.begin(database("A"), rescan.Delta{Everything: "first"})
	base := list(pratique.ClassOS, "libc", "openssl")
	one = w.image("one", database("A"), [][]string{{"CVE-base"}, {"CVE-lodash"}}, base,
		list(pratique.ClassLanguage, "lodash"))
	other = w.image("other", database("A"), [][]string{{"CVE-base"}, {}}, base,
		list(pratique.ClassLanguage, "flask"))
	w.apply()
	return w, one, other
}

func TestOnlyWhatIsAffected(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		delta rescan.Delta
		parts int
	}{
		"nothing":       {rescan.Delta{}, 0},
		"shared base":   {rescan.Delta{Names: []string{"openssl", "nobody-has-this"}}, 1},
		"one and base":  {rescan.Delta{Names: []string{"libc", "flask"}}, 2},
		"vulnerability": {rescan.Delta{Vulnerabilities: []string{"CVE-lodash", "CVE-lodas"}}, 1},
		"everything":    {rescan.Delta{Everything: "because"}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _, _ := two(t)
			r := w.begin(database("B"), test.delta)
			if r.Affected != test.parts || len(w.pending()) != test.parts || r.Lists != 3 ||
				r.From != database("A").Digest {
				t.Errorf("%+v, %d to do", r, len(w.pending()))
			}
			// What is not affected is known for the new database without any work; what is, for
			// none.
			known := 0
			for d := range w.docs {
				if _, ok, err := w.e.Findings(d, database("B").Digest); err != nil {
					t.Fatal(err)
				} else if ok {
					known++
				}
				if _, ok, _ := w.e.Findings(d, database("A").Digest); ok {
					t.Error("something is known for a database that is not in use")
				}
			}
			if known != 3-test.parts {
				t.Errorf("%d parts known, want %d", known, 3-test.parts)
			}
		})
	}
}

func TestImagesOfWhatChanged(t *testing.T) {
	t.Parallel()
	w, one, other := two(t)
	if n := len(w.stale()); n != 0 {
		t.Fatalf("%d images outdated at the start", n)
	}
	w.begin(database("B"), rescan.Delta{Names: []string{"openssl", "lodash"}})
	parts := w.pending()
	// The base is as it was, the application has one finding more.
	var answers []rescan.ListResult
	for _, p := range parts {
		m := rescan.ListResult{ID: p.ID, Findings: p.Findings, Vulnerabilities: []string{"CVE-base"}}
		if p.Findings == w.found("CVE-lodash") {
			m.Findings, m.Vulnerabilities = w.found("CVE-lodash", "CVE-new"),
				[]string{"CVE-lodash", "CVE-new"}
		}
		answers = append(answers, m)
	}
	w.do(w.e.Matched(database("other").Digest, answers))
	if len(w.pending()) != 2 {
		t.Error("the answers for another database were taken")
	}
	w.do(w.e.Matched(database("B").Digest, answers))
	all := w.stale()
	if len(all) != 1 || all[0].Subject != one || len(all[0].Evaluate) != 1 ||
		all[0].Evaluate[0].Ref.Tag != "one" || !all[0].Evaluated {
		t.Fatalf("outdated %+v", all)
	}
	if slices.Equal(all[0].Before, all[0].Now) || len(all[0].Now) != 2 ||
		all[0].Before[0] != all[0].Now[0] {
		t.Errorf("before %v, now %v", all[0].Before, all[0].Now)
	}
	if r, err := w.e.Finish(database("B").Digest, time.Unix(3000, 0)); err != nil ||
		!r.FinishedAt.IsZero() {
		t.Errorf("finished with an image to do: %+v, %v", r, err)
	}
	w.do(w.e.Update(database("B").Digest,
		[]rescan.ImageResult{{ID: all[0].ID, Report: w.found(), Findings: all[0].Now, Event: "e"}}, 1, 1))
	r, err := w.e.Finish(database("B").Digest, time.Unix(3000, 0))
	if err != nil || r.FinishedAt.IsZero() || r.Matched != 2 || r.Changed != 1 ||
		r.NewlyAffected != 1 || r.Touched != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	// The new finding is found by its id next time.
	if r := w.begin(database("C"), rescan.Delta{Vulnerabilities: []string{"CVE-new"}}); r.Affected != 1 {
		t.Errorf("%+v", r)
	}
	_ = other
}

// TestLateReports: a push that began with the old database ends while the new one is in use. Its
// parts of which nothing is known are matched, and the image is looked at, when it was matched and
// again when it was evaluated.
func TestLateReports(t *testing.T) {
	t.Parallel()
	w, _, _ := two(t)
	w.begin(database("B"), rescan.Delta{})
	late := w.image("late", database("A"), [][]string{{"CVE-base"}, {}},
		list(pratique.ClassOS, "libc", "openssl"), list(pratique.ClassLanguage, "qs"))
	evaluated := w.facts[len(w.facts)-1]
	w.facts = w.facts[:len(w.facts)-1]
	w.apply()
	parts := w.pending()
	if len(parts) != 1 || !parts[0].Findings.IsZero() {
		t.Fatalf("to do %+v", parts)
	}
	all := w.stale()
	if len(all) != 1 || all[0].Subject != late || all[0].Evaluated || all[0].Now != nil {
		t.Fatalf("outdated %+v", all)
	}
	w.do(w.e.Update(database("B").Digest,
		[]rescan.ImageResult{{ID: all[0].ID, Report: all[0].Report}}, 0, 0))
	w.do(w.e.Matched(database("B").Digest,
		[]rescan.ListResult{{ID: parts[0].ID, Findings: w.found("CVE-qs"),
			Vulnerabilities: []string{"CVE-qs"}}}))
	w.facts = append(w.facts, evaluated)
	w.apply()
	if all = w.stale(); len(all) != 1 || !all[0].Evaluated ||
		slices.Equal(all[0].Before, all[0].Now) || len(all[0].Now) != 2 {
		t.Errorf("outdated %+v", all)
	}
}

// TestIndexes: an image that is a part of an index has the index evaluated again.
func TestIndexes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(database("A"), rescan.Delta{})
	index := about("index")
	w.fact(pratique.Fact{Subject: index, Body: &pratique.Resolved{
		Event: pratique.Event{ID: "push", Ref: pratique.ImageRef{Repository: index.Repository,
			Tag: "multi"}, OccurredAt: time.Unix(500, 0).UTC(), ReceivedAt: time.Unix(1000, 0).UTC()},
		Manifest: pratique.Manifest{Subject: index,
			Children: []pratique.Child{{Digest: about("child").Digest}}}}})
	child := w.image("child", database("A"), [][]string{{}}, list(pratique.ClassLanguage, "lodash"))
	seen := 1 // the image itself was not pushed
	w.facts = slices.Delete(w.facts, seen, seen+1)
	w.fact(pratique.Fact{Subject: index, Body: &pratique.Evaluated{}})
	for i := range w.facts {
		w.facts[i].Seq = uint64(i + 1)
	}
	w.apply()
	w.begin(database("B"), rescan.Delta{Names: []string{"lodash"}})
	w.do(w.e.Matched(database("B").Digest,
		[]rescan.ListResult{{ID: w.pending()[0].ID, Findings: w.found("CVE-1"),
			Vulnerabilities: []string{"CVE-1"}}}))
	all := w.stale()
	if len(all) != 1 || all[0].Subject != child || len(all[0].Evaluate) != 1 ||
		all[0].Evaluate[0].Subject != index || !all[0].Evaluate[0].At.Equal(time.Unix(500, 0)) {
		t.Errorf("outdated %+v", all)
	}
}

// TestSweptPushes: what sweeps find takes the place of no push, and a new database asks for no more
// than they did.
func TestSweptPushes(t *testing.T) {
	t.Parallel()
	push := func(tag string, refreshOnly bool) pratique.Event {
		return pratique.Event{Ref: pratique.ImageRef{Repository: about("x").Repository, Tag: tag},
			RefreshOnly: refreshOnly, ReceivedAt: time.Unix(1000, 0)}
	}
	for name, c := range map[string]struct {
		events      []pratique.Event
		tag         string
		refreshOnly bool
	}{
		"swept only":         {[]pratique.Event{push("a", true)}, "a", true},
		"swept twice":        {[]pratique.Event{push("a", true), push("b", true)}, "b", true},
		"swept after a push": {[]pratique.Event{push("a", false), push("b", true)}, "a", false},
		"reported after it":  {[]pratique.Event{push("a", true), push("b", false)}, "b", false},
		"swept in between": {[]pratique.Event{push("a", false), push("b", true),
			push("c", false)}, "c", false},
		"reported and no sweep": {[]pratique.Event{push("a", false), push("b", false)}, "b", false},
	} {
		var s subject
		for _, e := range c.events {
			s.pushed(e)
		}
		if s.Ref.Tag != c.tag || s.RefreshOnly != c.refreshOnly || !s.PushedAt.Equal(time.Unix(1000, 0)) {
			t.Errorf("%s: %+v", name, s)
		}
	}
	w := newWorld(t)
	w.begin(database("A"), rescan.Delta{})
	w.image("app", database("A"), [][]string{{}}, list(pratique.ClassLanguage, "lodash"))
	pratique.As[pratique.Resolved](w.facts[0].Fact).Event.RefreshOnly = true
	w.apply()
	w.begin(database("B"), rescan.Delta{Names: []string{"lodash"}})
	w.do(w.e.Matched(database("B").Digest,
		[]rescan.ListResult{{ID: w.pending()[0].ID, Findings: w.found("CVE-1"),
			Vulnerabilities: []string{"CVE-1"}}}))
	if all := w.stale(); len(all) != 1 || len(all[0].Evaluate) != 1 || !all[0].Evaluate[0].RefreshOnly {
		t.Errorf("outdated %+v", all)
	}
}

// TestIndexEvaluatedLate: the old database was in use when a platform was matched, and rescanning
// looks at it between its own verdict and that of the index, so that nobody is to be evaluated
// again yet. The verdict of the index brings it back.
func TestIndexEvaluatedLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(database("B"), rescan.Delta{})
	index := about("index")
	w.fact(pratique.Fact{Subject: index, Body: &pratique.Resolved{
		Event: pratique.Event{ID: "push", Ref: pratique.ImageRef{Repository: index.Repository,
			Tag: "multi"}, ReceivedAt: time.Unix(1000, 0).UTC()},
		Manifest: pratique.Manifest{Subject: index,
			Children: []pratique.Child{{Digest: about("child").Digest}}}}})
	child := w.image("child", database("A"), [][]string{{}}, list(pratique.ClassLanguage, "lodash"))
	w.facts = slices.Delete(w.facts, 1, 2) // the image itself was not pushed
	for i := range w.facts {
		w.facts[i].Seq = uint64(i + 1)
	}
	w.apply()
	w.do(w.e.Matched(database("B").Digest,
		[]rescan.ListResult{{ID: w.pending()[0].ID, Findings: w.found("CVE-1"),
			Vulnerabilities: []string{"CVE-1"}}}))
	all := w.stale()
	if len(all) != 1 || len(all[0].Evaluate) != 0 {
		t.Fatalf("outdated %+v", all)
	}
	w.do(w.e.Update(database("B").Digest,
		[]rescan.ImageResult{{ID: all[0].ID, Report: all[0].Report}}, 0, 0))
	w.fact(pratique.Fact{Subject: index, Body: &pratique.Evaluated{}})
	w.apply()
	all = w.stale()
	if len(all) != 1 || all[0].Subject != child || len(all[0].Evaluate) != 1 ||
		all[0].Evaluate[0].Subject != index {
		t.Errorf("outdated %+v", all)
	}
}

// TestDocumentsThatAreGone: what cannot be read is left out, and the inventory goes on.
func TestDocumentsThatAreGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(database("A"), rescan.Delta{})
	w.image("gone", database("A"), [][]string{{}}, list(pratique.ClassLanguage, "lodash"))
	clear(w.docs)
	w.image("there", database("A"), [][]string{{}}, list(pratique.ClassLanguage, "flask"))
	w.apply()
	if at, err := w.position(); err != nil || at != 8 {
		t.Errorf("position %d, %v", at, err)
	}
	if r := w.begin(database("B"), rescan.Delta{Everything: "all"}); r.Affected != 1 {
		t.Errorf("%+v", r)
	}
}

// reading is a store that tells of each read, and whose reader writes to the inventory meanwhile.
type reading struct {
	memory
	read func(d pratique.Digest)
}

func (r reading) Get(ctx context.Context, d pratique.Digest) ([]byte, error) {
	r.read(d)
	return r.memory.Get(ctx, d)
}

// TestNoTransactionWaitsForDocuments: while documents are read others may write, and each is read
// once.
func TestNoTransactionWaitsForDocuments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(database("A"), rescan.Delta{})
	reads := map[pratique.Digest]int{}
	w.e.cfg.Documents = reading{w.docs, func(d pratique.Digest) {
		reads[d]++
		// bbolt has one writer: this would wait for ever for a transaction that reads documents.
		if _, err := w.e.Finish(database("X").Digest, time.Unix(1, 0)); err != nil {
			t.Error(err)
		}
	}}
	w.image("one", database("A"), [][]string{{"CVE-1"}, {}}, list(pratique.ClassOS, "libc"),
		list(pratique.ClassLanguage, "lodash"))
	w.image("two", database("A"), [][]string{{"CVE-1"}, {"CVE-2"}}, list(pratique.ClassOS, "libc"),
		list(pratique.ClassLanguage, "flask"))
	w.apply()
	for d, n := range reads {
		if n != 1 {
			t.Errorf("%s was read %d times", d, n)
		}
	}
	if len(reads) < 7 {
		t.Errorf("%d documents were read", len(reads))
	}
	if r := w.begin(database("B"),
		rescan.Delta{Vulnerabilities: []string{"CVE-2"}}); r.Affected != 1 || r.Lists != 3 {
		t.Errorf("%+v", r)
	}
}

// TestStoreOutOfReach: nothing is applied, and the next time all of it is.
func TestStoreOutOfReach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(database("A"), rescan.Delta{})
	s := w.image("one", database("A"), [][]string{{"CVE-1"}}, list(pratique.ClassLanguage, "lodash"))
	w.e.cfg.Documents = away{}
	if err := w.e.Apply(t.Context(), w.facts); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("the error is %v", err)
	}
	if at, err := w.position(); err != nil || at != 0 {
		t.Errorf("position %d, %v", at, err)
	}
	w.e.cfg.Documents = w.docs
	w.apply()
	if r := w.begin(database("B"), rescan.Delta{Everything: "all"}); r.Affected != 1 ||
		len(w.stale()) != 0 {
		t.Errorf("%s: %+v", s, r)
	}
}

// away is a store that does not answer.
type away struct{}

func (away) Get(context.Context, pratique.Digest) ([]byte, error) {
	return nil, pratique.Errorf(pratique.Unavailable, "get document", "no answer")
}

// TestFailedLists: of a list that cannot be matched nothing is known, until the next database.
func TestFailedLists(t *testing.T) {
	t.Parallel()
	w, _, _ := two(t)
	w.begin(database("B"), rescan.Delta{Names: []string{"lodash"}})
	failed := w.pending()[0]
	w.do(w.e.Matched(database("B").Digest, []rescan.ListResult{{ID: failed.ID, Failed: "because"}}))
	if _, known, err := w.e.Findings(failed.Digest, database("B").Digest); known || err != nil ||
		len(w.pending()) != 0 {
		t.Errorf("known %v, %v, %d to do", known, err, len(w.pending()))
	}
	if r := w.begin(database("C"), rescan.Delta{}); r.Affected != 1 {
		t.Errorf("the failed list is not tried again: %+v", r)
	}
}

// TestFailedListsHaveADocument: it stands for the findings in the reports of the images, and a push
// does not take it for an answer.
func TestFailedListsHaveADocument(t *testing.T) {
	t.Parallel()
	w, _, _ := two(t)
	w.begin(database("B"), rescan.Delta{Everything: "a test"})
	failed := pratique.DigestOf([]byte("failed"))
	var all []rescan.ListResult
	for i, p := range w.pending() {
		m := rescan.ListResult{ID: p.ID, Findings: p.Findings}
		if i == 0 { // both have it
			m = rescan.ListResult{ID: p.ID, Findings: failed, Failed: "the child died"}
			defer func() {
				if _, known, err := w.e.Findings(p.Digest, database("B").Digest); known || err != nil {
					t.Errorf("a push would use it: %v, %v", known, err)
				}
			}()
		}
		all = append(all, m)
	}
	w.do(w.e.Matched(database("B").Digest, all))
	images := w.stale()
	if len(images) != 2 {
		t.Fatalf("outdated %+v", images)
	}
	for _, image := range images {
		if !slices.Contains(image.Now, failed) || len(image.Now) != len(image.Before) {
			t.Errorf("now %v, before %v", image.Now, image.Before)
		}
	}
}

// TestMadeAnew: a file of another version is thrown away, and so is what is no bbolt file; a replay
// gives the same. TestPreviousWork: an image knows the work for the report before, in whatever
// order the note and the facts come, and however often.
func TestPreviousWork(t *testing.T) {
	for name, noted := range map[string]bool{"noted, then on record": true, "on record only": false} {
		t.Run(name, func(t *testing.T) {
			w, one, _ := two(t)
			w.begin(database("B"), rescan.Delta{Everything: "a test"})
			w.do(w.e.Matched(database("B").Digest,
				[]rescan.ListResult{{ID: w.pending()[0].ID, Findings: w.found("CVE-changed")}}))
			images := w.stale()
			if len(images) != 2 || images[0].Event != "push" || images[0].Previous != "" {
				t.Fatalf("%+v", images)
			}
			image := images[0]
			report := w.report(image.Inventory, database("B"), [][]string{{"CVE-base"}, {"CVE-new"}})
			result := rescan.ImageResult{ID: image.ID, Report: report,
				Findings: []pratique.Digest{w.found("CVE-base"), w.found("CVE-new")}, Event: "rescan"}
			if noted {
				w.do(w.e.Update(database("B").Digest, []rescan.ImageResult{result}, 1, 1))
			}
			for range 2 {
				w.fact(pratique.Fact{Subject: one, Event: "rescan",
					Body: &pratique.Scanned{Report: report, Inventory: image.Inventory,
						Database: database("B")}})
			}
			w.apply()
			w.do(w.e.Update(database("B").Digest, []rescan.ImageResult{result}, 1, 1))
			w.begin(database("C"), rescan.Delta{Everything: "a test"})
			w.do(w.e.Matched(database("C").Digest,
				[]rescan.ListResult{{ID: w.pending()[0].ID, Findings: w.found("CVE-other")}}))
			images = w.stale()
			if len(images) != 2 || images[0].Event != "rescan" || images[0].Previous != "push" ||
				images[0].Report != report {
				t.Errorf("%+v", images)
			}
		})
	}
}

// TestSameReportAgain: an image that was set aside is dealt with when a push makes its report
// again, with the same bytes.
func TestSameReportAgain(t *testing.T) {
	w, one, _ := two(t)
	image := func() rescan.StaleImage {
		t.Helper()
		for _, i := range w.stale() {
			if i.Subject == one {
				return i
			}
		}
		t.Fatal("it is not stale")
		return rescan.StaleImage{}
	}
	w.begin(database("B"), rescan.Delta{Everything: "a test"})
	w.do(w.e.Matched(database("B").Digest,
		[]rescan.ListResult{{ID: w.pending()[0].ID, Findings: w.found("CVE-other")}}))
	before := image()
	w.do(w.e.Update(database("B").Digest,
		[]rescan.ImageResult{{ID: before.ID, Report: before.Report, Failed: "a document is gone"}}, 0, 0))
	w.begin(database("A"), rescan.Delta{Everything: "it is used again"})
	w.do(w.e.Update(database("A").Digest,
		[]rescan.ImageResult{{ID: before.ID, Report: before.Report, Failed: "it is still gone"}}, 0, 0))
	w.fact(pratique.Fact{Subject: one, Event: "another push",
		Body: &pratique.Scanned{Report: before.Report, Inventory: before.Inventory,
			Database: database("A")}})
	w.apply()
	if aside, err := w.e.Aside(10); err != nil || len(aside) != 0 {
		t.Errorf("aside %+v, %v", aside, err)
	}
}

// TestSetAside: what cannot be dealt with is no more in the way, is named, and comes up again with
// the next database.
func TestSetAside(t *testing.T) {
	w, one, other := two(t)
	w.begin(database("B"), rescan.Delta{Everything: "a test"})
	var all []rescan.ListResult
	for i, p := range w.pending() {
		m := rescan.ListResult{ID: p.ID, Findings: p.Findings}
		if i == 0 { // both have it
			m = rescan.ListResult{ID: p.ID, Failed: "the child died"}
		}
		all = append(all, m)
	}
	w.do(w.e.Matched(database("B").Digest, all))
	images := w.stale()
	if len(images) != 2 || images[0].Unmatched != "the child died" || images[0].Now != nil {
		t.Fatalf("outdated %+v", images)
	}
	var settled []rescan.ImageResult
	for _, image := range images {
		settled = append(settled, rescan.ImageResult{ID: image.ID, Report: image.Report,
			Failed: image.Unmatched})
	}
	w.do(w.e.Update(database("B").Digest, settled, 0, 0))
	aside, err := w.e.Aside(10)
	if err != nil || len(aside) != 2 || aside[0].Subject != one || aside[1].Subject != other ||
		aside[0].Reason != "the child died" {
		t.Errorf("aside %+v, %v", aside, err)
	}
	if r, err := w.e.Finish(database("B").Digest, time.Unix(2000, 0)); err != nil ||
		r.FinishedAt.IsZero() || r.SetAside != 2 || r.Failed != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if r := w.begin(database("C"), rescan.Delta{}); r.SetAside != 0 || r.Affected != 1 {
		t.Errorf("the next database: %+v", r)
	}
	if images := w.stale(); len(images) != 2 {
		t.Errorf("outdated with the next database: %+v", images)
	}
	if aside, err := w.e.Aside(10); err != nil || len(aside) != 0 {
		t.Errorf("aside %+v, %v", aside, err)
	}
	w.do(w.e.Reset())
	if at, mark, err := w.e.At(); err != nil || at != 0 || mark != "" {
		t.Errorf("after a reset: %d %q, %v", at, mark, err)
	}
}

func TestMadeAnew(t *testing.T) {
	t.Parallel()
	w, _, _ := two(t)
	w.apply() // again: nothing happens
	w.do(w.e.file.Update("spoil", func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("meta")).Put([]byte("schema"), []byte("0"))
	}))
	w.do(w.e.Close())
	var other *projection.SchemaError
	if _, err := Open(w.path, Config{}); !errors.As(err, &other) || other.Have != 0 ||
		pratique.KindOf(err) != pratique.Corrupt {
		t.Errorf("of another version: %v", err)
	}
	w.do(Remove(w.path))
	w.open()
	if at, err := w.position(); err != nil || at != 0 {
		t.Errorf("position %d, %v", at, err)
	}
	if _, err := Open(w.path, Config{}); pratique.KindOf(err) != pratique.Conflict {
		t.Errorf("opened twice: %v", err)
	}
	w.apply()
	if r := w.begin(database("A"), rescan.Delta{Everything: "made anew"}); r.Affected != 3 ||
		r.Lists != 3 {
		t.Errorf("%+v", r)
	}
	// Nothing was in use while it was made, so every image is looked at, too.
	if n := len(w.stale()); n != 2 {
		t.Errorf("%d outdated", n)
	}
}

// TestPostings compares chunks with a plain map.
func TestPostings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	random := rand.New(rand.NewPCG(3, 4))
	want := map[string][]uint32{}
	w.do(w.e.file.Update("spoil", func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketNames)
		for n := uint32(1); n < 20_000; n += 1 + random.Uint32N(3) {
			key := fmt.Sprintf("key-%d", random.IntN(5))
			if err := errors.Join(addPosting(b, []byte(key), n),
				addPosting(b, []byte(key), n)); err != nil {
				return err
			}
			want[key] = append(want[key], n)
		}
		return nil
	}))
	w.do(w.e.file.View("look", func(tx *bbolt.Tx) error {
		for key, numbers := range want {
			var got []uint32
			if err := eachPosting(tx.Bucket(bucketNames), []byte(key), func(n uint32) error {
				got = append(got, n)
				return nil
			}); err != nil {
				return err
			}
			if !slices.Equal(got, numbers) {
				t.Errorf("%s: %d numbers, want %d", key, len(got), len(numbers))
			}
		}
		return eachPosting(tx.Bucket(bucketNames), []byte("key-"), func(n uint32) error {
			return fmt.Errorf("a part of a key has %d", n)
		})
	}))
}
