package inventory

import (
	"context"
	"errors"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// documents are the documents that facts name. They are loaded between transactions, so that other
// writers do not wait for the store: a transaction that needs a missing one continues, to find out
// what else is missing, and is rolled back and repeated when all are loaded.
type documents struct {
	inventories documentLoader[[]pratique.Digest] // their lists
	keys        documentLoader[[][]byte]          // of lists, hashed
	reports     documentLoader[[]pratique.Digest] // the documents of their findings
	findings    documentLoader[matchResult]
}

// matchResult is the result of matching a list.
type matchResult struct {
	// incomplete reports that the scanner failed on the list.
	incomplete      bool
	vulnerabilities []string
}

func newDocuments(c Config) *documents {
	return &documents{
		inventories: newDocumentLoader(func(ctx context.Context,
			d pratique.Digest) ([]pratique.Digest, error) {
			_, lists, err := scanner.InventoryLists(ctx, c.Documents, d)
			return lists, err
		}),
		keys: newDocumentLoader(func(ctx context.Context, d pratique.Digest) ([][]byte, error) {
			doc, err := scanner.LoadListDocument(ctx, c.Documents, d)
			if err != nil {
				return nil, err
			}
			keys := c.Keys(doc.Inventory)
			slices.Sort(keys)
			all := make([][]byte, len(keys))
			for i, key := range keys {
				all[i] = hashKey(key)
			}
			return all, nil
		}),
		reports: newDocumentLoader(func(ctx context.Context,
			d pratique.Digest) ([]pratique.Digest, error) {
			_, found, err := scanner.ReportHeader(ctx, c.Documents, d)
			return found, err
		}),
		findings: newDocumentLoader(func(ctx context.Context, d pratique.Digest) (matchResult, error) {
			all, covered, err := scanner.LoadCores(ctx, c.Documents, d)
			a := matchResult{incomplete: err == nil && covered.Failed()}
			for _, f := range all {
				a.vulnerabilities = append(a.vulnerabilities, f.ID)
			}
			return a, err
		}),
	}
}

// complete reports whether all documents that were needed are loaded.
func (d *documents) complete() bool {
	return len(d.inventories.missing)+len(d.keys.missing)+len(d.reports.missing)+
		len(d.findings.missing) == 0
}

// load loads the missing documents.
func (d *documents) load(ctx context.Context) error {
	for _, load := range []func(context.Context) error{d.inventories.load, d.keys.load,
		d.reports.load, d.findings.load} {
		if err := load(ctx); err != nil {
			return err
		}
	}
	return nil
}

// documentLoader loads documents of one kind.
type documentLoader[T any] struct {
	read    func(ctx context.Context, d pratique.Digest) (T, error)
	loaded  map[pratique.Digest]loadResult[T]
	missing []pratique.Digest
}

// loadResult is a document, or the error that it is missing or invalid.
type loadResult[T any] struct {
	value T
	err   error
}

func newDocumentLoader[T any](read func(context.Context, pratique.Digest) (T, error)) documentLoader[T] {
	return documentLoader[T]{read: read, loaded: map[pratique.Digest]loadResult[T]{}}
}

// lostError is the error for a document that is missing or invalid. Its content is skipped.
type lostError struct{ error }

func (l lostError) Unwrap() error { return l.error }

func lost(err error) bool {
	var l lostError
	return errors.As(err, &l)
}

// errNotLoaded is the error for a document that is not loaded yet. The transaction continues as for
// a lost document, and is rolled back.
var errNotLoaded = lostError{errors.New("a document is not loaded yet")}

func (s *documentLoader[T]) get(d pratique.Digest) (T, error) {
	l, ok := s.loaded[d]
	if !ok {
		s.missing = append(s.missing, d)
		l.err = errNotLoaded
	}
	return l.value, l.err
}

func (s *documentLoader[T]) load(ctx context.Context) error {
	for _, d := range s.missing {
		if _, ok := s.loaded[d]; ok {
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
		s.loaded[d] = loadResult[T]{value, err}
	}
	s.missing = nil
	return nil
}
