package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/klauspost/compress/zstd"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	_ "gocloud.dev/blob/memblob" // mem://
	"gocloud.dev/gcerrors"

	"github.com/pratique-dev/pratique"
)

// maxBlob bounds a document, plain or compressed. The largest SBOMs seen are 30 MB.
const maxBlob = 256 << 20

// Blobs keeps documents, compressed with zstd, by the digest of their plain bytes.
type Blobs struct {
	bucket *blob.Bucket
	dir    string // of a file:// bucket, else empty
	limit  int64
	// named are the directories of blobs whose own names are known to be durable.
	named sync.Map
	enc   *zstd.Encoder
	dec   *zstd.Decoder
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
	if u.Scheme == fileblob.Scheme {
		if u.Host != "" && u.Host != "." || u.Path == "" {
			return nil, pratique.Wrap(pratique.Invalid, op, u.Redacted(), errors.New("want file:///directory or file://./directory"))
		}
		if b.dir, err = filepath.Abs(filepath.FromSlash(u.Host + u.Path)); err != nil {
			return nil, pratique.Wrap(pratique.Invalid, op, u.Redacted(), err)
		}
		// Temporary files lie beside the blobs: a rename from another file system would fail.
		b.bucket, err = fileblob.OpenBucket(b.dir, &fileblob.Options{
			CreateDir: true, DirFileMode: 0o700, NoTempDir: true, Metadata: fileblob.MetadataDontWrite,
		})
		if err != nil {
			return nil, pratique.Wrap(pratique.Unavailable, op, u.Redacted(), err)
		}
	} else if b.bucket, err = blob.OpenBucket(ctx, bucketURL); err != nil {
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
	return errors.Join(b.enc.Close(), b.bucket.Close())
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
		return d, b.syncDirs(d)
	case kind != pratique.NotFound && kind != pratique.Corrupt:
		return d, err
	}
	if err := b.write(ctx, d, b.enc.EncodeAll(document, nil)); err != nil {
		return d, pratique.Wrap(kindOf(err), op, d.String(), err)
	}
	return d, b.syncDirs(d)
}

// write is atomic: a reader sees all of the blob or none.
func (b *Blobs) write(ctx context.Context, d pratique.Digest, packed []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a writer closed after its context ended leaves no blob
	var file *os.File
	w, err := b.bucket.NewWriter(ctx, key(d), &blob.WriterOptions{
		ContentType: "application/zstd",
		BeforeWrite: func(as func(any) bool) error { as(&file); return nil },
	})
	if err != nil {
		return err
	}
	_, err = w.Write(packed)
	if err == nil && file != nil {
		err = file.Sync() // before the rename, or a power cut leaves the name without the bytes
	}
	if err != nil {
		cancel()
		return errors.Join(err, w.Close())
	}
	return w.Close()
}

// Get returns the document with the digest. NotFound: there is none. Corrupt: what is there is not it.
func (b *Blobs) Get(ctx context.Context, d pratique.Digest) ([]byte, error) {
	const op = "get blob"
	if d.IsZero() {
		return nil, pratique.Errorf(pratique.NotFound, op, "no digest given")
	}
	packed, err := b.read(ctx, d)
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

func (b *Blobs) read(ctx context.Context, d pratique.Digest) ([]byte, error) {
	r, err := b.bucket.NewReader(ctx, key(d), nil)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// Incompressible bytes grow a little.
	if most := b.limit + b.limit/64 + 1024; r.Size() > most {
		return nil, pratique.Errorf(pratique.Corrupt, "read blob", "%d bytes, at most %d", r.Size(), most)
	}
	packed := bytes.NewBuffer(make([]byte, 0, r.Size()+bytes.MinRead))
	_, err = packed.ReadFrom(io.LimitReader(r, r.Size()))
	return packed.Bytes(), err
}

// syncDirs makes the names of a blob and of its directories durable. Directories are never deleted, so those of a
// directory are synced once.
func (b *Blobs) syncDirs(d pratique.Digest) error {
	if b.dir == "" {
		return nil
	}
	leaf := filepath.Dir(filepath.Join(b.dir, filepath.FromSlash(key(d))))
	dirs := []string{leaf}
	_, named := b.named.Load(leaf)
	if !named {
		dirs = append(dirs, filepath.Dir(leaf), b.dir)
	}
	for _, dir := range dirs {
		if err := syncDir(dir); err != nil {
			return pratique.Wrap(pratique.Unavailable, "put blob", d.String(), err)
		}
	}
	if !named {
		b.named.Store(leaf, nil)
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func key(d pratique.Digest) string {
	return "sha256/" + d.Hex()[:2] + "/" + d.Hex() + ".zst"
}

// kindOf classes what a driver says.
func kindOf(err error) pratique.Kind {
	if kind := pratique.KindOf(err); kind != pratique.Unknown {
		return kind
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
