package rescan_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/rescan"
)

func digest(name string) pratique.Digest { return pratique.DigestOf([]byte(name)) }

// progress is a rescan to a database, as a machine makes it that begins at some hour.
func progress(db string, hour int) pratique.Rescan {
	at := time.Date(2026, 8, 2, hour, 0, 0, 0, time.UTC)
	return pratique.Rescan{StartedAt: at, To: pratique.Database{
		Digest: digest(db), Version: 2, UpdatedAt: time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC),
		DownloadedAt: at, Source: "mirror " + at.String(),
	}}
}

// stale is an image of which a push made the report, and whose only list has other findings now.
func stale() rescan.StaleImage {
	subject := pratique.Subject{Repository: pratique.Repository{Registry: "r.test", Path: "app"},
		Digest: digest("app")}
	index := pratique.Subject{Repository: subject.Repository, Digest: digest("index")}
	pushed := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	return rescan.StaleImage{
		ID: 7, Subject: subject, Inventory: digest("inventory"), Report: digest("report"),
		Event: "push", Database: digest("A"),
		Before: []pratique.Digest{digest("before")}, Now: []pratique.Digest{digest("now")},
		Evaluated: true,
		Evaluate: []rescan.Push{
			{Subject: subject, Ref: pratique.ImageRef{Repository: subject.Repository, Tag: "1.0"},
				At: pushed},
			{Subject: index, At: pushed, RefreshOnly: true},
		},
	}
}

var header = pratique.Report{Scanner: pratique.Tool{Name: "trivy", Version: "1"},
	OS: pratique.OS{Family: "debian"}}

func rescanned(t *testing.T, i rescan.StaleImage, p pratique.Rescan) rescan.Outcome {
	t.Helper()
	if _, ok, err := i.Check(p); ok || err != nil {
		t.Fatalf("its report holds: %v", err)
	}
	o, err := i.Rescanned(p, header, rescan.Difference{
		Added:  rescan.Added{Total: 1, MostSevere: []pratique.AffectedFinding{{ID: "CVE-1"}}},
		Totals: rescan.Totals{Counts: pratique.Counts{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func events(o rescan.Outcome) (ids []string) {
	for _, e := range o.Evaluate {
		ids = append(ids, e.Event.ID)
	}
	return ids
}

// next is the image when the outcome is on record.
func next(i rescan.StaleImage, o rescan.Outcome, p pratique.Rescan) rescan.StaleImage {
	i.Previous, i.Event = i.Event, o.Result.Event
	i.Report, i.Before, i.Database = o.Result.Report, o.Result.Findings, p.To.Digest
	return i
}

// TestSameOnEveryMachine: two machines make the same report and the same events of the same image,
// so that it is evaluated once.
func TestSameOnEveryMachine(t *testing.T) {
	one, other := rescanned(t, stale(), progress("B", 3)), rescanned(t, stale(), progress("B", 9))
	if one.Report.Digest != other.Report.Digest {
		t.Errorf("%s\n%s", one.Report.Content, other.Report.Content)
	}
	if a, b := events(one), events(other); len(a) != 2 || a[0] == a[1] || !slices.Equal(a, b) {
		t.Errorf("events %v and %v", a, b)
	}
	for n, kind := range []pratique.FactKind{pratique.FactAffected, pratique.FactScanned} {
		f := one.Facts[n]
		if f.Kind() != kind || f.Event != other.Facts[n].Event ||
			f.Event != one.Evaluate[0].Event.ID || f.Subject != stale().Subject {
			t.Errorf("fact %+v, on another machine %+v", f, other.Facts[n])
		}
	}
	scanned := pratique.As[pratique.Scanned](one.Facts[1])
	if p := progress("B", 3); !scanned.ScannedAt.Equal(p.StartedAt) || scanned.Database != p.To ||
		scanned.Report != one.Report.Digest {
		t.Errorf("scanned %+v", scanned)
	}
	e := one.Evaluate[1].Event
	if !e.RefreshOnly || e.Priority != pratique.PriorityRescan ||
		!e.OccurredAt.Equal(stale().Evaluate[1].At) || e.Ref.Digest != digest("index") {
		t.Errorf("event of the index %+v", e)
	}
}

// TestDatabaseUsedAgain: a database that comes back, as after an import of an older one, makes the
// reports that it made before. The events must be new: those of the first time are over.
func TestDatabaseUsedAgain(t *testing.T) {
	image, seen, reports := stale(), map[string]bool{}, map[pratique.Digest]bool{}
	lists := [][]pratique.Digest{{digest("before")}, {digest("now")}}
	for n := range 6 {
		p := progress([]string{"A", "B"}[n%2], 3+n)
		image.Now = lists[n%2]
		if slices.Equal(image.Before, image.Now) {
			continue
		}
		o := rescanned(t, image, p)
		for _, id := range events(o) {
			if seen[id] {
				t.Errorf("change %d makes an event again", n)
			}
			seen[id] = true
		}
		reports[o.Report.Digest] = true
		image = next(image, o, p)
	}
	if len(reports) != 2 || len(seen) != 10 {
		t.Errorf("%d reports, %d events", len(reports), len(seen))
	}
}

// TestDiedBeforeJobs: a process that died between facts and jobs left an image whose report holds.
// The same events are made again.
func TestDiedBeforeJobs(t *testing.T) {
	p := progress("B", 3)
	first := rescanned(t, stale(), p)
	image := next(stale(), first, p)
	o, ok, err := image.Check(progress("B", 4))
	if err != nil || !ok || len(o.Facts) > 0 || !slices.Equal(events(o), events(first)) {
		t.Errorf("%+v, %v, %v", o, ok, err)
	}
	image.Event = "a later push"
	if o, ok, err := image.Check(p); err != nil || !ok || len(o.Evaluate) > 0 ||
		o.Result.Report != image.Report {
		t.Errorf("after a push: %+v, %v, %v", o, ok, err)
	}
}

// TestImagesThatNeedNoReport, and those about which nothing can be said.
func TestImagesThatNeedNoReport(t *testing.T) {
	p := progress("B", 3)
	for name, test := range map[string]struct {
		change func(i *rescan.StaleImage)
		ok     bool
		fails  bool
	}{
		"other findings":    {func(*rescan.StaleImage) {}, false, false},
		"the same findings": {func(i *rescan.StaleImage) { i.Now = i.Before }, true, false},
		"beside another": {func(i *rescan.StaleImage) {
			i.Now, i.Refresh = i.Before, true
		}, false, false},
		"beside it, and done": {func(i *rescan.StaleImage) {
			i.Now, i.Refresh, i.Database = i.Before, true, p.To.Digest
		}, true, false},
		"not evaluated":        {func(i *rescan.StaleImage) { i.Evaluated = false }, true, false},
		"nobody pushed it":     {func(i *rescan.StaleImage) { i.Evaluate = nil }, true, false},
		"not all is known yet": {func(i *rescan.StaleImage) { i.Now = nil }, true, false},
		"not matched": {func(i *rescan.StaleImage) {
			i.Now, i.Unmatched = nil, "the child died"
		}, true, true},
		"a document says so": {func(i *rescan.StaleImage) {
			i.Unmatched = "the child died"
		}, false, false},
	} {
		i := stale()
		test.change(&i)
		o, ok, err := i.Check(p)
		if ok != test.ok || (err != nil) != test.fails || len(o.Facts) > 0 || len(o.Evaluate) > 0 ||
			o.Result.Report != i.Report {
			t.Errorf("%s: %+v, %v, %v", name, o, ok, err)
		}
	}
}

// TestSetAside: a fact says why, and the report stays.
func TestSetAside(t *testing.T) {
	o := stale().SetAside(pratique.Errorf(pratique.Died, "match image", "the child died"))
	failed := pratique.As[pratique.Failed](o.Facts[0])
	if failed == nil || failed.Kind != pratique.Died || failed.Stage != pratique.StageRescan ||
		!failed.Final || failed.Ref.Tag != "1.0" || o.Facts[0].Subject != stale().Subject {
		t.Errorf("facts %+v", o.Facts)
	}
	if o.Result.Report != stale().Report || o.Result.Failed == "" || len(o.Evaluate) > 0 {
		t.Errorf("%+v", o)
	}
}

// TestCompareReports: an image's difference is that between all its lists, whether it was learned
// or is read.
func TestCompareReports(t *testing.T) {
	docs := memory{}
	put := func(findings ...pratique.Finding) pratique.Digest {
		made, err := scanner.FindingsDocuments(pratique.Report{Findings: findings,
			Coverage: &pratique.Coverage{}})
		if err != nil {
			t.Fatal(err)
		}
		return docs.put(made...)
	}
	high := pratique.Finding{ID: "CVE-1", Package: "a", Installed: "1", Fixed: "2",
		Severity: pratique.SeverityHigh}
	low := pratique.Finding{ID: "CVE-2", Package: "b", Installed: "1", Severity: pratique.SeverityLow}
	moved := high
	moved.UID, moved.Title = "elsewhere", "other words"
	base, before, now, empty := put(low), put(high), put(moved, low), put()
	gone := digest("gone")
	var c rescan.Comparisons
	for name, test := range map[string]struct {
		before, now           []pratique.Digest
		added, total, fixable int
		gravest               string
		fails                 bool
	}{
		"nothing": {[]pratique.Digest{base, before}, []pratique.Digest{base, before}, 0, 2,
			1, "", false},
		"a new one": {[]pratique.Digest{base, before}, []pratique.Digest{base, now}, 1, 3, 1,
			"CVE-2", false},
		"from nothing":   {[]pratique.Digest{empty}, []pratique.Digest{now}, 2, 2, 1, "CVE-1", false},
		"one list less":  {[]pratique.Digest{base, before}, []pratique.Digest{base}, 0, 1, 0, "", false},
		"before is gone": {[]pratique.Digest{gone}, []pratique.Digest{before}, 1, 1, 1, "CVE-1", false},
		"now is gone":    {[]pratique.Digest{before}, []pratique.Digest{gone}, 0, 0, 0, "", true},
	} {
		for range 2 {
			d, err := c.Compare(t.Context(), docs, test.before, test.now)
			if test.fails {
				if pratique.KindOf(err) != pratique.NotFound {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			if err != nil || d.Added.Total != test.added || d.Counts.Total() != test.total ||
				d.Fixable != test.fixable ||
				test.gravest != "" && d.MostSevere[0].ID != test.gravest {
				t.Errorf("%s: %+v, %v", name, d, err)
			}
		}
	}
	clear(docs)
	c.Put(digest("x"), digest("y"), rescan.Difference{Added: rescan.Added{Total: 5}})
	if d, err := c.Compare(t.Context(), docs, []pratique.Digest{base, digest("x")},
		[]pratique.Digest{base, digest("y")}); err != nil || d.Added.Total != 5 {
		t.Errorf("what was learned is read: %+v, %v", d, err)
	}
}
