package database

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"

	"github.com/pratique-dev/pratique"
)

// staged is a database that was read from a file into a directory of ours.
type staged struct {
	source    string
	manifests []pratique.Digest
}

// importFile imports a database from a file or a directory, with the same checks as a download.
func (s *Store) importFile(w Request) (bool, error) {
	op := s.cfg.Kind.op("import")
	if s.cfg.StaticDir != "" {
		return false, pratique.Errorf(pratique.Invalid, op,
			"database.dir is updated by somebody else: %s", s.cfg.StaticDir)
	}
	tmp, err := os.MkdirTemp(s.cfg.Dir, tempPrefix)
	if err != nil {
		return false, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // leftovers are removed at the next start
	from, err := s.cfg.Kind.stage(w.File, w.Ref, tmp, s.cfg.MaxBytes, s.now())
	if err != nil {
		return false, err
	}
	return s.installStaged(tmp, from, w.Force)
}

// installStaged makes a staged database the current generation. It repeats the checks, which
// another process may have made.
func (s *Store) installStaged(dir string, from staged, force bool) (bool, error) {
	s.updating.Lock()
	defer s.updating.Unlock()
	op := s.cfg.Kind.op("import")
	digest, err := hashFile(filepath.Join(dir, s.cfg.Kind.file))
	if err != nil {
		return false, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, metadataFile))
	if err != nil {
		return false, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	return s.install(dir, unpacked{digest: digest, metadata: raw},
		origin{source: from.source, manifests: from.manifests, force: force})
}

// stage reads the database of a file or a directory into dir, and checks it as far as possible
// without the current one.
func (k Kind) stage(file, ref, dir string, maxBytes int64, now time.Time) (staged, error) {
	op := k.op("import")
	abs, err := filepath.Abs(file)
	if err != nil {
		return staged{}, pratique.Wrap(pratique.Invalid, op, file, err)
	}
	info, err := os.Stat(abs)
	if err != nil {
		return staged{}, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	s := staged{source: abs}
	var got unpacked
	switch {
	case info.IsDir() && fileExists(filepath.Join(abs, "index.json")):
		got, s.manifests, err = k.fromLayout(os.DirFS(abs), ref, dir, maxBytes)
	case info.IsDir():
		got, err = k.fromDirectory(abs, dir, maxBytes)
	default:
		got, s.manifests, err = k.fromFile(abs, ref, dir, maxBytes)
	}
	if err != nil {
		return staged{}, err
	}
	if _, err := k.parseMetadata(got.metadata, now); err != nil {
		return staged{}, err
	}
	if err := k.inspect(filepath.Join(dir, k.file)); err != nil {
		return staged{}, err
	}
	return s, pratique.Wrap(pratique.Unavailable, op, "",
		writeSynced(filepath.Join(dir, metadataFile), got.metadata))
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// fromDirectory copies the two files, as in Trivy's own cache.
func (k Kind) fromDirectory(from, dir string, maxBytes int64) (got unpacked, err error) {
	for _, name := range []string{metadataFile, k.file} {
		f, err := os.Open(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			return got, pratique.Errorf(pratique.Invalid, k.op("import"),
				"%s holds neither an OCI layout nor %s and %s", from, k.file, metadataFile)
		}
		if err != nil {
			return got, pratique.Wrap(pratique.Unavailable, k.op("import"), "", err)
		}
		info, err := f.Stat()
		switch {
		case err != nil:
		case name == metadataFile:
			got.metadata, err = k.readMetadata(f, info.Size())
		default:
			got.digest, err = k.write(f, filepath.Join(dir, k.file), info.Size(), maxBytes)
		}
		_ = f.Close() // only read
		if err != nil {
			return got, err
		}
	}
	return got, nil
}

// fromFile reads a layer, or a tar file of an OCI layout.
func (k Kind) fromFile(file, ref, dir string, maxBytes int64) (unpacked, []pratique.Digest, error) {
	got, layerErr := k.unpackFile(file, dir, maxBytes)
	if layerErr == nil {
		return got, nil, nil
	}
	if err := os.RemoveAll(filepath.Join(dir, k.file)); err != nil {
		return unpacked{}, nil, pratique.Wrap(pratique.Unavailable, k.op("import"), "", err)
	}
	layout := filepath.Join(dir, "layout")
	found, err := untarLayout(file, layout, maxBytes)
	if err != nil || !found {
		return unpacked{}, nil, &pratique.Error{Op: k.op("import"), Subject: file,
			Kind: pratique.KindOf(layerErr),
			Err: fmt.Errorf("neither a layer with %s (.tar.gz) nor a tar file of an OCI layout: %w",
				k.file, layerErr)}
	}
	got, manifests, err := k.fromLayout(os.DirFS(layout), ref, dir, maxBytes)
	return got, manifests, errors.Join(err, os.RemoveAll(layout))
}

// untarLayout unpacks only the files of an OCI layout, and reports whether there was an index.
func untarLayout(file, dir string, maxBytes int64) (found bool, err error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // only read
	var in io.Reader = bufio.NewReader(f)
	if magic, err := in.(*bufio.Reader).Peek(2); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		if in, err = gzip.NewReader(in); err != nil {
			return false, err
		}
	}
	files := tar.NewReader(io.LimitReader(in, maxBytes))
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return false, err
		}
		name := path.Clean(h.Name)
		_, hexErr := pratique.ParseDigestHex(path.Base(name))
		if h.Typeflag != tar.TypeReg ||
			(name != "index.json" && (path.Dir(name) != "blobs/sha256" || hexErr != nil)) {
			continue
		}
		to := filepath.Join(dir, filepath.FromSlash(name)) // checked above, so it stays below dir
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return false, err
		}
		out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return false, err
		}
		_, err = io.Copy(out, files) //nolint:gosec // bounded above
		if err := errors.Join(err, out.Close()); err != nil {
			return false, err
		}
		found = found || name == "index.json"
	}
}

const refName = "org.opencontainers.image.ref.name"

// fromLayout unpacks the database of an OCI layout. It checks every digest.
func (k Kind) fromLayout(layout fs.FS, ref, dir string,
	maxBytes int64) (unpacked, []pratique.Digest, error) {
	op := k.op("import")
	raw, err := readBounded(layout, "index.json")
	if err != nil {
		return unpacked{}, nil, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return unpacked{}, nil, pratique.Errorf(pratique.Invalid, op, "index.json: %w", err)
	}
	var wanted []v1.Descriptor
	var names []string
	for _, d := range index.Manifests {
		names = append(names, d.Annotations[refName])
		if ref == "" || d.Annotations[refName] == ref {
			wanted = append(wanted, d)
		}
	}
	if len(wanted) != 1 {
		return unpacked{}, nil, pratique.Errorf(pratique.Invalid, op,
			"choose one of its %d artifacts with --ref: %s", len(names), strings.Join(names, ", "))
	}
	manifest, err := readBounded(layout, "blobs/sha256/"+wanted[0].Digest.Hex)
	if err != nil {
		return unpacked{}, nil, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	digest := pratique.DigestOf(manifest)
	if digest.String() != wanted[0].Digest.String() {
		return unpacked{}, nil, pratique.Errorf(pratique.Corrupt, op,
			"the manifest has digest %s, want %s", digest, wanted[0].Digest)
	}
	layer, err := k.layer(manifest, maxBytes)
	if err != nil {
		return unpacked{}, nil, err
	}
	got, err := k.fromBlob(layout, layer, dir, maxBytes)
	return got, []pratique.Digest{digest}, err
}

// fromBlob checks a layer's digest before it unpacks it.
func (k Kind) fromBlob(layout fs.FS, d v1.Descriptor, dir string, maxBytes int64) (unpacked, error) {
	op := k.op("import")
	f, err := layout.Open("blobs/sha256/" + d.Digest.Hex)
	if err != nil {
		return unpacked{}, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	defer func() { _ = f.Close() }() // only read
	sum, n, err := v1.SHA256(f)
	if err != nil {
		return unpacked{}, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	if sum != d.Digest || n != d.Size {
		return unpacked{}, pratique.Errorf(pratique.Corrupt, op,
			"a layer of %d bytes with digest %s, want %d with %s", n, sum, d.Size, d.Digest)
	}
	again, err := layout.Open("blobs/sha256/" + d.Digest.Hex)
	if err != nil {
		return unpacked{}, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	defer func() { _ = again.Close() }() // only read
	return k.unpack(again, dir, maxBytes)
}

// readBounded reads a small file of a layout.
func readBounded(layout fs.FS, name string) ([]byte, error) {
	const most = 4 << 20
	f, err := layout.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	raw, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(raw) > most {
		err = fmt.Errorf("%s is longer than %d bytes", name, most)
	}
	return raw, err
}
