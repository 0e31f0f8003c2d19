package ledger

import (
	"bytes"
	"context"
	"errors"
	"io"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/memblob" // mem://
	"gocloud.dev/gcerrors"

	"github.com/pratique-dev/pratique"
)

// cloud keeps documents in an object store, which makes them durable itself.
type cloud struct{ bucket *blob.Bucket }

func openCloud(ctx context.Context, bucketURL string) (Bucket, error) {
	b, err := blob.OpenBucket(ctx, bucketURL)
	return cloud{b}, err
}

// Close implements [Bucket].
func (c cloud) Close() error { return c.bucket.Close() }

// Persist implements [Bucket].
func (cloud) Persist(context.Context, pratique.Digest) error { return nil }

// Write implements [Bucket].
func (c cloud) Write(ctx context.Context, d pratique.Digest, packed []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a writer closed after its context ended leaves no blob
	w, err := c.bucket.NewWriter(ctx, key(d), &blob.WriterOptions{ContentType: "application/zstd"})
	if err != nil {
		return cloudError("write object", err)
	}
	if _, err = w.Write(packed); err != nil {
		cancel()
	}
	return cloudError("write object", errors.Join(err, w.Close()))
}

// Read implements [Bucket].
func (c cloud) Read(ctx context.Context, d pratique.Digest, most int64) ([]byte, error) {
	r, err := c.bucket.NewReader(ctx, key(d), nil)
	if err != nil {
		return nil, cloudError("read object", err)
	}
	defer func() { _ = r.Close() }() // nothing was written
	if r.Size() > most {
		return nil, tooLarge(r.Size(), most)
	}
	packed := bytes.NewBuffer(make([]byte, 0, r.Size()+bytes.MinRead))
	_, err = packed.ReadFrom(io.LimitReader(r, r.Size()))
	return packed.Bytes(), cloudError("read object", err)
}

// cloudError gives what a driver says its kind.
func cloudError(op string, err error) error {
	kind := pratique.Unavailable
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		kind = pratique.NotFound
	case gcerrors.PermissionDenied:
		kind = pratique.Denied
	case gcerrors.ResourceExhausted:
		kind = pratique.RateLimited
	}
	return pratique.Wrap(kind, op, "", err)
}
