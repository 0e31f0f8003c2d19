package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"gocloud.dev/gcerrors"

	"github.com/pratique-dev/pratique"
)

// maxBlob bounds a document, plain or compressed. The largest SBOMs seen are 30 MB.
const maxBlob = 256 << 20

// Blobs keeps documents, compressed with zstd, by the digest of their plain bytes.
type Blobs struct {
	packed store
	limit  int64
	enc    *zstd.Encoder
	dec    *zstd.Decoder
}

// store keeps compressed documents. Errors have no kind, unless it is known better than [kindOf] could.
type store interface {
	// read returns a document of at most so many bytes.
	read(ctx context.Context, d pratique.Digest, most int64) ([]byte, error)
	// write is atomic: a reader sees all of a document or none.
	write(ctx context.Context, d pratique.Digest, packed []byte) error
	// persist makes durable that a document is there, whoever wrote it.
	persist(d pratique.Digest) error
	close() error
}

// OpenBlobs opens a bucket: file:///var/lib/pratique/blobs (created if missing), mem://, or the URL of a driver
// that the program imports. A URL that no driver knows is Invalid.
func OpenBlobs(ctx context.Context, bucketURL string) (*Blobs, error) {
	return openBlobs(ctx, bucketURL, maxBlob)
}

func openBlobs(ctx context.Context, bucketURL string, limit int64) (*Blobs, error) {
	const op = "open blobs"
	u, err := url.Parse(bucketURL)
	if err != nil {
		return nil, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	b := &Blobs{limit: limit}
	if u.Scheme == "file" {
		if u.Host != "" && u.Host != "." || u.Path == "" {
			return nil, pratique.Wrap(pratique.Invalid, op, u.Redacted(), errors.New("want file:///directory or file://./directory"))
		}
		if b.packed, err = openFiles(filepath.FromSlash(u.Host + u.Path)); err != nil {
			return nil, pratique.Wrap(pratique.Unavailable, op, u.Redacted(), err)
		}
	} else if b.packed, err = openBucket(ctx, bucketURL); err != nil {
		return nil, pratique.Wrap(pratique.Invalid, op, u.Redacted(), err)
	}
	if b.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest)); err != nil {
		return nil, pratique.Wrap(pratique.Internal, op, "", err)
	}
	if b.dec, err = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(uint64(limit))); err != nil { //nolint:gosec // a limit is never negative
		return nil, pratique.Wrap(pratique.Internal, op, "", err)
	}
	return b, nil
}

// Close closes the bucket.
func (b *Blobs) Close() error {
	b.dec.Close()
	return errors.Join(b.enc.Close(), b.packed.close())
}

// Put stores a document and returns its digest. A document that is there and whole is not written again; one
// that a crash left damaged is. In a file:// bucket it is on disk when Put returns.
func (b *Blobs) Put(ctx context.Context, document []byte) (pratique.Digest, error) {
	const op = "put blob"
	d := pratique.DigestOf(document)
	if int64(len(document)) > b.limit {
		return d, pratique.Wrap(pratique.Exhausted, op, d.String(), fmt.Errorf("%d bytes, at most %d", len(document), b.limit))
	}
	_, err := b.Get(ctx, d)
	switch kind := pratique.KindOf(err); {
	case err == nil:
		return d, b.persist(d)
	case kind != pratique.NotFound && kind != pratique.Corrupt:
		return d, err
	}
	if err := b.packed.write(ctx, d, b.enc.EncodeAll(document, nil)); err != nil {
		return d, pratique.Wrap(kindOf(err), op, d.String(), err)
	}
	return d, b.persist(d)
}

func (b *Blobs) persist(d pratique.Digest) error {
	return pratique.Wrap(pratique.Unavailable, "put blob", d.String(), b.packed.persist(d))
}

// Get returns the document with the digest. NotFound: there is none. Corrupt: what is there is not it.
func (b *Blobs) Get(ctx context.Context, d pratique.Digest) ([]byte, error) {
	const op = "get blob"
	if d.IsZero() {
		return nil, pratique.Errorf(pratique.NotFound, op, "no digest given")
	}
	// Incompressible bytes grow a little.
	packed, err := b.packed.read(ctx, d, b.limit+b.limit/64+1024)
	if err != nil {
		return nil, pratique.Wrap(kindOf(err), op, d.String(), err)
	}
	document, err := b.dec.DecodeAll(packed, nil)
	if err != nil {
		return nil, pratique.Wrap(pratique.Corrupt, op, d.String(), err)
	}
	if got := pratique.DigestOf(document); got != d {
		return nil, pratique.Wrap(pratique.Corrupt, op, d.String(), fmt.Errorf("the bytes have digest %s", got))
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

// kindOf classes what a driver says.
func kindOf(err error) pratique.Kind {
	if kind := pratique.KindOf(err); kind != pratique.Unknown {
		return kind
	}
	if errors.Is(err, fs.ErrNotExist) {
		return pratique.NotFound
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return pratique.NotFound
	case gcerrors.PermissionDenied:
		return pratique.Denied
	case gcerrors.ResourceExhausted:
		return pratique.RateLimited
	default:
		return pratique.Unavailable
	}
}
