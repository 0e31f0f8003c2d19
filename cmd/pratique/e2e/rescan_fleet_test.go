package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/adapter"
	"github.com/pratique-dev/pratique/cmd/pratique/service"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/trivy"
)

// fleet is an inventory of images that is made of a few inspected ones: repositories with many
// builds each, as they lie in registries. A repository starts from one image, with some versions of
// its own. Of its builds two in five leave the packages of the application as they were, and the
// others bump three in a hundred; every tenth build has a newer base. A build whose application
// changed has another layer for it, one whose application did not has the same: a reproducible
// build, or nothing but configuration above it.
type fleet struct {
	t      testing.TB
	s      *service.Service
	random *rand.Rand
	db     scanner.DatabaseDir

	mu      sync.Mutex
	known   map[pratique.Digest]pratique.Digest // findings by part
	summary map[pratique.Digest][]pratique.Finding
	images  []fleetImage
}

type fleetImage struct {
	subject   pratique.Subject
	kind      string
	inventory scanner.Document
	parts     []scanner.Document
	packages  int
	os        pratique.OS
}

const buildsEach = 25

func newFleet(t testing.TB, s *service.Service, db scanner.DatabaseDir) *fleet {
	return &fleet{
		t: t, s: s, db: db, random: rand.New(rand.NewPCG(1, 2)),
		known: map[pratique.Digest]pratique.Digest{}, summary: map[pratique.Digest][]pratique.Finding{},
	}
}

// grow makes repositories of one kind until it has n images.
func (f *fleet) grow(kind string, source pratique.Inventory, n int) {
	f.t.Helper()
	bases := make([]pratique.Inventory, 12)
	for i := range bases {
		bases[i] = clone(f.t, source)
		if i > 0 {
			f.bump(&bases[i], pratique.ClassOS, 0.05*float64(i))
		}
		scanner.SortInventory(&bases[i])
	}
	for made := 0; made < n; {
		repository := pratique.Repository{Registry: "registry.test",
			Path: fmt.Sprintf("fleet/%s-%d", kind, made/buildsEach)}
		base := f.random.IntN(len(bases) - 3)
		app := clone(f.t, source)
		f.bump(&app, pratique.ClassLanguage, 0.1)
		for build := 0; build < buildsEach && made < n; build++ {
			if build > 0 && build%10 == 0 && base < len(bases)-1 {
				base++
			}
			if build > 0 && f.random.Float64() > 0.4 {
				f.bump(&app, pratique.ClassLanguage, 0.03)
			}
			inv := pratique.Inventory{Scanner: source.Scanner, OS: source.OS}
			for _, l := range bases[base].Lists {
				if l.Class == pratique.ClassOS {
					inv.Lists = append(inv.Lists, l)
				}
			}
			for _, l := range app.Lists {
				if l.Class == pratique.ClassLanguage {
					inv.Lists = append(inv.Lists, l)
				}
			}
			scanner.SortInventory(&inv)
			f.add(kind, pratique.Subject{Repository: repository,
				Digest: pratique.DigestOf(fmt.Append(nil, repository, build))}, inv)
			made++
		}
	}
}

func (f *fleet) add(kind string, s pratique.Subject, inv pratique.Inventory) {
	f.t.Helper()
	whole, parts, err := scanner.SplitInventory(inv)
	if err != nil {
		f.t.Fatal(err)
	}
	f.images = append(f.images, fleetImage{s, kind, whole, parts, inv.Packages(), inv.OS})
}

func clone(t testing.TB, inv pratique.Inventory) pratique.Inventory {
	t.Helper()
	raw, err := json.Marshal(inv)
	var out pratique.Inventory
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var lastNumber = regexp.MustCompile(`^(.*?)(\d{1,6})(\D*)$`)

// bump gives a share of the packages of a class another version, at least one, and the list another
// layer.
func (f *fleet) bump(inv *pratique.Inventory, class pratique.PackageClass, share float64) {
	for i := range inv.Lists {
		l := &inv.Lists[i]
		if l.Class != class || len(l.Packages) == 0 {
			continue
		}
		layer := pratique.LayerID{
			Digest: pratique.DigestOf(fmt.Append(nil, f.random.Uint64())),
			DiffID: pratique.DigestOf(fmt.Append(nil, f.random.Uint64())),
		}
		certain := f.random.IntN(len(l.Packages))
		for n := range l.Packages {
			p := &l.Packages[n]
			p.Layer = layer
			if n != certain && f.random.Float64() > share {
				continue
			}
			if m := lastNumber.FindStringSubmatch(p.Version); m != nil && p.Version != "" {
				number, _ := strconv.Atoi(m[2])
				p.Version = m[1] + strconv.Itoa(number+1) + m[3]
				p.UID = fmt.Sprintf("%x", f.random.Uint64())
			}
		}
	}
}

// settleIn stores everything as inspecting and evaluating the images would have: documents, and the
// facts seen, inspected, matched and evaluated in the ledger.
func (f *fleet) settleIn() {
	f.t.Helper()
	ctx := f.t.Context()
	f.put()
	f.matchAll(f.db)
	var all []pratique.Fact
	now := time.Now().Add(-time.Hour).UTC()
	for n, image := range f.images {
		event := pratique.Event{
			ID: fmt.Sprintf("push-%d", n),
			Ref: pratique.ImageRef{Repository: image.subject.Repository, Tag: "1." +
				strconv.Itoa(n), Digest: image.subject.Digest},
			Source: "fleet", Priority: pratique.PriorityPush, OccurredAt: now, ReceivedAt: now,
		}
		report, findings := f.report(image, f.db, now)
		doc, err := scanner.ReportDocument(report, findings)
		if err != nil {
			f.t.Fatal(err)
		}
		if _, err := f.s.Documents.Put(ctx, doc.Content); err != nil {
			f.t.Fatal(err)
		}
		fact := func(k pratique.Fact) {
			k.Subject, k.Event, k.At, k.By = image.subject, event.ID, now, "fleet@test"
			all = append(all, k)
		}
		tool := report.Scanner
		fact(pratique.Fact{Body: &pratique.Resolved{Event: event,
			Manifest: pratique.Manifest{Subject: image.subject, Platform: "linux/amd64"}}})
		fact(pratique.Fact{Body: &pratique.Inspected{Inventory: image.inventory.Digest,
			Packages: image.packages, Scanner: tool}})
		var every []pratique.Finding
		for _, d := range findings {
			every = append(every, f.summary[d]...)
		}
		fact(pratique.Fact{Body: &pratique.Scanned{
			Report: doc.Digest, Inventory: image.inventory.Digest, Database: f.db.Database,
			Counts: pratique.Report{Findings: every}.Counts(), Fixable: scanner.CountFixable(every),
			StartedAt: now, ScannedAt: now,
		}})
		fact(pratique.Fact{Body: &pratique.Evaluated{
			Digest: pratique.DigestOf(fmt.Append(nil, "verdict", n)),
			Verdict: pratique.Verdict{Subject: image.subject, Outcome: pratique.Allow,
				Profile: pratique.Profile{Name: "fleet"}, EvaluatedAt: now},
		}})
	}
	for chunk := range slices.Chunk(all, 4000) {
		if err := (adapter.Facts{Ledger: f.s.Ledger, Broker: f.s.Broker}).AppendAll(ctx,
			chunk); err != nil {
			f.t.Fatal(err)
		}
	}
}

// report is what matching the whole image against db says, without the findings, which are in the
// documents.
func (f *fleet) report(image fleetImage, db scanner.DatabaseDir, at time.Time) (pratique.Report,
	[]pratique.Digest) {
	f.t.Helper()
	r := pratique.Report{
		Scanner: trivy.Tool(), Inventory: image.inventory.Digest, Database: db.Database, ScannedAt: at,
		DatabaseAgeSeconds: int64(db.Age(at) / time.Second), OS: image.os,
	}
	var findings []pratique.Digest
	for _, p := range image.parts {
		findings = append(findings, f.known[p.Digest])
	}
	return r, findings
}

func (f *fleet) put() {
	f.t.Helper()
	group, ctx := errgroup.WithContext(f.t.Context())
	group.SetLimit(8)
	done := map[pratique.Digest]bool{}
	for _, image := range f.images {
		for _, d := range append(slices.Clone(image.parts), image.inventory) {
			if !done[d.Digest] {
				done[d.Digest] = true
				group.Go(func() error { return f.store(ctx, d) })
			}
		}
	}
	if err := group.Wait(); err != nil {
		f.t.Fatal(err)
	}
	// What is measured is the service, and not what the test has in mind.
	for i := range f.images {
		f.images[i].inventory.Content = nil
		for n := range f.images[i].parts {
			f.images[i].parts[n].Content = nil
		}
	}
}

func (f *fleet) store(ctx context.Context, d scanner.Document) error {
	_, err := f.s.Documents.Put(ctx, d.Content)
	return err
}

// matchAll matches every part there is against db, without any inventory, and stores what is found.
func (f *fleet) matchAll(db scanner.DatabaseDir) {
	f.t.Helper()
	var distinct []scanner.Document
	seen := map[pratique.Digest]bool{}
	for _, image := range f.images {
		for _, p := range image.parts {
			if !seen[p.Digest] {
				seen[p.Digest] = true
				distinct = append(distinct, p)
			}
		}
	}
	group, ctx := errgroup.WithContext(f.t.Context())
	group.SetLimit(3)
	for chunk := range slices.Chunk(distinct, 32) {
		group.Go(func() error {
			all := make([]pratique.Inventory, len(chunk))
			for i, p := range chunk {
				var err error
				if all[i], err = scanner.LoadList(ctx, f.s.Documents, p.Digest); err != nil {
					return err
				}
			}
			reports, err := f.s.Inspect.Parsers.Match(ctx, all, db)
			if err != nil {
				return err
			}
			for i, r := range reports {
				docs, err := scanner.FindingsDocuments(r)
				if err != nil {
					return err
				}
				for _, d := range docs {
					if err := f.store(ctx, d); err != nil {
						return err
					}
				}
				doc := docs[len(docs)-1]
				f.mu.Lock()
				f.known[chunk[i].Digest], f.summary[doc.Digest] = doc.Digest, summarized(r.Findings)
				f.mu.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		f.t.Fatal(err)
	}
}

// summarized leaves out what is large: what the test has in mind is not to slow down what is
// measured.
func summarized(findings []pratique.Finding) []pratique.Finding {
	var all []pratique.Finding
	for _, x := range findings {
		all = append(all, pratique.Finding{ID: x.ID, Package: x.Package, Installed: x.Installed,
			Path: x.Path, Fixed: x.Fixed, Severity: x.Severity})
	}
	return all
}

// verify matches everything against db from scratch and compares with what is in the ledger: every
// image whose findings differ from before must have a new matched fact whose report says exactly
// that, a newly affected fact if there are findings that it did not have, and a job; every other
// image must have nothing new. It returns how many changed.
func (f *fleet) verify(db scanner.DatabaseDir) (changed, worse int) {
	f.t.Helper()
	ctx := f.t.Context()
	before := f.known
	f.known = map[pratique.Digest]pratique.Digest{}
	f.matchAll(db)
	for _, image := range f.images {
		differs, added := false, 0
		var want []pratique.Digest
		for _, p := range image.parts {
			want = append(want, f.known[p.Digest])
			if before[p.Digest] == f.known[p.Digest] {
				continue
			}
			differs = true
			had := map[string]bool{}
			name := func(x pratique.Finding) string {
				return x.ID + "|" + x.Package + "|" + x.Installed + "|" + x.Path
			}
			for _, x := range f.summary[before[p.Digest]] {
				had[name(x)] = true
			}
			for _, x := range f.summary[f.known[p.Digest]] {
				if !had[name(x)] {
					added++
				}
			}
		}
		matched, _, err := f.s.Ledger.Last(ctx, image.subject, pratique.FactScanned)
		if err != nil {
			f.t.Fatal(err)
		}
		_, have, err := scanner.ReportHeader(ctx, f.s.Documents,
			pratique.As[pratique.Scanned](matched).Report)
		if err != nil {
			f.t.Fatal(err)
		}
		if !slices.Equal(have, want) ||
			differs != (pratique.As[pratique.Scanned](matched).Database.Digest == db.Digest) {
			f.t.Fatalf("%s: the newest report is not what a full match says (differs: %v)",
				image.subject, differs)
		}
		affected, ok, err := f.s.Ledger.Last(ctx, image.subject, pratique.FactAffected)
		if err != nil || ok != (added > 0) || ok &&
			pratique.As[pratique.Affected](affected).Total != added {
			f.t.Fatalf("%s: affected %+v, want %d new findings, %v", image.subject, affected.Body,
				added, err)
		}
		if differs {
			changed++
		}
		if added > 0 {
			worse++
		}
	}
	return changed, worse
}
