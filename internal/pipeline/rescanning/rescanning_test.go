package rescanning_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/pipeline/rescanning"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/rescan"
)

// inventory is a rescan of one list each for some packages, all in one image, whose neighbours can
// fail. It is the inventory as far as the order of things is concerned: what is asked, and matched,
// and when.
type inventory struct {
	t    *testing.T
	docs map[pratique.Digest][]byte
	stop context.CancelFunc

	mu         sync.Mutex
	db         scanner.DatabaseDir // the one in use
	state      pratique.Rescan
	lists      []rescan.List
	matched    []rescan.ListResult
	matchedFor []pratique.Digest
	updated    []rescan.ImageResult
	report     pratique.Digest
	before     pratique.Digest
	facts      []pratique.Fact
	jobs       int
	appends    int
	enqueues   int

	matches func(names []string) error
	append  func(n int) error
	enqueue func(n int) error
	put     func(n int) error
	puts    int
	// find is what is found in a package instead of one vulnerability; asked are the packages that
	// were matched.
	find  func(p pratique.Package) []pratique.Finding
	asked []string
	delta rescan.Delta
	// cover is what the matcher says that there are advisories for.
	cover func(part pratique.Inventory) *pratique.Coverage
	whole bool // nothing is narrowed
	// images is how many images hold the lists, one if it is 0; refuse says which fact the ledger
	// never takes; again is set while a call to the matcher is made again.
	images   int
	refuse   func(pratique.Fact) error
	isolated bool
}

func (c *inventory) subject(i int) pratique.Subject {
	return pratique.Subject{Digest: pratique.DigestOf([]byte("image" + strconv.Itoa(i)))}
}

func database(name string) scanner.DatabaseDir {
	return scanner.DatabaseDir{Database: pratique.Database{Digest: pratique.DigestOf([]byte(name))}}
}

func newInventory(t *testing.T, packages ...string) *inventory {
	c := &inventory{t: t, docs: map[pratique.Digest][]byte{}, db: database("B"),
		state: pratique.Rescan{To: database("A").Database, FinishedAt: time.Unix(1, 0)},
		delta: rescan.Delta{Everything: "a test"}}
	empty := c.found(nil)
	c.before = empty
	for i, name := range packages {
		_, parts, err := scanner.SplitInventory(pratique.Inventory{Lists: []pratique.PackageList{
			{Class: pratique.ClassLanguage, Packages: []pratique.Package{{Name: name, Version: "1"}}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		c.lists = append(c.lists, rescan.List{ID: rescan.ListID(i + 1),
			Digest: c.store(parts[0], nil), Findings: empty})
	}
	c.report = c.store(scanner.ReportDocument(pratique.Report{Database: database("A").Database},
		[]pratique.Digest{empty}))
	return c
}

func (c *inventory) found(all []pratique.Finding) (last pratique.Digest) {
	docs, err := scanner.FindingsDocuments(pratique.Report{Findings: all, Coverage: &pratique.Coverage{}})
	for _, d := range docs {
		last = c.store(d, err)
	}
	return last
}

func (c *inventory) store(d scanner.Document, err error) pratique.Digest {
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.docs[d.Digest] = d.Content
	return d.Digest
}

// run works until nothing is left to do.
func (c *inventory) run() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	c.stop = cancel
	s := &rescanning.Rescan{
		Process: pipeline.Process{Now: time.Now, Instance: "test"}, Documents: inventoryDocuments{c},
		Lists: c, Images: c, Matcher: c, Facts: c, Batches: c, Requests: 1,
		Interval: time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Database: func() (scanner.DatabaseDir, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.db, nil
		},
		Diff: func(context.Context, pratique.Digest, scanner.DatabaseDir) (rescan.Delta, error) {
			return c.delta, nil
		},
		Lookup: rescan.Lookup{
			AffectedPackages: func(list pratique.Inventory, names,
				_ map[string]bool) (concerned []int, ok bool) {
				for i, p := range list.Lists[0].Packages {
					if names[p.Name] {
						concerned = append(concerned, i)
					}
				}
				return concerned, !c.whole
			},
			Comparable: func(string, string) bool { return true },
		},
		Ready: func(context.Context) (bool, error) { return true, nil },
		Isolated: func(ctx context.Context) context.Context {
			return context.WithValue(ctx, isolatedKey{}, true)
		},
	}
	if err := s.Run(ctx); err != nil {
		c.t.Fatal(err)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.t.Fatal("it does not end")
	}
}

type inventoryDocuments struct{ *inventory }

func (d inventoryDocuments) Put(_ context.Context, content []byte) (pratique.Digest, error) {
	digest := pratique.DigestOf(content)
	d.mu.Lock()
	d.puts++
	n := d.puts
	d.mu.Unlock()
	if d.inventory.put != nil {
		if err := d.inventory.put(n); err != nil {
			return digest, err
		}
	}
	return d.store(scanner.Document{Digest: digest, Content: content}, nil), nil
}

func (d inventoryDocuments) Get(_ context.Context, digest pratique.Digest) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if content, ok := d.docs[digest]; ok {
		return content, nil
	}
	return nil, pratique.Errorf(pratique.NotFound, "get", "%s", digest)
}

// covered is what the matcher says that there are advisories for: everything, unless a test says
// otherwise.
func (c *inventory) covered(part pratique.Inventory) *pratique.Coverage {
	if c.cover != nil {
		return c.cover(part)
	}
	return &pratique.Coverage{}
}

type isolatedKey struct{}

// Match finds one vulnerability in each package.
func (c *inventory) Match(ctx context.Context, parts []pratique.Inventory,
	db scanner.DatabaseDir) ([]pratique.Report, error) {
	var names []string
	var all []pratique.Report
	for _, p := range parts {
		name := p.Lists[0].Packages[0].Name
		names = append(names, name)
		if c.find != nil {
			all = append(all, pratique.Report{Database: db.Database, Findings: c.findIn(p),
				Coverage: c.covered(p)})
			continue
		}
		all = append(all, pratique.Report{
			Database: db.Database, Findings: []pratique.Finding{{ID: "CVE-" + name, Package: name,
				Title: "about " + name}}, Coverage: c.covered(p),
		})
	}
	c.isolated = ctx.Value(isolatedKey{}) != nil
	if c.matches != nil {
		if err := c.matches(names); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// findIn is what a full match of a part finds.
func (c *inventory) findIn(part pratique.Inventory) []pratique.Finding {
	var all []pratique.Finding
	for _, p := range part.Lists[0].Packages {
		for _, f := range c.find(p) {
			f.Package, f.Installed, f.UID, f.Layer = p.Name, p.Version, p.UID, p.Layer
			all = append(all, f)
		}
	}
	scanner.SortFindings(all)
	return all
}

func (c *inventory) Rescan() (pratique.Rescan, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, nil
}

func (c *inventory) Begin(db pratique.Database, _ rescan.Delta, now time.Time) (pratique.Rescan, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = pratique.Rescan{From: c.state.To.Digest, To: db, StartedAt: now}
	c.matched, c.updated = nil, nil
	return c.state, nil
}

func (c *inventory) Pending(int) ([]rescan.List, error) {
	if len(c.matched) > 0 {
		return nil, nil
	}
	return slices.Clone(c.lists), nil
}

func (c *inventory) Matched(db pratique.Digest, all []rescan.ListResult) error {
	c.matchedFor = append(c.matchedFor, db)
	if db == c.db.Digest { // as the inventory does
		c.matched = all
	}
	return nil
}

func (c *inventory) Stale(int) ([]rescan.StaleImage, error) {
	if len(c.updated) > 0 {
		return nil, nil
	}
	var all []rescan.StaleImage
	for i := range max(1, c.images) {
		image := rescan.StaleImage{
			ID: rescan.SubjectID(i + 1), Subject: c.subject(i), Report: c.report,
			Database: database("A").Digest,
			Before:   []pratique.Digest{c.before}, Evaluated: true,
			Evaluate: []rescan.Push{{Subject: c.subject(i), RefreshOnly: true}},
		}
		for _, m := range c.matched {
			if !m.Findings.IsZero() {
				image.Now = append(image.Now, m.Findings)
			} else if len(c.lists) == 1 {
				image.Unmatched = m.Failed
			}
		}
		all = append(all, image)
	}
	return all, nil
}

func (c *inventory) Update(_ pratique.Digest, all []rescan.ImageResult, _, _ int) error {
	c.updated = all
	return nil
}

func (c *inventory) Finish(pratique.Digest, time.Time) (pratique.Rescan, error) {
	c.state.FinishedAt = time.Now()
	c.stop()
	return c.state, nil
}

func (c *inventory) AppendAll(_ context.Context, facts []pratique.Fact) error {
	c.appends++
	if len(c.updated) > 0 {
		c.t.Error("matched before the facts were recorded")
	}
	if c.append != nil {
		if err := c.append(c.appends); err != nil {
			return err
		}
	}
	for _, f := range facts {
		if c.refuse == nil {
			break
		}
		if err := c.refuse(f); err != nil {
			return err
		}
	}
	c.facts = append(c.facts, facts...)
	return nil
}

func (c *inventory) PublishBatch(_ context.Context, _ pratique.Stage, all []pratique.Message) error {
	c.enqueues++
	if len(c.facts) == 0 || len(c.updated) > 0 {
		c.t.Error("jobs before facts, or after the note")
	}
	if c.enqueue != nil {
		if err := c.enqueue(c.enqueues); err != nil {
			return err
		}
	}
	for _, m := range all {
		var w pipeline.Work
		if err := json.Unmarshal(m.Body, &w); err != nil || !w.Event.RefreshOnly {
			c.t.Errorf("a new database asks for more than the sweep did: %s", m.Body)
		}
	}
	c.jobs += len(all)
	return nil
}

var errBusy = pratique.Errorf(pratique.Unavailable, "test", "busy")

// TestOneListKillsTheChild: it fails alone, and the others are matched.
func TestOneListKillsTheChild(t *testing.T) {
	c := newInventory(t, "good", "deadly", "fine")
	c.matches = func(names []string) error {
		if slices.Contains(names, "deadly") {
			return pratique.Errorf(pratique.Died, "run inspector", "the child died")
		}
		return nil
	}
	c.run()
	if len(c.matched) != 3 || c.matched[0].Failed != "" ||
		!strings.Contains(c.matched[1].Failed, "the child died") || c.matched[2].Failed != "" {
		t.Errorf("matched %+v", c.matched)
	}
	if got := c.matched[0].Vulnerabilities; !slices.Equal(got, []string{"CVE-good"}) {
		t.Errorf("found %v", got)
	}
}

// TestDiedIsTriedAgain: as a push is.
func TestDiedIsTriedAgain(t *testing.T) {
	c := newInventory(t, "good", "unlucky")
	c.matches = func(names []string) error {
		if slices.Contains(names, "unlucky") && !c.isolated {
			return pratique.Errorf(pratique.Died, "run inspector", "it was killed")
		}
		return nil
	}
	c.run()
	if c.matched[0].Failed != "" || c.matched[1].Failed != "" {
		t.Errorf("matched %+v", c.matched)
	}
}

// TestUnmatchedListDenies: an image on whose packages the matcher fails does not keep what was
// found before: its report says that nothing is known of them, and it is evaluated by that.
func TestUnmatchedListDenies(t *testing.T) {
	c := newInventory(t, "deadly")
	c.matches = func([]string) error {
		return pratique.Errorf(pratique.Died, "run inspector", "the child died")
	}
	c.run()
	if len(c.updated) != 1 || c.updated[0].Failed != "" || c.updated[0].Event == "" || c.jobs != 1 {
		t.Fatalf("updated %+v, %d jobs", c.updated, c.jobs)
	}
	report, err := scanner.LoadReport(t.Context(), inventoryDocuments{c},
		pratique.Scanned{Report: c.updated[0].Report})
	if err != nil {
		t.Fatal(err)
	}
	if report.Coverage == nil || !report.Coverage.Failed() || len(report.Findings) != 0 {
		t.Errorf("report %+v", report)
	}
}

// TestFactThatIsRefused: one image whose fact the ledger never takes is set aside, and the others
// of the batch go on.
func TestFactThatIsRefused(t *testing.T) {
	c := newInventory(t, "one")
	c.images = 3
	c.refuse = func(f pratique.Fact) error {
		if f.Subject == c.subject(1) && f.Kind() == pratique.FactScanned {
			return pratique.Errorf(pratique.Exhausted, "append fact", "it has megabytes")
		}
		return nil
	}
	c.run()
	var aside, done []rescan.SubjectID
	for _, s := range c.updated {
		if s.Failed != "" {
			aside = append(aside, s.ID)
		} else {
			done = append(done, s.ID)
		}
	}
	if !slices.Equal(aside, []rescan.SubjectID{2}) ||
		!slices.Equal(done, []rescan.SubjectID{1, 3}) || c.jobs != 2 {
		t.Errorf("set aside %v, done %v, %d jobs", aside, done, c.jobs)
	}
	failed := slices.DeleteFunc(slices.Clone(c.facts), func(f pratique.Fact) bool {
		return f.Kind() != pratique.FactFailed
	})
	if len(failed) != 1 || failed[0].Subject != c.subject(1) ||
		!strings.Contains(pratique.As[pratique.Failed](failed[0]).Message, "megabytes") {
		t.Errorf("failed %+v", failed)
	}
}

// TestPanicOverOneImage: it is set aside, and the others of the batch go on.
func TestPanicOverOneImage(t *testing.T) {
	c := newInventory(t, "one")
	c.images = 3
	c.put = func(n int) error {
		if n == 4 { // the first two are the findings
			panic("what was that")
		}
		return nil
	}
	c.run()
	failed := slices.DeleteFunc(slices.Clone(c.updated), func(s rescan.ImageResult) bool {
		return s.Failed == ""
	})
	if len(c.updated) != 3 || len(failed) != 1 || !strings.Contains(failed[0].Failed, "panic at") {
		t.Errorf("updated %+v", c.updated)
	}
}

// TestLongVersion: the fact about what is new has excerpts, however long an image makes its texts.
func TestLongVersion(t *testing.T) {
	c := newInventory(t, "one")
	c.find = func(pratique.Package) (all []pratique.Finding) {
		for i := range 300 {
			all = append(all, pratique.Finding{ID: "CVE-" + strconv.Itoa(i),
				Fixed: strings.Repeat("<", 60_000), Severity: pratique.SeverityHigh})
		}
		return all
	}
	c.run()
	affected := pratique.As[pratique.Affected](c.facts[0])
	const maxFact = 512 << 10 // the limit of the ledger
	raw, err := json.Marshal(c.facts[0])
	if err != nil || len(raw) > maxFact || affected.Total != 300 ||
		len(affected.Findings) != pratique.MaxAffected {
		t.Errorf("%d bytes, %d of %d findings, %v", len(raw), len(affected.Findings), affected.Total, err)
	}
}

// TestNoChildIsFree: what is the machine's fault is no list's, and is tried again.
func TestNoChildIsFree(t *testing.T) {
	c := newInventory(t, "one", "two")
	asked := 0
	c.matches = func([]string) error {
		if asked++; asked < 3 {
			return errBusy
		}
		return nil
	}
	c.run()
	if len(c.matchedFor) != 1 || asked != 3 || c.matched[0].Failed != "" || c.matched[1].Failed != "" {
		t.Errorf("asked %d times, matched %+v", asked, c.matched)
	}
}

// TestLedgerOrQueueFails: nothing is matched, and the next time the same facts and jobs are made.
func TestLedgerOrQueueFails(t *testing.T) {
	c := newInventory(t, "one")
	once := func(n int) error {
		if n == 1 {
			return errBusy
		}
		return nil
	}
	c.append, c.enqueue = once, once
	c.run()
	// The ledger failed once, then the queue, then all went well: the facts were recorded twice,
	// and the same.
	if c.appends != 3 || c.enqueues != 2 || c.jobs != 1 || len(c.facts) != 4 {
		t.Fatalf("%d appends, %d facts, %d enqueues, %d jobs", c.appends, len(c.facts), c.enqueues,
			c.jobs)
	}
	for i := range 2 {
		again := c.facts[2+i]
		if c.facts[i].Kind() != again.Kind() || c.facts[i].Event != again.Event {
			t.Errorf("%+v, then %+v", c.facts[i], again)
		}
	}
	if pratique.As[pratique.Scanned](c.facts[1]).Report != c.updated[0].Report ||
		pratique.As[pratique.Affected](c.facts[0]).Total != 1 {
		t.Errorf("updated %+v, facts %+v", c.updated, c.facts)
	}
}

// TestNextDatabaseMeanwhile: what was matched against the one before is offered for that one, and
// all begins again.
func TestNextDatabaseMeanwhile(t *testing.T) {
	c := newInventory(t, "one")
	asked := 0
	c.matches = func([]string) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if asked++; asked == 1 {
			c.db = database("C")
		}
		return nil
	}
	c.run()
	if want := []pratique.Digest{database("B").Digest,
		database("C").Digest}; !slices.Equal(c.matchedFor, want) || c.state.From != want[0] ||
		c.state.To.Digest != want[1] {
		t.Errorf("matched for %v, %+v", c.matchedFor, c.state)
	}
	if len(c.facts) != 2 ||
		pratique.As[pratique.Scanned](c.facts[1]).Database.Digest != database("C").Digest {
		t.Errorf("facts %+v", c.facts)
	}
}
