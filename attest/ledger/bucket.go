package ledger

import (
	"bytes"
	"context"
	"errors"
	"io"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/memblob" // mem://

	"github.com/pratique-dev/pratique"
)

// bucket keeps documents in an object store, which makes them durable itself.
type bucket struct{ *blob.Bucket }

func openBucket(ctx context.Context, bucketURL string) (store, error) {
	b, err := blob.OpenBucket(ctx, bucketURL)
	return bucket{b}, err
}

func (b bucket) close() error { return b.Close() }

func (bucket) persist(pratique.Digest) error { return nil }

func (b bucket) write(ctx context.Context, d pratique.Digest, packed []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a writer closed after its context ended leaves no blob
	w, err := b.NewWriter(ctx, key(d), &blob.WriterOptions{ContentType: "application/zstd"})
	if err != nil {
		return err
	}
	if _, err = w.Write(packed); err != nil {
		cancel()
		return errors.Join(err, w.Close())
	}
	return w.Close()
}

func (b bucket) read(ctx context.Context, d pratique.Digest, most int64) ([]byte, error) {
	r, err := b.NewReader(ctx, key(d), nil)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if r.Size() > most {
		return nil, tooLarge(r.Size(), most)
	}
	packed := bytes.NewBuffer(make([]byte, 0, r.Size()+bytes.MinRead))
	_, err = packed.ReadFrom(io.LimitReader(r, r.Size()))
	return packed.Bytes(), err
}
