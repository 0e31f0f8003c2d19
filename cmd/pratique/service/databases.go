package service

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/trivy/database"
)

func (s *Service) openDatabases(ctx context.Context) error {
	cfg := settings.Database(s.conf, s.path)
	told := s.logDatabase(ctx, "vulnerability database")
	cfg.OnUpdate = func(g database.Generation, err error) {
		told(g, err)
		s.wakeInspections(err)
		if warning := settings.TooOld(s.conf.Policy, g.Database, s.now()); warning != "" && !g.Digest.IsZero() {
			s.log.LogAttrs(ctx, slog.LevelWarn, "vulnerability database too old", slog.String("warning", warning))
		}
	}
	cfg.Keep = s.keptDatabase
	var err error
	if s.Database, err = database.Open(cfg, s.now); err != nil {
		return err
	}
	s.closers = append(s.closers, s.Database.Close)
	cfg, used := settings.Java(s.conf, s.path)
	if !used {
		return nil
	}
	toldOfJava := s.logDatabase(ctx, "Java database")
	cfg.OnUpdate = func(g database.Generation, err error) {
		toldOfJava(g, err)
		s.wakeInspections(err)
	}
	if s.java, err = database.Open(cfg, s.now); err != nil {
		return err
	}
	s.closers = append(s.closers, s.java.Close)
	return nil
}

// wakeInspections brings back those who wait for a database, when one has come.
func (s *Service) wakeInspections(failed error) {
	if failed == nil {
		s.Broker.Wake(pratique.StageInspect, nil)
	}
}

// runDatabases keeps them up to date until ctx ends.
func (s *Service) runDatabases(ctx context.Context) error {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return s.Database.Run(ctx) })
	if s.java != nil {
		both.Go(func() error { return s.java.Run(ctx) })
	}
	return both.Wait()
}

// currentJava gives the children the Java database for each image; nil if none is used.
func (s *Service) currentJava() func() (scanner.DatabaseDir, error) {
	if s.java == nil {
		return nil
	}
	return func() (scanner.DatabaseDir, error) {
		g, err := s.java.Current()
		return scanner.DatabaseDir{Database: g.Database, Dir: g.Dir}, err
	}
}

// javaDigest is that of the Java database in use, zero without one.
func (s *Service) javaDigest() pratique.Digest {
	if s.java == nil {
		return pratique.Digest{}
	}
	g, err := s.java.Current()
	if err != nil { // an inspection says so
		return pratique.Digest{}
	}
	return g.Digest
}

func (s *Service) logDatabase(ctx context.Context, name string) func(database.Generation, error) {
	return func(g database.Generation, err error) {
		if err != nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, name+" not updated", slog.String("error", err.Error()))
			return
		}
		s.log.LogAttrs(ctx, slog.LevelInfo, name,
			slog.String("digest", g.Digest.String()), slog.Time("updatedAt", g.UpdatedAt), slog.String("source", g.Source))
	}
}

// databaseDirs are the directories with vulnerability databases.
func (s *Service) databaseDirs() []string {
	all := []string{s.path(settings.DatabaseFolder)}
	if dir := s.conf.Database.Dir; dir != "" {
		all = append(all, dir)
	}
	return all
}

// Readable are the directories that a child has to read. Files that appear below them later can be read too.
func (s *Service) Readable() []string {
	all := append(s.databaseDirs(), s.path("layers"), s.path("analyses"))
	if s.java != nil {
		all = append(all, s.path(settings.JavaFolder))
	}
	return all
}

// logConfinement says how far the children are confined.
func (s *Service) logConfinement(ctx context.Context) {
	level, has := slog.LevelInfo, s.Inspector.Confinement()
	if len(has.Missing) > 0 || len(has.Active) == 0 {
		level = slog.LevelWarn
	}
	s.log.LogAttrs(ctx, level, "processes that parse images are confined", slog.String("by", has.String()))
}
