package scan

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/display"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/trivy/database"
)

// openDatabase chooses the vulnerability database.
func (s *localScan) openDatabase(ctx context.Context) error {
	conf := s.flags.conf
	cfg := settings.Database(conf, settings.Below(conf.DataDir))
	if s.flags.databaseDir != "" {
		cfg.StaticDir = s.flags.databaseDir
	}
	if cfg.StaticDir != "" {
		store, err := database.Open(cfg, time.Now)
		if err != nil {
			return err
		}
		s.closers = append(s.closers, store.Close)
		g, err := store.Current()
		s.database = scanner.DatabaseDir{Database: g.Database, Dir: g.Dir}
		return err
	}
	g, release, err := database.Borrow(cfg)
	if err != nil {
		if s.flags.config != "" && conf.Database.Offline {
			return err
		}
		g, release, err = s.cachedDatabase(ctx, cfg)
	}
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { release(); return nil })
	s.database = scanner.DatabaseDir{Database: g.Database, Dir: g.Dir}
	return nil
}

// cachedDatabase is that in the user's cache, brought up to date if that is due. Another scan may
// be doing so.
func (s *localScan) cachedDatabase(ctx context.Context, cfg database.Config) (database.Generation,
	func(), error) {
	cfg.Dir, cfg.Progress = filepath.Join(s.flags.cacheDir, settings.DatabaseFolder), s.progress.Bytes
	for {
		g, release, err := database.Borrow(cfg)
		have := err == nil
		status, _ := database.ReadStatus(cfg, time.Now()) // without one it is due
		if s.flags.offline || (have && status.Due.After(time.Now())) {
			return g, release, err
		}
		store, openErr := database.Open(cfg, time.Now)
		switch {
		case openErr == nil:
			s.progress.Step("looking for a new vulnerability database")
			update := store.UpdateIfDue
			if !have {
				update = store.Update
			}
			_, err = update(ctx)
			if err = errors.Join(err, store.Close()); err != nil && have && ctx.Err() == nil {
				s.progress.Step("there is no new one: " + display.Line(err.Error()))
				err = nil // the age of the old one is in the report
			}
			release()
			if err != nil {
				return g, func() {}, err
			}
			return database.Borrow(cfg)
		case have:
			return g, release, nil
		case !errors.Is(openErr, database.ErrInUse):
			return g, release, openErr
		}
		select {
		case <-ctx.Done():
			return g, release, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// openJava is the machine's Java database, if the configuration uses one.
func (s *localScan) openJava() (current func() (scanner.DatabaseDir, error), dir string, err error) {
	cfg, used := settings.Java(s.flags.conf, settings.Below(s.flags.conf.DataDir))
	if !used {
		return nil, "", nil
	}
	g, release, err := database.Borrow(cfg)
	if err != nil {
		return nil, "", err
	}
	s.closers = append(s.closers, func() error { release(); return nil })
	return func() (scanner.DatabaseDir, error) {
		return scanner.DatabaseDir{Database: g.Database, Dir: g.Dir}, nil
	}, g.Dir, nil
}
