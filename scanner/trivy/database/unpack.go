package database

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"

	"github.com/pratique-dev/pratique"
)

const (
	opUnpack         = "unpack vulnerability database"
	maxMetadataBytes = 64 << 10
)

// unpacked is what a layer held: the digest of trivy.db, which lies in the directory, and the metadata.
type unpacked struct {
	digest   pratique.Digest
	metadata []byte
}

// unpack reads the layer to its end, writes trivy.db into dir, and succeeds only if the layer has the digest
// of its descriptor and holds the two files and nothing else. Bytes that are not those of the descriptor are
// Corrupt; a content that is not wanted is Invalid, and stays so.
func unpack(r io.Reader, d v1.Descriptor, dir string, maxBytes int64) (unpacked, error) {
	in := &counted{r: r, left: d.Size, hash: sha256.New()}
	got, err := untar(in, dir, maxBytes)
	if err == nil || pratique.KindOf(err) == pratique.Invalid {
		// Damage inside is worth reporting only if it is the publisher's, so the digest is looked at first.
		_, _ = io.Copy(io.Discard, in) // the error stays in in.err
	}
	sum := v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", in.hash.Sum(nil))}
	switch {
	case in.err == nil && in.read < d.Size, in.left < 0, in.read == d.Size && sum != d.Digest:
		return unpacked{}, pratique.Errorf(pratique.Corrupt, opUnpack, "got %d bytes with digest %s, want %d with %s", in.read, sum, d.Size, d.Digest)
	case in.err != nil:
		return unpacked{}, pratique.Wrap(pratique.Unavailable, "download vulnerability database", "", in.err)
	case err != nil:
		return unpacked{}, err
	}
	return got, nil
}

func untar(in io.Reader, dir string, maxBytes int64) (unpacked, error) {
	z, err := gzip.NewReader(in)
	if err != nil {
		return unpacked{}, pratique.Wrap(pratique.Invalid, opUnpack, "", err)
	}
	var got unpacked
	for files := tar.NewReader(z); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return unpacked{}, pratique.Wrap(pratique.Invalid, opUnpack, "", err)
		}
		name := path.Clean(h.Name)
		switch {
		case h.Typeflag == tar.TypeDir && name == ".":
		case h.Typeflag == tar.TypeReg && name == databaseFile && got.digest.IsZero():
			got.digest, err = writeDatabase(files, filepath.Join(dir, databaseFile), h.Size, maxBytes)
		case h.Typeflag == tar.TypeReg && name == metadataFile && got.metadata == nil:
			got.metadata, err = readMetadata(files, h.Size)
		default:
			err = pratique.Errorf(pratique.Invalid, opUnpack, "unexpected file %.80q", h.Name)
		}
		if err != nil {
			return unpacked{}, err
		}
	}
	if got.digest.IsZero() || got.metadata == nil {
		return unpacked{}, pratique.Errorf(pratique.Invalid, opUnpack, "%s or %s is missing", databaseFile, metadataFile)
	}
	return got, nil
}

func writeDatabase(r io.Reader, to string, size, maxBytes int64) (pratique.Digest, error) {
	if size > maxBytes {
		return pratique.Digest{}, pratique.Errorf(pratique.Exhausted, opUnpack, "%s of %d bytes, the limit is %d", databaseFile, size, maxBytes)
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return pratique.Digest{}, pratique.Wrap(pratique.Unavailable, opUnpack, "", err)
	}
	sum := sha256.New()
	disk := &noted{w: f}
	_, err = io.Copy(io.MultiWriter(disk, sum), r)
	if disk.err == nil && err != nil {
		_ = f.Close() // nothing of it is kept
		return pratique.Digest{}, pratique.Wrap(pratique.Invalid, opUnpack, "", err)
	}
	if err := errors.Join(disk.err, f.Sync(), f.Close()); err != nil {
		return pratique.Digest{}, pratique.Wrap(pratique.Unavailable, opUnpack, "", err)
	}
	return pratique.DigestFromSum([sha256.Size]byte(sum.Sum(nil))), nil
}

func readMetadata(r io.Reader, size int64) ([]byte, error) {
	if size > maxMetadataBytes {
		return nil, pratique.Errorf(pratique.Exhausted, opUnpack, "%s of %d bytes, the limit is %d", metadataFile, size, maxMetadataBytes)
	}
	raw, err := io.ReadAll(r)
	return raw, pratique.Wrap(pratique.Invalid, opUnpack, "", err)
}

// counted hashes what it reads and keeps the error that ended it. It reads one byte too many at most.
type counted struct {
	r          io.Reader
	left, read int64
	hash       hash.Hash
	err        error
}

func (c *counted) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.left < 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), c.left+1)]
	n, err := c.r.Read(p)
	c.hash.Write(p[:n])
	c.read, c.left = c.read+int64(n), c.left-int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// noted keeps the error of a write apart from those of what is written.
type noted struct {
	w   io.Writer
	err error
}

func (n *noted) Write(p []byte) (int, error) {
	written, err := n.w.Write(p)
	n.err = err
	return written, err
}
