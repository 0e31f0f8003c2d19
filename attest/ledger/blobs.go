package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/pratique-dev/pratique"
)

// maxBlob bounds a document, plain or compressed. The largest SBOMs seen are 30 MB.
const maxBlob = 256 << 20

// Bucket keeps bytes by the digest of a document. It does not know what they are: [Blobs]
// compresses and checks them. Its errors have kinds: NotFound for a digest that it has nothing for,
// Denied, RateLimited, or Unavailable for anything that may pass. Package blobtest has the suite
// that every bucket passes.
type Bucket interface {
	// Read returns what was written last for the digest. Corrupt: that is more than most bytes.
	Read(ctx context.Context, d pratique.Digest, most int64) ([]byte, error)
	// Write replaces what there is for the digest. A reader gets all of the old bytes or all of the
	// new ones. If the context has ended, nothing is written.
	Write(ctx context.Context, d pratique.Digest, packed []byte) error
	// Persist returns once what is there for the digest, whoever wrote it, would outlast a loss of
	// power.
	Persist(ctx context.Context, d pratique.Digest) error
	Close() error
}

// Blobs keeps documents in a [Bucket], compressed with zstd, by the digest of their plain bytes.
type Blobs struct {
	packed Bucket
	limit  int64
	enc    *zstd.Encoder
	dec    *zstd.Decoder
}

// OpenBlobs opens a bucket: file:///var/lib/pratique/blobs (created if missing), mem://, or the URL
// of a driver that the program imports. A URL that no driver knows is Invalid.
func OpenBlobs(ctx context.Context, bucketURL string) (*Blobs, error) {
	bucket, err := openBucket(ctx, bucketURL)
	if err != nil {
		return nil, pratique.Wrap(pratique.Unknown, "open blobs", "", err)
	}
	b, err := NewBlobs(bucket, maxBlob)
	if err != nil {
		return nil, errors.Join(err, bucket.Close())
	}
	return b, nil
}

// openBucket opens the bucket that a URL names.
func openBucket(ctx context.Context, bucketURL string) (Bucket, error) {
	const op = "open bucket"
	u, err := url.Parse(bucketURL)
	switch {
	case err != nil:
		return nil, pratique.Wrap(pratique.Invalid, op, "", err)
	case u.Scheme != "file":
		b, err := openCloud(ctx, bucketURL)
		return b, pratique.Wrap(pratique.Invalid, op, u.Redacted(), err)
	case u.Host != "" && u.Host != "." || u.Path == "":
		return nil, pratique.Wrap(pratique.Invalid, op, u.Redacted(),
			errors.New("want file:///directory or file://./directory"))
	}
	b, err := openFiles(filepath.FromSlash(u.Host + u.Path))
	return b, pratique.Wrap(pratique.Unavailable, op, u.Redacted(), err)
}

// NewBlobs keeps documents of at most limit bytes in a bucket, and closes it.
func NewBlobs(bucket Bucket, limit int64) (*Blobs, error) {
	const op = "open blobs"
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, pratique.Wrap(pratique.Internal, op, "", err)
	}
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderMaxMemory(uint64(limit))) //nolint:gosec // a limit is never negative
	if err != nil {
		return nil, pratique.Wrap(pratique.Internal, op, "", err)
	}
	return &Blobs{packed: bucket, limit: limit, enc: enc, dec: dec}, nil
}

// Close closes the bucket.
func (b *Blobs) Close() error {
	b.dec.Close()
	return errors.Join(b.enc.Close(), b.packed.Close())
}

// Put stores a document and returns its digest. A document that is there and whole is not written
// again; one that a crash left damaged is. In a file:// bucket it is on disk when Put returns.
func (b *Blobs) Put(ctx context.Context, document []byte) (pratique.Digest, error) {
	const op = "put blob"
	d := pratique.DigestOf(document)
	if int64(len(document)) > b.limit {
		return d, pratique.Wrap(pratique.Exhausted, op, d.String(),
			fmt.Errorf("%d bytes, at most %d", len(document), b.limit))
	}
	_, err := b.Get(ctx, d)
	switch kind := pratique.KindOf(err); {
	case err == nil:
		return d, b.persist(ctx, d)
	case kind != pratique.NotFound && kind != pratique.Corrupt:
		return d, err
	}
	if err := b.packed.Write(ctx, d, b.enc.EncodeAll(document, nil)); err != nil {
		return d, pratique.Wrap(pratique.Unknown, op, d.String(), err)
	}
	return d, b.persist(ctx, d)
}

func (b *Blobs) persist(ctx context.Context, d pratique.Digest) error {
	return pratique.Wrap(pratique.Unknown, "put blob", d.String(), b.packed.Persist(ctx, d))
}

// Get returns the document with the digest. NotFound: there is none. Corrupt: what is there is not
// it.
func (b *Blobs) Get(ctx context.Context, d pratique.Digest) ([]byte, error) {
	const op = "get blob"
	if d.IsZero() {
		return nil, pratique.Errorf(pratique.NotFound, op, "no digest given")
	}
	// Incompressible bytes grow a little.
	packed, err := b.packed.Read(ctx, d, b.limit+b.limit/64+1024)
	if err != nil {
		return nil, pratique.Wrap(pratique.Unknown, op, d.String(), err)
	}
	document, err := b.dec.DecodeAll(packed, nil)
	if err != nil {
		return nil, pratique.Wrap(pratique.Corrupt, op, d.String(), err)
	}
	if got := pratique.DigestOf(document); got != d {
		return nil, pratique.Wrap(pratique.Corrupt, op, d.String(),
			fmt.Errorf("the bytes have digest %s", got))
	}
	return document, nil
}

func key(d pratique.Digest) string {
	hex := d.Hex()
	return "sha256/" + hex[:2] + "/" + hex + ".zst"
}

// tooLarge refuses what is beyond any document that was written.
func tooLarge(size, most int64) error {
	return pratique.Errorf(pratique.Corrupt, "read blob", "%d bytes, at most %d", size, most)
}
