package database

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pratique-dev/pratique"
)

// static is the database in the static directory, and the state of the files when it was read.
type static struct {
	files      [2]fileState
	generation Generation
}

// fileState is the size and time of a file; when it changes, the file is read again.
type fileState struct {
	size     int64
	modified time.Time
}

func (s *Store) currentStatic() (Generation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.readStatic()
}

func (s *Store) updateStatic() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.static.generation.Digest
	now, err := s.readStatic()
	return err == nil && now.Digest != before, err
}

// readStatic hashes the files if their state changed. The mutex is held, so that concurrent callers
// share the result.
func (s *Store) readStatic() (Generation, error) {
	dir := s.cfg.StaticDir
	before, err := s.statFiles(dir)
	if err != nil {
		return Generation{}, s.staticError(err)
	}
	if !s.static.generation.Digest.IsZero() && before == s.static.files {
		return s.static.generation, nil
	}
	raw, err := os.ReadFile(filepath.Join(dir, metadataFile))
	if err != nil {
		return Generation{}, s.staticError(err)
	}
	digest, err := hashFile(filepath.Join(dir, s.cfg.Kind.file))
	if err != nil {
		return Generation{}, s.staticError(err)
	}
	meta, err := s.cfg.Kind.parseMetadata(raw, s.now())
	if err == nil {
		err = s.cfg.Kind.inspect(filepath.Join(dir, s.cfg.Kind.file))
	}
	after, lookErr := s.statFiles(dir)
	if lookErr != nil || after != before {
		return Generation{}, s.staticError(errors.New("the files are being replaced"))
	}
	if err != nil {
		// Not Invalid: the files may be replaced, and then the work should continue.
		return Generation{}, s.staticError(err)
	}
	s.static = static{files: before, generation: Generation{Dir: dir, Database: pratique.Database{
		Digest: digest, Version: meta.Version, UpdatedAt: meta.UpdatedAt.UTC(),
		NextUpdate:   meta.NextUpdate.UTC(),
		DownloadedAt: meta.DownloadedAt.UTC(), Source: dir,
	}}}
	return s.static.generation, nil
}

func (s *Store) staticError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return pratique.Errorf(pratique.Unavailable, s.cfg.Kind.op("open"),
			"%w: put %s and %s there", err, s.cfg.Kind.file, metadataFile)
	}
	return pratique.Wrap(pratique.Unavailable, s.cfg.Kind.op("open"), s.cfg.StaticDir, err)
}

func (s *Store) statFiles(dir string) (both [2]fileState, err error) {
	for i, name := range []string{s.cfg.Kind.file, metadataFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return both, err
		}
		both[i] = fileState{size: info.Size(), modified: info.ModTime()}
	}
	return both, nil
}
