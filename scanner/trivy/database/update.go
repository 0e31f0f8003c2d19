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

// UpdateIfDue is [Store.Update], unless that is not due yet.
func (s *Store) UpdateIfDue(ctx context.Context) (changed bool, err error) {
	if s.cfg.StaticDir == "" && len(s.cfg.Sources) > 0 && s.Due().After(s.now()) {
		return false, nil
	}
	return s.Update(ctx)
}

// Update checks for a new database and installs it. The sources are asked in turn until one has the
// current database or a newer one; sources that are down, damaged, outdated or asked us to wait are
// skipped. If all fail, the error has the failure of each, and the last good generation stays in
// use.
func (s *Store) Update(ctx context.Context) (changed bool, err error) {
	s.updating.Lock()
	defer s.updating.Unlock()
	if s.cfg.StaticDir != "" {
		return s.updateStatic()
	}
	if len(s.cfg.Sources) == 0 {
		return false, pratique.Errorf(pratique.Invalid, s.cfg.Kind.op("update"),
			"no source is configured: name some under database.sources, or set database.offline: false; pratique db import takes a database from a file")
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
		case ctx.Err() != nil: // canceled, which is no failure
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

// trySource updates from one source, unless that asked us to wait, and records whether it does.
func (s *Store) trySource(ctx context.Context, source string) (bool, error) {
	s.mu.Lock()
	until := s.schedule.Waits[source]
	s.mu.Unlock()
	if now := s.now(); until.After(now) && until.Before(now.Add(maxWait+skew)) {
		return false, pratique.Errorf(pratique.RateLimited, s.cfg.Kind.op("look up"),
			"it asked us to wait until %s", until.Format(time.RFC3339))
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

// joinFailures makes one error of several. Its kind is theirs if they have the same.
func (s *Store) joinFailures(failures []error) error {
	kind := pratique.KindOf(failures[0])
	texts := make([]string, len(failures))
	for i, err := range failures {
		texts[i] = err.Error()
		if pratique.KindOf(err) != kind {
			kind = pratique.Unavailable
		}
	}
	return &pratique.Error{Op: s.cfg.Kind.op("update"), Kind: kind,
		Err: errors.New(strings.Join(texts, "; "))}
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
		changed, err = s.install(tmp, got,
			origin{source: source, manifests: []pratique.Digest{from.manifest}})
	}
	if k := pratique.KindOf(err); k == pratique.Invalid || k == pratique.Stale {
		// The source really has these bytes; another download would give the same.
		s.rejected[from.manifest] = err
	}
	if pratique.KindOf(err) != pratique.Unavailable {
		// Unavailable is a problem of this machine, for example a full disk, and the download is
		// good.
		_ = os.Remove(file) // otherwise the next download does it
	}
	return changed, err
}

// origin is where a database comes from. force accepts an older one than the current one.
type origin struct {
	source    string
	manifests []pratique.Digest
	force     bool
}

// install checks what was unpacked into tmp and makes it the current generation.
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
			return false, pratique.Wrap(pratique.Unavailable, op, "",
				s.addManifests(from.manifests, meta))
		}
		if meta.UpdatedAt.Before(old.Database.UpdatedAt) && !from.force {
			return false, pratique.Errorf(pratique.Stale, op,
				"it is older than the one in use: built %s, in use %s",
				meta.UpdatedAt.UTC().Format(time.RFC3339),
				old.Database.UpdatedAt.UTC().Format(time.RFC3339))
		}
	}
	meta.DownloadedAt = now
	g := stored{
		Database: pratique.Database{Digest: got.digest, Version: meta.Version,
			UpdatedAt:  meta.UpdatedAt.UTC(),
			NextUpdate: meta.NextUpdate.UTC(), DownloadedAt: now, Source: from.source},
		Manifests: from.manifests,
	}
	if err := s.commit(tmp, g, meta); err != nil {
		return false, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	return true, nil
}

// maxError bounds an error that is stored, in bytes.
const maxError = 2000
