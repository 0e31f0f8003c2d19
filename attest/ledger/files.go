package ledger

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/durable"
)

// files keeps documents in a directory, synced. A rescan writes thousands; what a bucket's driver
// does around each costs more than the file.
type files struct {
	dir string
	// named are the directories of blobs whose own names are known to be durable.
	named sync.Map
}

func openFiles(dir string) (Bucket, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	return &files{dir: dir}, err
}

func (f *files) Close() error { return nil }

func (f *files) path(d pratique.Digest) string {
	return filepath.Join(f.dir, filepath.FromSlash(key(d)))
}

// Read implements [Bucket].
func (f *files) Read(ctx context.Context, d pratique.Digest, most int64) ([]byte, error) {
	packed, err := read(ctx, f.path(d), most)
	return packed, fileError("read file", err)
}

func read(ctx context.Context, path string, most int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, tooLarge(info.Size(), most)
	}
	packed := make([]byte, info.Size())
	_, err = io.ReadFull(file, packed)
	return packed, err
}

// Write implements [Bucket].
func (f *files) Write(ctx context.Context, d pratique.Digest, packed []byte) error {
	return fileError("write file", write(ctx, f.path(d), packed))
}

func write(ctx context.Context, path string, packed []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// Beside the blob: a rename from another file system would fail.
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			file, err = os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
		}
	}
	if err != nil {
		return err
	}
	_, err = file.Write(packed)
	if err == nil {
		err = file.Sync() // before the rename, or a power cut leaves the name without the bytes
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// fileError gives an error its kind. A file system tells little: nearly everything may pass.
func fileError(op string, err error) error {
	switch {
	case pratique.KindOf(err) != pratique.Unknown:
		return err
	case errors.Is(err, fs.ErrNotExist):
		return pratique.Wrap(pratique.NotFound, op, "", err)
	}
	return pratique.Wrap(pratique.Unavailable, op, "", err)
}

// Persist implements [Bucket]. It syncs the names of a blob and of its directories. Directories are
// never deleted, so those of a directory are synced once.
func (f *files) Persist(_ context.Context, d pratique.Digest) error {
	leaf := filepath.Dir(f.path(d))
	dirs := []string{leaf}
	_, named := f.named.Load(leaf)
	if !named {
		dirs = append(dirs, filepath.Dir(leaf), f.dir)
	}
	for _, dir := range dirs {
		if err := durable.SyncDir(dir); err != nil {
			return fileError("sync directory", err)
		}
	}
	if !named {
		f.named.Store(leaf, nil)
	}
	return nil
}
