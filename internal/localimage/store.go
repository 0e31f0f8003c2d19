package localimage

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/contextio"
)

// store has the blobs of an image file, by digest.
type store struct {
	manifests []descriptor
	// dir is a layout's directory; archive is a tar file, with its entries.
	dir     string
	archive *os.File
	entries map[string]section
	blobs   map[pratique.ContentID]section
	made    map[pratique.ContentID][]byte // documents that are not in the file
	temp    string                        // a file to be removed
}

// section is a file in the archive.
type section struct{ offset, size int64 }

// maxEntries bounds the files of an archive. An image has a few for each layer.
const maxEntries = 100_000

func openStore(ctx context.Context, file, tempDir string, limits Limits) (*store, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	s := &store{entries: map[string]section{}, blobs: map[pratique.ContentID]section{},
		made: map[pratique.ContentID][]byte{}}
	if info.IsDir() {
		s.dir = file
		err = s.index()
	} else if err = s.openArchive(ctx, file, tempDir, limits); err == nil {
		if _, layout := s.entries["index.json"]; layout {
			err = s.index()
		} else {
			err = s.dockerSave()
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *store) close() error {
	var err error
	if s.archive != nil {
		err = s.archive.Close()
	}
	if s.temp != "" {
		err = errors.Join(err, os.Remove(s.temp))
	}
	return err
}

// openArchive records the offsets of the files in a tar file. A compressed one is unpacked first.
func (s *store) openArchive(ctx context.Context, file, tempDir string, limits Limits) (err error) {
	if s.archive, err = os.Open(file); err != nil {
		return err
	}
	magic := make([]byte, 2)
	if _, err := s.archive.ReadAt(magic, 0); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		if err := s.inflate(ctx, tempDir, limits); err != nil {
			return err
		}
	}
	files := tar.NewReader(s.archive)
	links := map[string]string{}
	for n := 0; ; n++ {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && n == maxEntries {
			err = pratique.Errorf(pratique.Exhausted, op, "more than %d files", maxEntries)
		}
		if err != nil {
			return fmt.Errorf("not an image: %w", err)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			offset, err := s.archive.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			s.entries[name] = section{offset, h.Size}
		case tar.TypeSymlink: // old docker save: a layer that another image has, too
			links[name] = path.Join(path.Dir(name), h.Linkname) //nolint:gosec // a key of a map, and no path
		}
	}
	for from, to := range links {
		if there, ok := s.entries[to]; ok {
			s.entries[from] = there
		}
	}
	return nil
}

// inflate unpacks the archive into a file of its own, which may be as large as all layers, but no
// larger: nothing of the archive has been checked yet.
func (s *store) inflate(ctx context.Context, tempDir string, limits Limits) error {
	info, err := s.archive.Stat()
	if err != nil {
		return err
	}
	most, why := limits.most(info.Size())
	z, err := gzip.NewReader(s.archive)
	if err != nil {
		return err
	}
	out, err := os.CreateTemp(tempDir, "image-*.tar")
	if err != nil {
		return err
	}
	s.temp = out.Name()
	n, err := io.Copy(out, io.LimitReader(contextio.NewReader(ctx, z), most+1))
	if err == nil && n > most {
		err = pratique.Errorf(pratique.Exhausted, op, "it unpacks to more than %d bytes, %s", most, why)
	}
	if _, seekErr := out.Seek(0, io.SeekStart); err == nil {
		err = seekErr
	}
	err = errors.Join(err, s.archive.Close())
	s.archive = out
	return err
}

// index reads the index of a layout.
func (s *store) index() error {
	r, err := s.file("index.json")
	if err != nil {
		return fmt.Errorf("not an OCI layout: %w", err)
	}
	defer func() { _ = r.Close() }() // only read
	raw, err := readAll(r)
	if err != nil {
		return err
	}
	var index struct {
		Manifests []descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return fmt.Errorf("index.json: %w", err)
	}
	s.manifests = index.Manifests
	return nil
}

// dockerSave makes the manifests, which the format of docker save does not have.
func (s *store) dockerSave() error {
	r, err := s.file("manifest.json")
	if err != nil {
		return errors.New("neither an OCI layout nor what docker save writes: it has no index.json and no manifest.json")
	}
	defer func() { _ = r.Close() }() // only read
	raw, err := readAll(r)
	if err != nil {
		return err
	}
	var images []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(raw, &images); err != nil {
		return fmt.Errorf("manifest.json: %w", err)
	}
	for _, image := range images {
		config, err := s.blob(image.Config, "application/vnd.oci.image.config.v1+json")
		if err != nil {
			return err
		}
		layers := []descriptor{}
		for _, name := range image.Layers {
			layer, err := s.blob(name, "application/vnd.oci.image.layer.v1.tar")
			if err != nil {
				return err
			}
			layers = append(layers, layer)
		}
		manifest, err := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": pratique.TypeOCIManifest, "config": config, "layers": layers,
		})
		if err != nil {
			return err
		}
		d := descriptor{MediaType: pratique.TypeOCIManifest,
			Digest: pratique.DigestOf(manifest).ContentID(), Size: int64(len(manifest))}
		s.made[d.Digest] = manifest
		if len(image.RepoTags) > 0 {
			d.Annotations = map[string]string{refName: image.RepoTags[0]}
		}
		s.manifests = append(s.manifests, d)
	}
	return nil
}

// blob hashes a file of the archive and adds it as a blob.
func (s *store) blob(name, mediaType string) (descriptor, error) {
	at, ok := s.entries[path.Clean(name)]
	if !ok {
		return descriptor{}, fmt.Errorf("manifest.json names %.200q, which is not there", name)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(s.archive, at.offset, at.size)); err != nil {
		return descriptor{}, err
	}
	d := descriptor{MediaType: mediaType,
		Digest: pratique.DigestFromSum([sha256.Size]byte(sum.Sum(nil))).ContentID(), Size: at.size}
	magic := make([]byte, 2)
	if n, _ := s.archive.ReadAt(magic, at.offset); n == 2 &&
		bytes.Equal(magic, []byte{0x1f, 0x8b}) && strings.HasSuffix(mediaType, ".tar") {
		d.MediaType += "+gzip"
	}
	s.blobs[d.Digest] = at
	return d, nil
}

// open opens a blob, whose digest has not been checked.
func (s *store) open(d pratique.ContentID) (io.ReadCloser, int64, error) {
	if raw, ok := s.made[d]; ok {
		return io.NopCloser(bytes.NewReader(raw)), int64(len(raw)), nil
	}
	if at, ok := s.blobs[d]; ok {
		return io.NopCloser(io.NewSectionReader(s.archive, at.offset, at.size)), at.size, nil
	}
	name := "blobs/" + strings.Replace(d.String(), ":", "/", 1)
	if s.dir == "" {
		at, ok := s.entries[name]
		if !ok {
			return nil, 0, os.ErrNotExist
		}
		return io.NopCloser(io.NewSectionReader(s.archive, at.offset, at.size)), at.size, nil
	}
	f, err := os.Open(filepath.Join(s.dir, filepath.FromSlash(name))) //nolint:gosec // the name is a digest, parsed
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = os.ErrNotExist
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func (s *store) read(d pratique.ContentID) ([]byte, error) {
	r, _, err := s.open(d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // only read
	return readAll(r)
}

// file opens a file by its name.
func (s *store) file(name string) (io.ReadCloser, error) {
	if s.dir != "" {
		return os.Open(filepath.Join(s.dir, name))
	}
	at, ok := s.entries[name]
	if !ok {
		return nil, os.ErrNotExist
	}
	return io.NopCloser(io.NewSectionReader(s.archive, at.offset, at.size)), nil
}
