package analysiscache

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
)

// tempDir holds the files that are being written.
const tempDir = "tmp"

func (k Key) name() name { return sha256.Sum256([]byte(k.Layer.String() + "\n" + k.Fingerprint)) }

// path has the key's hash and the content's, so that one rename brings a whole entry.
func (s *Store) path(n name, content pratique.Digest) string {
	return filepath.Join(s.dir, hex.EncodeToString(n[:])+"-"+content.Hex())
}

// parse reads the name of a file; ok is false for files that are not ours.
func parse(file string) (n name, content pratique.Digest, ok bool) {
	key, sum, _ := strings.Cut(file, "-")
	raw, err := hex.DecodeString(key)
	if err != nil || len(raw) != len(n) || strings.ToLower(key) != key {
		return n, content, false
	}
	content, err = pratique.ParseDigestHex(sum)
	return name(raw), content, err == nil
}

// load removes leftovers and lists the entries that are there, oldest first.
func (s *Store) load() error {
	tmp := filepath.Join(s.dir, tempDir)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	listed, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	for _, item := range listed {
		info, err := item.Info()
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), strings.Compare(a.Name(), b.Name()))
	})
	for _, info := range files {
		n, content, ok := parse(info.Name())
		if !ok {
			continue // not ours, leave it
		}
		if e := s.entries[n]; e != nil { // a damaged one could not be removed when it was made again
			if err := s.remove(n, e); err != nil {
				return err
			}
		}
		s.uses++
		e := &entry{content: content, size: diskSize(info.Size()), lastUse: s.uses}
		s.entries[n], s.used = e, s.used+e.size
	}
	s.reserve(0) // the store may have been larger before
	return nil
}
