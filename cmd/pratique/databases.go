package main

import (
	"context"
	"log/slog"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/trivy/database"
	"golang.org/x/sync/errgroup"
)

// The folders of the databases below dataDir.
const (
	databaseFolder = "database"
	javaFolder     = "java-database"
)

// databaseConfig is for the vulnerability database, which is always there. The configuration has its defaults.
func databaseConfig(c config.Config, path func(string) string) database.Config {
	return database.Config{
		Sources: c.Database.Sources, Hosts: mirrors(c.Registries), CA: c.Database.CA.Value(), StaticDir: c.Database.Dir, Dir: path(databaseFolder),
		Interval: c.Database.Interval.Std(defaultDBInterval),
	}
}

// javaConfig is for the Java database; ok says whether it is used.
func javaConfig(c config.Config, path func(string) string) (cfg database.Config, ok bool) {
	cfg = database.Config{
		Kind: database.Java(), Sources: c.Database.Java.Sources, Hosts: mirrors(c.Registries), CA: c.Database.CA.Value(), Dir: path(javaFolder),
		Interval: c.Database.Interval.Std(defaultDBInterval),
	}
	if ok = len(cfg.Sources) > 0; c.Database.Offline {
		cfg.Sources = nil
	}
	return cfg, ok
}

func (s *service) openDatabases(ctx context.Context) error {
	cfg := databaseConfig(s.conf, s.path)
	told := s.logDatabase(ctx, "vulnerability database")
	cfg.OnUpdate = func(g database.Generation, err error) {
		told(g, err)
		s.wakeInspections(err)
		if warning := tooOld(s.conf.Policy, g.Database, s.now()); warning != "" && !g.Digest.IsZero() {
			s.log.LogAttrs(ctx, slog.LevelWarn, "vulnerability database too old", slog.String("warning", warning))
		}
	}
	cfg.Keep = s.keptDatabase
	var err error
	if s.database, err = database.Open(cfg, s.now); err != nil {
		return err
	}
	s.closers = append(s.closers, s.database.Close)
	cfg, used := javaConfig(s.conf, s.path)
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
func (s *service) wakeInspections(failed error) {
	if failed == nil {
		s.broker.Wake(pratique.StageInspect, nil)
	}
}

// runDatabases keeps them up to date until ctx ends.
func (s *service) runDatabases(ctx context.Context) error {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return s.database.Run(ctx) })
	if s.java != nil {
		both.Go(func() error { return s.java.Run(ctx) })
	}
	return both.Wait()
}

// currentJava gives the children the Java database for each image; nil if none is used.
func (s *service) currentJava() func() (scanner.DatabaseDir, error) {
	if s.java == nil {
		return nil
	}
	return func() (scanner.DatabaseDir, error) {
		g, err := s.java.Current()
		return scanner.DatabaseDir{Database: g.Database, Dir: g.Dir}, err
	}
}

// javaDigest is that of the Java database in use, zero without one.
func (s *service) javaDigest() pratique.Digest {
	if s.java == nil {
		return pratique.Digest{}
	}
	g, err := s.java.Current()
	if err != nil { // an inspection says so
		return pratique.Digest{}
	}
	return g.Digest
}

func (s *service) logDatabase(ctx context.Context, name string) func(database.Generation, error) {
	return func(g database.Generation, err error) {
		if err != nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, name+" not updated", slog.String("error", err.Error()))
			return
		}
		s.log.LogAttrs(ctx, slog.LevelInfo, name,
			slog.String("digest", g.Digest.String()), slog.Time("updatedAt", g.UpdatedAt), slog.String("source", g.Source))
	}
}
