package database

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/klauspost/compress/gzip"

	"github.com/pratique-dev/pratique"
)

const maxMetadataBytes = 64 << 10

// unpacked is the content of a layer: the digest of the database file, which is in the directory,
// and the metadata.
type unpacked struct {
	digest   pratique.Digest
	metadata []byte
}

// unpack reads a layer to its end and writes the database file into dir. If the layer has other
// files than the two, or lacks one, the error is Invalid.
func (k Kind) unpack(layer io.Reader, dir string, maxBytes int64) (unpacked, error) {
	op := k.op("unpack")
	z, err := gzip.NewReader(layer)
	if err != nil {
		return unpacked{}, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	got, err := k.untar(z, dir, maxBytes)
	if err != nil {
		return unpacked{}, err
	}
	// The checksum follows the end of the archive. Padding is bounded.
	if n, err := io.Copy(io.Discard, io.LimitReader(z, maxMetadataBytes)); err != nil ||
		n == maxMetadataBytes {
		return unpacked{}, pratique.Errorf(pratique.Invalid, op,
			"damaged after the end of the archive: %w", err)
	}
	return got, nil
}

func (k Kind) unpackFile(layer, dir string, maxBytes int64) (unpacked, error) {
	f, err := os.Open(layer)
	if err != nil {
		return unpacked{}, pratique.Wrap(pratique.Unavailable, k.op("unpack"), "", err)
	}
	defer func() { _ = f.Close() }() // only read
	return k.unpack(f, dir, maxBytes)
}

func (k Kind) untar(z io.Reader, dir string, maxBytes int64) (unpacked, error) {
	op := k.op("unpack")
	var got unpacked
	for files := tar.NewReader(z); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return unpacked{}, pratique.Wrap(pratique.Invalid, op, "", err)
		}
		name := path.Clean(h.Name)
		switch {
		case h.Typeflag == tar.TypeDir && name == ".":
		case h.Typeflag == tar.TypeReg && name == k.file && got.digest.IsZero():
			got.digest, err = k.write(files, filepath.Join(dir, k.file), h.Size, maxBytes)
		case h.Typeflag == tar.TypeReg && name == metadataFile && got.metadata == nil:
			got.metadata, err = k.readMetadata(files, h.Size)
		default:
			err = pratique.Errorf(pratique.Invalid, op, "unexpected file %.80q", h.Name)
		}
		if err != nil {
			return unpacked{}, err
		}
	}
	if got.digest.IsZero() || got.metadata == nil {
		return unpacked{}, pratique.Errorf(pratique.Invalid, op, "%s or %s is missing", k.file,
			metadataFile)
	}
	return got, nil
}

func (k Kind) write(r io.Reader, to string, size, maxBytes int64) (pratique.Digest, error) {
	op := k.op("unpack")
	if size > maxBytes {
		return pratique.Digest{}, pratique.Errorf(pratique.Exhausted, op,
			"%s of %d bytes, the limit is %d", k.file, size, maxBytes)
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return pratique.Digest{}, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	sum := sha256.New()
	disk := &errWriter{w: f}
	_, err = io.Copy(io.MultiWriter(disk, sum), r)
	if disk.err == nil && err != nil {
		_ = f.Close() // nothing of it is kept
		return pratique.Digest{}, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	if err := errors.Join(disk.err, f.Sync(), f.Close()); err != nil {
		return pratique.Digest{}, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	return pratique.DigestFromSum([sha256.Size]byte(sum.Sum(nil))), nil
}

func (k Kind) readMetadata(r io.Reader, size int64) ([]byte, error) {
	op := k.op("unpack")
	if size > maxMetadataBytes {
		return nil, pratique.Errorf(pratique.Exhausted, op, "%s of %d bytes, the limit is %d",
			metadataFile, size, maxMetadataBytes)
	}
	raw, err := io.ReadAll(r)
	return raw, pratique.Wrap(pratique.Invalid, op, "", err)
}

// errWriter keeps write errors, to tell them from read errors.
type errWriter struct {
	w   io.Writer
	err error
}

func (n *errWriter) Write(p []byte) (int, error) {
	written, err := n.w.Write(p)
	n.err = err
	return written, err
}
