package database

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// UpdateIfDue is [Store.Update], unless it is too early to ask again.
func (s *Store) UpdateIfDue(ctx context.Context) (changed bool, err error) {
	if s.cfg.StaticDir == "" && len(s.cfg.Sources) > 0 && s.Due().After(s.now()) {
		return false, nil
	}
	return s.Update(ctx)
}

// Update looks for a new database now and takes it. The sources are asked in turn until one answers with the
// database in use or a newer one; a source that is down, damaged or behind is passed over, and so is one that
// asked us to wait. If all fail, the error names what each of them did, and the last good generation stays in use.
func (s *Store) Update(ctx context.Context) (changed bool, err error) {
	s.updating.Lock()
	defer s.updating.Unlock()
	if s.cfg.StaticDir != "" {
		return s.updateStatic()
	}
	if len(s.cfg.Sources) == 0 {
		return false, pratique.Errorf(pratique.Invalid, s.cfg.Kind.op("update"), "no source is configured: name some under database.sources, or set database.offline: false; pratique db import takes a database from a file")
	}
	began := s.now().UTC()
	var before schedule
	if err := s.updateSchedule(func(p *schedule) {
		before = *p
		p.TriedAt, p.Failures = began, p.Failures+1
	}); err != nil {
		return false, pratique.Wrap(pratique.Unavailable, s.cfg.Kind.op("update"), "", err)
	}
	changed, err = s.updateOCI(ctx)
	noteErr := s.updateSchedule(func(p *schedule) {
		switch {
		case err == nil:
			p.LookedAt, p.Failures, p.Error = began, 0, ""
		case ctx.Err() != nil: // we were told to stop, which is no failure
			p.TriedAt, p.Failures = before.TriedAt, before.Failures
		default:
			p.Error = pratique.Excerpt(err.Error(), maxError)
		}
		s.last = err
	})
	if err == nil {
		err = pratique.Wrap(pratique.Unavailable, s.cfg.Kind.op("update"), "", noteErr)
	}
	return changed, err
}

func (s *Store) updateOCI(ctx context.Context) (bool, error) {
	var failures []error
	for _, source := range s.cfg.Sources {
		changed, err := s.trySource(ctx, source)
		if err == nil {
			return changed, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", source, err))
		if ctx.Err() != nil {
			break
		}
	}
	return false, s.joinFailures(failures)
}

// trySource updates from one source unless that asked us to wait, and hears if it does.
func (s *Store) trySource(ctx context.Context, source string) (bool, error) {
	s.mu.Lock()
	until := s.schedule.Waits[source]
	s.mu.Unlock()
	if now := s.now(); until.After(now) && until.Before(now.Add(maxWait+skew)) {
		return false, pratique.Errorf(pratique.RateLimited, s.cfg.Kind.op("look up"), "it asked us to come back at %s", until.Format(time.RFC3339))
	}
	s.retryAfter.reset()
	changed, err := s.updateFrom(ctx, source)
	until = s.retryAfter.reset()
	noteErr := s.updateSchedule(func(p *schedule) {
		waits := map[string]time.Time{}
		for _, known := range s.cfg.Sources {
			if at, ok := p.Waits[known]; ok && known != source {
				waits[known] = at
			}
		}
		if err != nil && !until.IsZero() {
			waits[source] = until
		}
		p.Waits = waits
	})
	if err == nil && noteErr != nil {
		return changed, pratique.Wrap(pratique.Unavailable, s.cfg.Kind.op("update"), "", noteErr)
	}
	return changed, err
}

// joinFailures makes one error of several. Its kind is theirs if they agree.
func (s *Store) joinFailures(failures []error) error {
	kind := pratique.KindOf(failures[0])
	texts := make([]string, len(failures))
	for i, err := range failures {
		texts[i] = err.Error()
		if pratique.KindOf(err) != kind {
			kind = pratique.Unavailable
		}
	}
	return &pratique.Error{Op: s.cfg.Kind.op("update"), Kind: kind, Err: errors.New(strings.Join(texts, "; "))}
}

func (s *Store) updateFrom(ctx context.Context, source string) (bool, error) {
	op := s.cfg.Kind.op("update")
	from, err := s.lookUp(ctx, source)
	if err != nil {
		return false, err
	}
	if old := s.inUse(); old != nil && slices.Contains(old.Manifests, from.manifest) {
		return false, nil
	}
	if err := s.rejected[from.manifest]; err != nil {
		return false, err
	}
	layer, err := from.layer(ctx, s.cfg.Kind, s.cfg.MaxBytes)
	if err != nil {
		return false, err
	}
	file, err := s.fetch(ctx, from, layer)
	if err != nil {
		return false, err
	}
	tmp, err := os.MkdirTemp(s.cfg.Dir, tempPrefix)
	if err != nil {
		return false, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // what is left of it goes at the next start
	got, err := s.cfg.Kind.unpackFile(file, tmp, s.cfg.MaxBytes)
	changed := false
	if err == nil {
		changed, err = s.install(tmp, got, origin{source: source, manifests: []pratique.Digest{from.manifest}})
	}
	if k := pratique.KindOf(err); k == pratique.Invalid || k == pratique.Stale {
		// The bytes are what the source means to give; asking again gives the same.
		s.rejected[from.manifest] = err
	}
	if pratique.KindOf(err) != pratique.Unavailable {
		// Otherwise this machine was in the way, for example a full disk, and the bytes are good.
		_ = os.Remove(file) // or the next download does it
	}
	return changed, err
}

// origin is where a database comes from. force takes one that is older than that in use.
type origin struct {
	source    string
	manifests []pratique.Digest
	force     bool
}

// install checks what was unpacked in tmp and makes it the current generation.
func (s *Store) install(tmp string, got unpacked, from origin) (bool, error) {
	op := s.cfg.Kind.op("update")
	now := s.now().UTC()
	meta, err := s.cfg.Kind.parseMetadata(got.metadata, now)
	if err != nil {
		return false, err
	}
	if err := s.cfg.Kind.inspect(filepath.Join(tmp, s.cfg.Kind.file)); err != nil {
		return false, err
	}
	if old := s.inUse(); old != nil {
		if old.Database.Digest == got.digest {
			return false, pratique.Wrap(pratique.Unavailable, op, "", s.addManifests(from.manifests, meta))
		}
		if meta.UpdatedAt.Before(old.Database.UpdatedAt) && !from.force {
			return false, pratique.Errorf(pratique.Stale, op, "it is older than the one in use: built %s, in use %s", meta.UpdatedAt.UTC().Format(time.RFC3339), old.Database.UpdatedAt.UTC().Format(time.RFC3339))
		}
	}
	meta.DownloadedAt = now
	g := stored{
		Database: pratique.Database{Digest: got.digest, Version: meta.Version, UpdatedAt: meta.UpdatedAt.UTC(),
			NextUpdate: meta.NextUpdate.UTC(), DownloadedAt: now, Source: from.source},
		Manifests: from.manifests,
	}
	if err := s.commit(tmp, g, meta); err != nil {
		return false, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	return true, nil
}

// maxError bounds what is written down of an error, in bytes.
const maxError = 2000
