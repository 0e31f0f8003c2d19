package inspecting

import (
	"context"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/scanner"
)

// Memo remembers the findings of a package list and a database, all by their digests.
type Memo interface {
	Findings(list, database pratique.Digest) (findings pratique.Digest, known bool, err error)
}

// recorded reads documents that facts name.
func (s *Stage) recorded() pipeline.Recorded { return pipeline.Recorded{Documents: s.Documents} }

// unstored are documents that are being stored, and are read from memory.
type unstored struct {
	pipeline.Recorded
	documents map[pratique.Digest][]byte
}

func (u unstored) Get(ctx context.Context, d pratique.Digest) ([]byte, error) {
	if content, ok := u.documents[d]; ok {
		return content, nil
	}
	return u.Recorded.Get(ctx, d)
}

func (s *Stage) withUnstored(docs []scanner.Document) unstored {
	u := unstored{s.recorded(), map[pratique.Digest][]byte{}}
	for _, d := range docs {
		u.documents[d.Digest] = d.Content
	}
	return u
}

// recordScanned records the result of a scan, nil if there is nothing new. If the database has
// changed meanwhile, the image is scanned again: the rescan for the new database may be over, and
// would miss this report.
func (s *Stage) recordScanned(ctx context.Context, w pipeline.Work, image pratique.Subject,
	scanned *pratique.Scanned) error {
	for scanned != nil {
		db, err := s.Database()
		if err != nil {
			return err
		}
		if db.Digest == scanned.Database.Digest {
			return s.Record(ctx, w, image, scanned)
		}
		if scanned, err = s.scan(ctx, w, image, scanned.Inventory, s.recorded()); err != nil {
			return err
		}
	}
	return nil
}

// scan matches an image's inventory against the database in use, and stores the report. It returns
// nil if the last report on the image is of that inventory and database.
func (s *Stage) scan(ctx context.Context, w pipeline.Work, image pratique.Subject,
	inventory pratique.Digest, from scanner.Documents) (*pratique.Scanned, error) {
	db, err := s.Database()
	if err != nil {
		return nil, err
	}
	if last, err := pipeline.Newest[pratique.Scanned](ctx, s.Facts, image); err != nil {
		return nil, err
	} else if last != nil && w.Round == 0 && last.Inventory == inventory &&
		last.Database.Digest == db.Digest {
		return nil, nil
	}
	started := s.Now().UTC()
	header, lists, err := scanner.InventoryLists(ctx, from, inventory)
	if err != nil {
		return nil, pipeline.LostIfCorrupt(err)
	}
	results, err := s.findings(ctx, w, from, lists, db)
	if err != nil {
		return nil, err
	}
	report := pratique.Report{Scanner: s.Scanner, Inventory: inventory, Database: db.Database,
		OS: header.OS}
	digests := make([]pratique.Digest, len(results))
	var documents []scanner.Document
	for i, r := range results {
		digests[i] = r.digest
		documents = append(documents, r.documents...)
		report.Findings = append(report.Findings, r.findings...)
	}
	doc, err := scanner.ReportDocument(report, digests)
	if err != nil {
		return nil, err
	}
	if err := pipeline.PutAll(ctx, s.Documents, append(documents, doc)); err != nil {
		return nil, err
	}
	return &pratique.Scanned{
		Report: doc.Digest, Inventory: inventory, Database: db.Database, Counts: report.Counts(),
		Fixable: scanner.CountFixable(report.Findings), StartedAt: started, ScannedAt: s.Now().UTC(),
	}, nil
}

// listResult is what was found in one package list. The digest is that of the findings document,
// which is stored, or the last one of documents.
type listResult struct {
	digest    pratique.Digest
	documents []scanner.Document
	findings  []pratique.Finding
}

// findings returns the findings of each list. It matches only those that the memo does not know.
func (s *Stage) findings(ctx context.Context, w pipeline.Work, from scanner.Documents,
	lists []pratique.Digest, db scanner.DatabaseDir) ([]listResult, error) {
	results := make([]listResult, len(lists))
	var missing []pratique.Digest
	for i, list := range lists {
		known := false
		var err error
		if s.Memo != nil && w.Round == 0 {
			if results[i].digest, known, err = s.Memo.Findings(list, db.Digest); err != nil {
				return nil, err
			}
		}
		if !known {
			missing = append(missing, list)
			continue
		}
		if results[i].findings, _, err = scanner.LoadFindings(ctx, from, results[i].digest); err != nil {
			return nil, pipeline.LostIfCorrupt(err)
		}
	}
	switch {
	case len(lists) == 0:
		// There is nothing to find, but a damaged database must not pass for one without findings.
		_, err := s.Parser.Match(ctx, []pratique.Inventory{{Scanner: s.Scanner}}, db)
		return nil, err
	case len(missing) == 0:
		return results, nil
	}
	matched, err := matchLists(ctx, from, s.Parser, missing, db)
	if err != nil {
		return nil, err
	}
	for i, list := range lists {
		// A list that occurs twice is missing twice, or not at all.
		if n := slices.Index(missing, list); n >= 0 {
			results[i] = matched[n]
		}
	}
	return results, nil
}

// matchLists matches lists in one request.
func matchLists(ctx context.Context, from scanner.Documents, m pipeline.Matcher,
	lists []pratique.Digest, db scanner.DatabaseDir) ([]listResult, error) {
	all := make([]pratique.Inventory, len(lists))
	for i, d := range lists {
		list, err := scanner.LoadList(ctx, from, d)
		if err != nil {
			return nil, pipeline.LostIfCorrupt(err)
		}
		all[i] = list
	}
	reports, err := m.Match(ctx, all, db)
	if err != nil {
		return nil, err
	}
	if len(reports) != len(lists) {
		return nil, pratique.Errorf(pratique.Internal, "match inventory", "%d reports on %d lists",
			len(reports), len(lists))
	}
	out := make([]listResult, len(lists))
	for i, r := range reports {
		docs, err := scanner.FindingsDocuments(r)
		if err != nil {
			return nil, err
		}
		out[i] = listResult{digest: docs[len(docs)-1].Digest, documents: docs, findings: r.Findings}
	}
	return out, nil
}
