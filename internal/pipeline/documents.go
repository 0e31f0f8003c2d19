package pipeline

import (
	"context"
	"encoding/json"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// DocumentWriter stores documents by their digests.
type DocumentWriter interface {
	Put(ctx context.Context, content []byte) (pratique.Digest, error)
}

// Documents stores and reads documents by their digests.
type Documents interface {
	DocumentWriter
	Get(ctx context.Context, d pratique.Digest) ([]byte, error)
}

// PutJSON stores v as a JSON document.
func PutJSON(ctx context.Context, to DocumentWriter, v any) (pratique.Digest, error) {
	content, err := json.Marshal(v)
	if err != nil {
		return pratique.Digest{}, pratique.Wrap(pratique.Internal, "encode document", "", err)
	}
	return to.Put(ctx, content)
}

// PutAll stores documents concurrently, because each waits for the disk. No document may name
// another of them before PutAll returns.
func PutAll(ctx context.Context, to DocumentWriter, docs []scanner.Document) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, d := range docs {
		group.Go(func() error {
			_, err := to.Put(ctx, d.Content)
			return err
		})
	}
	return group.Wait()
}

// Recorded reads documents that facts name. The error about one that is missing or damaged
// satisfies [IsLost].
type Recorded struct{ Documents }

// Get returns a document.
func (r Recorded) Get(ctx context.Context, d pratique.Digest) ([]byte, error) {
	content, err := r.Documents.Get(ctx, d)
	if kind := pratique.KindOf(err); kind == pratique.NotFound || kind == pratique.Corrupt {
		return nil, Lost(err)
	}
	return content, err
}

// Report reads the report that a fact names.
func (r Recorded) Report(ctx context.Context, of pratique.Scanned) (pratique.Report, error) {
	report, err := scanner.LoadReport(ctx, r, of)
	return report, LostIfCorrupt(err)
}

// lostDocument is the error about a document that a fact names and that is missing or damaged. The
// fact is then worthless, and its stage has to run again.
type lostDocument struct{ error }

func (l lostDocument) Unwrap() error { return l.error }

// Lost marks an error as one about a lost document.
func Lost(err error) error { return lostDocument{err} }

// LostIfCorrupt marks an error as one about a lost document if its kind is Corrupt.
func LostIfCorrupt(err error) error {
	if pratique.KindOf(err) == pratique.Corrupt && !IsLost(err) {
		return Lost(err)
	}
	return err
}

// IsLost reports whether an error is about a document that a fact names and that is missing or
// damaged.
func IsLost(err error) bool {
	var lost lostDocument
	return errors.As(err, &lost)
}
