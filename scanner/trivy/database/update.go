package database

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
)

// Update looks for a new database and takes it. The sources are asked in turn until one answers with the
// database in use or a newer one; a source that is down, damaged or behind is passed over. If all fail, the
// error names what each of them did, and the last good generation stays in use.
func (s *Store) Update(ctx context.Context) (changed bool, err error) {
	s.updating.Lock()
	defer s.updating.Unlock()
	if s.cfg.StaticDir != "" {
		return s.updateStatic()
	}
	changed, err = s.updateOCI(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = err
	return changed, err
}

func (s *Store) updateOCI(ctx context.Context) (bool, error) {
	if len(s.cfg.Sources) == 0 {
		return false, pratique.Errorf(pratique.Invalid, opUpdate, "no source is configured")
	}
	var failures []error
	for _, source := range s.cfg.Sources {
		changed, err := s.updateFrom(ctx, source)
		if err == nil {
			return changed, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", source, err))
		if ctx.Err() != nil {
			break
		}
	}
	return false, together(failures)
}

// together makes one error of several. Its kind is theirs if they agree.
func together(failures []error) error {
	kind := pratique.KindOf(failures[0])
	texts := make([]string, len(failures))
	for i, err := range failures {
		texts[i] = err.Error()
		if pratique.KindOf(err) != kind {
			kind = pratique.Unavailable
		}
	}
	return &pratique.Error{Op: opUpdate, Kind: kind, Err: errors.New(strings.Join(texts, "; "))}
}

func (s *Store) updateFrom(ctx context.Context, source string) (bool, error) {
	from, err := s.find(ctx, source)
	if err != nil {
		return false, err
	}
	old := s.peek()
	if old != nil && slices.Contains(old.Manifests, from.manifest) {
		return false, nil
	}
	if err := s.rejected[from.manifest]; err != nil {
		return false, err
	}
	layer, err := from.layer(ctx, s.cfg.MaxBytes)
	if err != nil {
		return false, err
	}
	tmp, err := os.MkdirTemp(s.cfg.Dir, tempPrefix)
	if err != nil {
		return false, pratique.Wrap(pratique.Unavailable, opUpdate, "", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // what is left of it goes at the next start
	got, err := from.download(ctx, layer, tmp, s.cfg.MaxBytes)
	changed := false
	if err == nil {
		changed, err = s.take(tmp, got, from)
	}
	if k := pratique.KindOf(err); k == pratique.Invalid || k == pratique.Stale {
		// The bytes are what the source means to give; asking again gives the same.
		s.rejected[from.manifest] = err
	}
	return changed, err
}

// take checks what was downloaded and makes it the current generation.
func (s *Store) take(tmp string, got unpacked, from artifact) (bool, error) {
	now := s.now().UTC()
	meta, err := parseMetadata(got.metadata, now)
	if err != nil {
		return false, err
	}
	if err := inspect(filepath.Join(tmp, databaseFile)); err != nil {
		return false, err
	}
	if old := s.peek(); old != nil {
		if old.Database.Digest == got.digest {
			return false, pratique.Wrap(pratique.Unavailable, opUpdate, "", s.also(from.manifest))
		}
		if meta.UpdatedAt.Before(old.Database.UpdatedAt) {
			return false, pratique.Errorf(pratique.Stale, opUpdate, "built at %s, the one in use at %s", meta.UpdatedAt, old.Database.UpdatedAt)
		}
	}
	meta.DownloadedAt = now
	g := stored{
		Database: pratique.Database{Digest: got.digest, Version: meta.Version, UpdatedAt: meta.UpdatedAt.UTC(),
			NextUpdate: meta.NextUpdate.UTC(), DownloadedAt: now, Source: from.source},
		Manifests: []pratique.Digest{from.manifest},
	}
	if err := s.commit(tmp, g, meta); err != nil {
		return false, pratique.Wrap(pratique.Unavailable, opUpdate, "", err)
	}
	return true, nil
}
