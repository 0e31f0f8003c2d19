package layers

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/dircache"
)

// rulesVersion is the version of the checks that a layer has to pass. A layer that passed an
// earlier version is checked again.
const rulesVersion = 2

// layerRecord is stored beside a layer: the number of its headers, and the compressed forms that
// were verified.
type layerRecord struct {
	Rules    int          `json:"rules"`
	Entries  int64        `json:"entries"`
	Verified []compressed `json:"verified"`
}

// find returns the verified form that a descriptor names, nil if there is none.
func (r *layerRecord) find(want Descriptor) *compressed {
	form := compressed{Digest: want.Digest, MediaType: want.MediaType, Size: want.Size}
	if at := slices.IndexFunc(r.Verified, form.equal); at >= 0 {
		return &r.Verified[at]
	}
	return nil
}

type pinned = dircache.Pinned[*state]

func layerFile(diffID pratique.Digest) string { return diffID.Hex() + ".tar" }

func openDir(dir string, maxBytes int64) (*dircache.Dir[*state], error) {
	recordPath := func(key string) string { return filepath.Join(dir, key+".json") }
	return dircache.Open(dir, dircache.Options[*state]{
		MaxBytes: maxBytes,
		Key: func(file string) (string, bool) {
			key, ok := strings.CutSuffix(file, ".tar")
			_, err := pratique.ParseDigestHex(key)
			return key, ok && err == nil
		},
		Value:   func(key string) *state { return &state{layerRecord: readRecord(recordPath(key))} },
		Removed: func(key string) { _ = os.Remove(recordPath(key)) }, // otherwise the next start does it
	})
}

// readRecord reads the record of a layer. If it is missing or damaged, the layer is verified again.
func readRecord(path string) layerRecord {
	var r layerRecord
	raw, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(raw, &r) != nil || r.Rules != rulesVersion {
		return layerRecord{}
	}
	return r
}

func (s *Store) writeRecord(p *pinned) error {
	raw, err := json.Marshal(p.Value.layerRecord)
	if err != nil {
		return pratique.Wrap(pratique.Internal, "write layer record", "", err)
	}
	path := strings.TrimSuffix(p.Path, ".tar") + ".json"
	temp := filepath.Join(s.dir.TempDir(), filepath.Base(path))
	if err = os.WriteFile(temp, raw, 0o600); err == nil {
		err = os.Rename(temp, path)
	}
	return pratique.Wrap(pratique.Unavailable, "write layer record", "", err)
}

// removeOrphans deletes the records of layers that are gone.
func removeOrphans(dir string) error {
	items, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, item := range items {
		key, isRecord := strings.CutSuffix(item.Name(), ".json")
		if _, err := pratique.ParseDigestHex(key); !isRecord || err != nil {
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, key+".tar")); err == nil {
			continue
		}
		if err := os.Remove(filepath.Join(dir, item.Name())); err != nil {
			return err
		}
	}
	return nil
}

// reservingWriter reserves memory and disk for what it writes.
type reservingWriter struct {
	ctx      context.Context
	budget   *reservation
	dir      *dircache.Dir[*state]
	reserved int64 // on disk
	to       io.Writer
}

func (w *reservingWriter) Write(p []byte) (int, error) {
	n := int64(len(p))
	if err := w.budget.grow(w.ctx, n); err != nil {
		return 0, err
	}
	if w.reserved+n > w.dir.MaxBytes() {
		return 0, errExpands("the whole layer store's", w.dir.MaxBytes())
	}
	if err := w.dir.Reserve(n); errors.Is(err, dircache.ErrFull) {
		return 0, pratique.Errorf(pratique.Unavailable, opStore,
			"the layer store of %d bytes is full of layers in use: give it more room", w.dir.MaxBytes())
	} else if err != nil {
		return 0, pratique.Wrap(pratique.Unavailable, "make room for layer", "", err)
	}
	w.reserved += n
	written, err := w.to.Write(p)
	return written, pratique.Wrap(pratique.Unavailable, "write layer", "", err)
}
