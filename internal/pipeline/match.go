package pipeline

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Matcher matches lists of inventories against a database, in processes of its own. The reports are in the
// order of the lists.
type Matcher interface {
	Match(ctx context.Context, lists []pratique.Inventory, db scanner.DatabaseDir) ([]pratique.Report, error)
}

// Memo knows what was found in a list of an inventory with a database, by digests.
type Memo interface {
	Findings(list, database pratique.Digest) (findings pratique.Digest, known bool, err error)
}

// named are the documents that facts name; what is gone or damaged makes the fact worthless, see [lostDocument].
type named struct{ *Base }

func (n named) Get(ctx context.Context, d pratique.Digest) ([]byte, error) { return n.document(ctx, d) }

// orLost marks the error of a document that is not what a fact says it is.
func orLost(err error) error {
	if pratique.KindOf(err) == pratique.Corrupt && !isLost(err) {
		return lostDocument{err}
	}
	return err
}

// report loads a report that a fact names.
func (b *Base) report(ctx context.Context, of pratique.Scanned) (pratique.Report, error) {
	r, err := scanner.LoadReport(ctx, named{b}, of)
	return r, orLost(err)
}

// fresh are documents that are being stored, and are read from memory.
type fresh struct {
	named
	documents map[pratique.Digest][]byte
}

func (f fresh) Get(ctx context.Context, d pratique.Digest) ([]byte, error) {
	if content, ok := f.documents[d]; ok {
		return content, nil
	}
	return f.named.Get(ctx, d)
}

func (b *Base) fresh(docs []scanner.Document) fresh {
	f := fresh{named{b}, map[pratique.Digest][]byte{}}
	for _, d := range docs {
		f.documents[d.Digest] = d.Content
	}
	return f
}

// putAll stores documents side by side, for each waits for the disk. Nothing names one before all are there.
func (b *Base) putAll(ctx context.Context, docs []scanner.Document) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, d := range docs {
		group.Go(func() error {
			_, err := b.Documents.Put(ctx, d.Content)
			return err
		})
	}
	return group.Wait()
}

// found is what was found in one list. documents are those that are not stored yet; the last one, or the one that is
// stored, has the digest.
type found struct {
	digest    pratique.Digest
	documents []scanner.Document
	findings  []pratique.Finding
}

// matchLists matches lists in one request.
func matchLists(ctx context.Context, from scanner.Documents, m Matcher, lists []pratique.Digest, db scanner.DatabaseDir) ([]found, error) {
	all := make([]pratique.Inventory, len(lists))
	for i, d := range lists {
		list, err := scanner.LoadList(ctx, from, d)
		if err != nil {
			return nil, orLost(err)
		}
		all[i] = list
	}
	reports, err := m.Match(ctx, all, db)
	if err != nil {
		return nil, err
	}
	if len(reports) != len(lists) {
		return nil, pratique.Errorf(pratique.Internal, "match inventory", "%d reports on %d lists", len(reports), len(lists))
	}
	out := make([]found, len(lists))
	for i, r := range reports {
		docs, err := scanner.FindingsDocuments(r)
		if err != nil {
			return nil, err
		}
		out[i] = found{digest: docs[len(docs)-1].Digest, documents: docs, findings: r.Findings}
	}
	return out, nil
}

// matched makes sure that there is a report on the image against the database in use.
func (s *Inspect) matched(ctx context.Context, w Work, subject pratique.Subject, inventory pratique.Digest) error {
	fact, err := s.match(ctx, w, subject, inventory, named{&s.Base})
	if err != nil {
		return err
	}
	return s.recordScanned(ctx, w, subject, fact)
}

// recordScanned records a match, if there is one. It is made anew if the database has changed meanwhile: a rescan to
// that one may be over already, and would not be done again for this report.
func (s *Inspect) recordScanned(ctx context.Context, w Work, subject pratique.Subject, fact *pratique.Scanned) error {
	for fact != nil {
		db, err := s.Database()
		if err != nil {
			return err
		}
		if db.Digest == fact.Database.Digest {
			return s.record(ctx, pratique.StageInspect, w, subject, pratique.Fact{Body: fact})
		}
		if fact, err = s.match(ctx, w, subject, fact.Inventory, named{&s.Base}); err != nil {
			return err
		}
	}
	return nil
}

// match matches an image's inventory against the database in use, stores the report and describes it. It is nil if the
// last report on the image is that one.
func (s *Inspect) match(ctx context.Context, w Work, subject pratique.Subject, inventory pratique.Digest, from scanner.Documents) (*pratique.Scanned, error) {
	db, err := s.Database()
	if err != nil {
		return nil, err
	}
	if last, err := newest[pratique.Scanned](ctx, s.Ledger, subject); err != nil {
		return nil, err
	} else if last != nil && w.Round == 0 && last.Inventory == inventory && last.Database.Digest == db.Digest {
		return nil, nil
	}
	started := s.Now().UTC()
	header, lists, err := scanner.InventoryLists(ctx, from, inventory)
	if err != nil {
		return nil, orLost(err)
	}
	answers, err := s.findings(ctx, w, from, lists, db)
	if err != nil {
		return nil, err
	}
	report := pratique.Report{Scanner: s.Scanner, Inventory: inventory, Database: db.Database, OS: header.OS}
	digests := make([]pratique.Digest, len(answers))
	var documents []scanner.Document
	for i, a := range answers {
		digests[i] = a.digest
		documents = append(documents, a.documents...)
		report.Findings = append(report.Findings, a.findings...)
	}
	doc, err := scanner.ReportDocument(report, digests)
	if err != nil {
		return nil, err
	}
	if err := s.putAll(ctx, append(documents, doc)); err != nil {
		return nil, err
	}
	return &pratique.Scanned{
		Report: doc.Digest, Inventory: inventory, Database: db.Database, Counts: report.Counts(),
		Fixable: scanner.CountFixable(report.Findings), StartedAt: started, ScannedAt: s.Now().UTC(),
	}, nil
}

// findings returns what is found in the lists, by matching only those of which it is not known.
func (s *Inspect) findings(ctx context.Context, w Work, from scanner.Documents, lists []pratique.Digest, db scanner.DatabaseDir) ([]found, error) {
	answers := make([]found, len(lists))
	var missing []pratique.Digest
	for i, list := range lists {
		known := false
		if s.Memo != nil && w.Round == 0 {
			var err error
			if answers[i].digest, known, err = s.Memo.Findings(list, db.Digest); err != nil {
				return nil, err
			}
		}
		if !known {
			missing = append(missing, list)
			continue
		}
		var err error
		if answers[i].findings, _, err = scanner.LoadFindings(ctx, from, answers[i].digest); err != nil {
			return nil, orLost(err)
		}
	}
	switch {
	case len(lists) == 0:
		// Nothing can be found, but a database that is damaged must not pass for one that knows of nothing.
		_, err := s.Parser.Match(ctx, []pratique.Inventory{{Scanner: s.Scanner}}, db)
		return nil, err
	case len(missing) == 0:
		return answers, nil
	}
	matched, err := matchLists(ctx, from, s.Parser, missing, db)
	if err != nil {
		return nil, err
	}
	for i, list := range lists {
		// Of two lists that are the same both are missing, or neither.
		if n := slices.Index(missing, list); n >= 0 {
			answers[i] = matched[n]
		}
	}
	return answers, nil
}
