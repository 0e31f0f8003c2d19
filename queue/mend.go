package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// A power cut between a write and its sync may leave a block file that is longer but has zeros at its end. The
// server compares the last eight bytes of the last block, which are the checksum of its last record, with those in
// the stream's index to see whether the index is of today, and an index that was written while the block was empty
// has zeros there: the server then takes the stream for empty, with whatever it had acknowledged since. Without the
// index it reads the blocks.
const (
	blockFiles   = "jetstream/*/streams/*/msgs/*.blk"
	indexFile    = "index.db"
	checksumSize = 8
)

// mendIndexes removes the index of every stream with a block that ends in zeros. dir is the directory of a server
// that does not run.
func mendIndexes(dir string) error {
	blocks, err := fs.Glob(os.DirFS(dir), blockFiles)
	if err != nil {
		return err
	}
	for _, block := range blocks {
		zeros, err := endsInZeros(filepath.Join(dir, block))
		if err != nil {
			return fmt.Errorf("read end of block: %w", err)
		}
		if !zeros {
			continue
		}
		if err := os.Remove(filepath.Join(dir, path.Dir(block), indexFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// endsInZeros reports whether a file has the length of a checksum at least and zeros in its place.
func endsInZeros(name string) (bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size < checksumSize {
		return false, err
	}
	var end [checksumSize]byte
	if _, err := f.ReadAt(end[:], size-checksumSize); err != nil {
		return false, err
	}
	return end == [checksumSize]byte{}, nil
}
