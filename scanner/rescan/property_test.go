package rescan_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/rescan"
)

// memory is a store of documents.
type memory map[pratique.Digest][]byte

func (m memory) put(docs ...scanner.Document) (last pratique.Digest) {
	for _, d := range docs {
		m[d.Digest], last = d.Content, d.Digest
	}
	return last
}

func (m memory) Get(_ context.Context, d pratique.Digest) ([]byte, error) {
	if content, ok := m[d]; ok {
		return content, nil
	}
	return nil, pratique.Errorf(pratique.NotFound, "get", "%s", d)
}

// toyDatabase is what the toy matcher looks up. What it finds is a function of the list and the
// database.
type toyDatabase struct {
	// advisories are by name; a version below is vulnerable.
	advisories map[string]map[string]int
	// titles are the details of vulnerabilities.
	titles map[string]string
	// types are those of lists for which there are advisories at all.
	types map[string]bool
}

// match finds the vulnerabilities of a list. As a real matcher does, it drops what it found before
// in a package of the same name, version and file, and says which packages it could not compare.
func (db toyDatabase) match(inv pratique.Inventory) pratique.Report {
	r := pratique.Report{Findings: []pratique.Finding{}, Coverage: &pratique.Coverage{}}
	for _, l := range inv.Lists {
		unmatched := func(name string, n int, reason pratique.UnmatchedReason) {
			r.Coverage.Unmatched = append(r.Coverage.Unmatched, pratique.Unmatched{
				Class: l.Class, Type: l.Type, Path: l.Path, Name: name, Packages: n, Reason: reason,
			})
		}
		if !db.types[l.Type] {
			unmatched("", len(l.Packages), pratique.UnmatchedNoAdvisories)
			continue
		}
		seen := map[string]bool{}
		for _, p := range l.Packages {
			advisories := db.advisories[p.Name]
			version, err := strconv.Atoi(p.Version)
			if len(advisories) > 0 && err != nil {
				unmatched(p.Name, 1, pratique.UnmatchedVersion)
				continue
			}
			for _, id := range slices.Sorted(maps.Keys(advisories)) {
				key := fmt.Sprint(id, p.Name, p.Version, p.FilePath)
				if version >= advisories[id] || seen[key] {
					continue
				}
				seen[key] = true
				r.Findings = append(r.Findings, pratique.Finding{
					ID: id, Package: p.Name, Installed: p.Version,
					Fixed: strconv.Itoa(advisories[id]), UID: p.UID, Layer: p.Layer,
					Class: l.Class, Type: l.Type, Path: p.FilePath, Title: db.titles[id],
					Severity: pratique.Severity(len(db.titles[id]) % 5),
				})
			}
		}
	}
	scanner.SortFindings(r.Findings)
	return r
}

// toyLookup knows how the toy matcher looks packages up. It asks for more than it would have to.
var toyLookup = rescan.Lookup{
	AffectedPackages: func(list pratique.Inventory, keys,
		packages map[string]bool) (numbers []int, ok bool) {
		l := list.Lists[0]
		if l.Class == pratique.ClassOS || keys["type "+l.Type] {
			return nil, false
		}
		for i, p := range l.Packages {
			if keys[p.Name] || packages[p.Name] {
				numbers = append(numbers, i)
			}
		}
		return numbers, true
	},
	Comparable: func(_, version string) bool {
		n, err := strconv.Atoi(version)
		return err == nil && n < 9
	},
}

// random makes small worlds in which most things are alike.
type random struct{ *rand.Rand }

func (r random) name() string { return string(rune('a' + r.IntN(6))) }

func (r random) database() toyDatabase {
	db := toyDatabase{map[string]map[string]int{}, map[string]string{},
		map[string]bool{"npm": true, "debian": true}}
	for range r.IntN(8) {
		r.advise(db)
	}
	db.types["pip"] = r.IntN(2) == 0
	return db
}

func (r random) advise(db toyDatabase) {
	name, id := r.name(), "CVE-"+strconv.Itoa(r.IntN(5))
	if db.advisories[name] == nil {
		db.advisories[name] = map[string]int{}
	}
	db.advisories[name][id] = r.IntN(10)
	db.titles[id] = fmt.Sprint("title", r.IntN(30))
}

// next is a database that follows db, and what differs, with some names too many.
func (r random) next(db toyDatabase) (toyDatabase, rescan.Delta) {
	next := toyDatabase{map[string]map[string]int{}, maps.Clone(db.titles), maps.Clone(db.types)}
	for name, advisories := range db.advisories {
		if r.IntN(5) > 0 {
			next.advisories[name] = maps.Clone(advisories)
		}
	}
	for range r.IntN(3) {
		r.advise(next)
	}
	for id := range next.titles {
		if r.IntN(6) == 0 {
			next.titles[id] += "!"
		}
	}
	next.types["pip"] = r.IntN(4) > 0
	var d rescan.Delta
	for i := range 6 {
		name := string(rune('a' + i))
		if !maps.Equal(db.advisories[name], next.advisories[name]) || r.IntN(12) == 0 {
			d.Names = append(d.Names, name)
		}
	}
	for name := range next.types {
		if db.types[name] != next.types[name] {
			d.Names = append(d.Names, "type "+name)
		}
	}
	for id, title := range next.titles {
		if db.titles[id] != title {
			d.Vulnerabilities = append(d.Vulnerabilities, id)
		}
	}
	return next, d
}

func (r random) list() pratique.Inventory {
	l := pratique.PackageList{Class: pratique.ClassLanguage, Type: []string{"npm", "pip"}[r.IntN(2)]}
	inv := pratique.Inventory{Scanner: pratique.Tool{Name: "toy"}}
	if r.IntN(5) == 0 {
		l.Class, l.Type, inv.OS.Family = pratique.ClassOS, "debian", "debian"
	}
	for range r.IntN(7) {
		p := pratique.Package{
			Name: r.name(), Version: strconv.Itoa(r.IntN(9)), UID: strconv.Itoa(r.IntN(1000)),
			FilePath: []string{"", "x", "y"}[r.IntN(3)],
			Layer:    pratique.LayerID{DiffID: pratique.DigestOf([]byte{byte(r.IntN(3))})},
		}
		if r.IntN(12) == 0 {
			p.Version = []string{"odd", "09", "10"}[r.IntN(3)]
		}
		l.Packages = append(l.Packages, p)
	}
	inv.Lists = []pratique.PackageList{l}
	scanner.SortInventory(&inv)
	return inv
}

// stored is a list and what the database before said of it.
type stored struct {
	inv    pratique.Inventory
	list   rescan.List
	before []scanner.FindingCore
	known  bool
}

// world is a store with lists that were matched with a database.
type world struct {
	t    *testing.T
	r    random
	docs memory
	all  []stored
}

func newWorld(t *testing.T, r random, db toyDatabase) *world {
	w := &world{t: t, r: r, docs: memory{}}
	for range 1 + r.IntN(12) {
		inv := r.list()
		_, docs, err := scanner.SplitInventory(inv)
		if err != nil {
			t.Fatal(err)
		}
		s := stored{inv: inv, list: rescan.List{ID: rescan.ListID(len(w.all)),
			Digest: w.docs.put(docs...)}, known: true}
		report := db.match(inv)
		s.list.Findings = w.docs.put(w.encoded(report)...)
		s.before, err = scanner.Cores(report.Findings)
		if err != nil {
			t.Fatal(err)
		}
		switch r.IntN(12) {
		case 0:
			s.list.Findings, s.known = pratique.Digest{}, false
		case 1:
			s.list.Findings, s.known = pratique.DigestOf([]byte("gone")), false
		}
		w.all = append(w.all, s)
	}
	return w
}

func (w *world) encoded(report pratique.Report) []scanner.Document {
	w.t.Helper()
	docs, err := scanner.FindingsDocuments(report)
	if err != nil {
		w.t.Fatal(err)
	}
	return docs
}

// request asks about some lists, and checks what is asked and what comes of it. It returns how many
// packages were asked about.
func (w *world) request(some []stored, change *rescan.Change, next toyDatabase) (asked int) {
	w.t.Helper()
	questions := make([]rescan.Question, len(some))
	for i, s := range some {
		var err error
		if questions[i], err = rescan.LoadQuestion(w.t.Context(), w.docs, s.list, change); err != nil {
			w.t.Fatal(err)
		}
	}
	request := rescan.NewRequest(questions, change)
	var reports []pratique.Report
	for _, inv := range request.Pending() {
		if !slices.ContainsFunc(some, func(s stored) bool { return within(inv, s.inv) }) {
			w.t.Errorf("what is asked is not in any list: %+v", inv)
		}
		for _, l := range inv.Lists {
			asked += len(l.Packages)
		}
		reports = append(reports, next.match(inv))
	}
	if err := request.SetReports(reports); err != nil {
		w.t.Fatal(err)
	}
	if open := request.Pending(); len(open) > 0 {
		w.t.Errorf("asked again: %+v", open)
	}
	for i, s := range some {
		found, err := request.Findings(i)
		if err != nil {
			w.t.Fatal(err)
		}
		w.docs.put(found.Documents...)
		w.check(s, found, next.match(s.inv))
	}
	return asked
}

// check compares what is found with a full match.
func (w *world) check(s stored, found rescan.Findings, full pratique.Report) {
	w.t.Helper()
	docs := w.encoded(full)
	if want := docs[len(docs)-1]; found.Digest != want.Digest {
		w.t.Errorf("%s\nwant %s", w.docs[found.Digest], want.Content)
	}
	for _, d := range docs {
		if w.docs[d.Digest] == nil {
			w.t.Errorf("a document is not stored: %s", d.Content)
		}
	}
	var ids []string
	for _, f := range full.Findings {
		ids = append(ids, f.ID)
	}
	if !slices.Equal(found.Vulnerabilities, ids) {
		w.t.Errorf("vulnerabilities %v, want %v", found.Vulnerabilities, ids)
	}
	now, err := scanner.Cores(full.Findings)
	if err != nil {
		w.t.Fatal(err)
	}
	switch want := rescan.Compare(s.before, now); {
	case !s.known && found.Difference != nil:
		w.t.Errorf("a difference from what is not known: %+v", found.Difference)
	case found.Difference == nil && s.known && found.Digest != s.list.Findings:
		w.t.Error("no difference")
	case found.Difference != nil && !reflect.DeepEqual(*found.Difference, want):
		w.t.Errorf("difference %+v, want %+v", *found.Difference, want)
	}
}

// within says whether all packages of an inventory are in another, but for where they lie.
func within(inv, whole pratique.Inventory) bool {
	texts := func(inv pratique.Inventory) (header string, packages map[string]int) {
		packages = map[string]int{}
		for i, l := range inv.Lists {
			for _, p := range l.Packages {
				p.UID, p.Layer = "", pratique.LayerID{}
				raw, _ := json.Marshal(p)
				packages[string(raw)]++
			}
			l.Packages = nil
			inv.Lists = slices.Clone(inv.Lists)
			inv.Lists[i] = l
		}
		raw, _ := json.Marshal(inv)
		return string(raw), packages
	}
	header, some := texts(inv)
	want, all := texts(whole)
	for text, n := range some {
		if all[text] < n {
			return false
		}
	}
	return header == want
}

// TestSameAsMatchingEverything: whatever changes, what is found is what matching every list as a
// whole finds, and only packages of the lists are asked about.
func TestSameAsMatchingEverything(t *testing.T) {
	partial := 0
	for seed := range uint64(3000) {
		r := random{rand.New(rand.NewPCG(seed, 1))}
		db := r.database()
		w := newWorld(t, r, db)
		next, delta := r.next(db)
		if r.IntN(10) == 0 {
			delta = rescan.Delta{Everything: "a test"}
		}
		change := rescan.NewChange(pratique.DigestOf([]byte("next")), delta, toyLookup)
		packages, asked := 0, 0
		for some := range slices.Chunk(w.all, 1+r.IntN(4)) {
			asked += w.request(some, change, next)
		}
		for _, s := range w.all {
			packages += len(s.inv.Lists[0].Packages)
		}
		if asked > packages {
			t.Errorf("asked about %d packages of %d", asked, packages)
		}
		if asked < packages {
			partial++
		}
		if t.Failed() {
			t.Fatalf("seed %d: delta %+v", seed, delta)
		}
	}
	if partial < 1000 {
		t.Errorf("only %d worlds were not matched as a whole: this tests nothing", partial)
	}
}

// TestNothingConcerned: no list is asked about if nothing differs.
func TestNothingConcerned(t *testing.T) {
	for seed := range uint64(200) {
		r := random{rand.New(rand.NewPCG(seed, 2))}
		db := r.database()
		w := newWorld(t, r, db)
		w.all = slices.DeleteFunc(w.all, func(s stored) bool { return !s.known || s.inv.OS.Family != "" })
		change := rescan.NewChange(pratique.DigestOf([]byte("next")), rescan.Delta{}, toyLookup)
		if asked := w.request(w.all, change, db); asked > 0 {
			t.Fatalf("seed %d: asked about %d packages", seed, asked)
		}
	}
}
