package inventory

import (
	"context"
	"errors"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// documents are those that facts name, as far as the inventory has to know them. They are loaded between
// transactions, so that whoever else writes does not wait for the store: a transaction that meets one
// that is not loaded goes on, to find what else is missing, is given up, and is tried again when all
// that is here.
type documents struct {
	inventories shelf[[]pratique.Digest] // their lists
	keys        shelf[[][]byte]          // of lists, hashed
	reports     shelf[[]pratique.Digest] // the documents of their findings
	findings    shelf[answer]
}

// answer is what a match of a list gave.
type answer struct {
	// incomplete says that the scanner failed on the list.
	incomplete      bool
	vulnerabilities []string
}

func newDocuments(c Config) *documents {
	return &documents{
		inventories: newShelf(func(ctx context.Context, d pratique.Digest) ([]pratique.Digest, error) {
			_, lists, err := scanner.InventoryLists(ctx, c.Documents, d)
			return lists, err
		}),
		keys: newShelf(func(ctx context.Context, d pratique.Digest) ([][]byte, error) {
			doc, err := scanner.LoadListDocument(ctx, c.Documents, d)
			if err != nil {
				return nil, err
			}
			keys := c.Keys(doc.Inventory)
			slices.Sort(keys)
			all := make([][]byte, len(keys))
			for i, key := range keys {
				all[i] = hashed(key)
			}
			return all, nil
		}),
		reports: newShelf(func(ctx context.Context, d pratique.Digest) ([]pratique.Digest, error) {
			_, found, err := scanner.ReportHeader(ctx, c.Documents, d)
			return found, err
		}),
		findings: newShelf(func(ctx context.Context, d pratique.Digest) (answer, error) {
			all, covered, err := scanner.LoadCores(ctx, c.Documents, d)
			a := answer{incomplete: err == nil && covered.Failed()}
			for _, f := range all {
				a.vulnerabilities = append(a.vulnerabilities, f.ID)
			}
			return a, err
		}),
	}
}

// complete reports whether nothing was asked for that is not loaded.
func (d *documents) complete() bool {
	return len(d.inventories.missing)+len(d.keys.missing)+len(d.reports.missing)+len(d.findings.missing) == 0
}

// load loads what was asked for.
func (d *documents) load(ctx context.Context) error {
	for _, load := range []func(context.Context) error{d.inventories.load, d.keys.load, d.reports.load, d.findings.load} {
		if err := load(ctx); err != nil {
			return err
		}
	}
	return nil
}

// shelf holds documents of one sort.
type shelf[T any] struct {
	read    func(ctx context.Context, d pratique.Digest) (T, error)
	here    map[pratique.Digest]loaded[T]
	missing []pratique.Digest
}

// loaded is what is known of a document; err says that it is not there, or not what it should be.
type loaded[T any] struct {
	value T
	err   error
}

func newShelf[T any](read func(context.Context, pratique.Digest) (T, error)) shelf[T] {
	return shelf[T]{read: read, here: map[pratique.Digest]loaded[T]{}}
}

// lostError is about a document that is not there, or not what it should be. What it would have told is
// left out.
type lostError struct{ error }

func (l lostError) Unwrap() error { return l.error }

func lost(err error) bool {
	var l lostError
	return errors.As(err, &l)
}

// errNotLoaded takes the place of a document that is not loaded yet. The transaction goes on as it does
// without a document that is lost, and is given up.
var errNotLoaded = lostError{errors.New("a document is not loaded yet")}

func (s *shelf[T]) get(d pratique.Digest) (T, error) {
	l, ok := s.here[d]
	if !ok {
		s.missing = append(s.missing, d)
		l.err = errNotLoaded
	}
	return l.value, l.err
}

func (s *shelf[T]) load(ctx context.Context) error {
	for _, d := range s.missing {
		if _, ok := s.here[d]; ok {
			continue // asked for twice
		}
		value, err := s.read(ctx, d)
		switch pratique.KindOf(err) {
		case pratique.NotFound, pratique.Corrupt:
			err = lostError{err}
		default:
			if err != nil {
				return err
			}
		}
		s.here[d] = loaded[T]{value, err}
	}
	s.missing = nil
	return nil
}
