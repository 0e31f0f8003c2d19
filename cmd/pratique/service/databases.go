package service

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/telemetry"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/trivy/database"
)

func (i *Inspect) openDatabases(ctx context.Context) error {
	cfg := settings.Database(i.conf, i.path)
	told := i.logDatabase(ctx, "vulnerability database")
	cfg.OnUpdate = func(g database.Generation, err error) {
		told(g, err)
		i.wakeInspections(err)
		if warning := settings.TooOld(i.conf.Policy, g.Database, i.now()); warning != "" &&
			!g.Digest.IsZero() {
			i.log.LogAttrs(ctx, slog.LevelWarn, "vulnerability database too old",
				slog.String("warning", warning))
		}
	}
	cfg.Keep = i.keptDatabase
	var err error
	if i.Database, err = database.Open(cfg, i.now); err != nil {
		return err
	}
	i.onClose(i.Database.Close)
	cfg, used := settings.Java(i.conf, i.path)
	if !used {
		return nil
	}
	toldOfJava := i.logDatabase(ctx, "Java database")
	cfg.OnUpdate = func(g database.Generation, err error) {
		toldOfJava(g, err)
		i.wakeInspections(err)
	}
	if i.java, err = database.Open(cfg, i.now); err != nil {
		return err
	}
	i.onClose(i.java.Close)
	return nil
}

// wakeInspections brings back those who wait for a database, when one has come.
func (i *Inspect) wakeInspections(failed error) {
	if failed == nil {
		i.Broker.Wake(pratique.StageInspect, nil)
	}
}

// runDatabases keeps them up to date until ctx ends.
func (i *Inspect) runDatabases(ctx context.Context) error {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return i.Database.Run(ctx) })
	if i.java != nil {
		both.Go(func() error { return i.java.Run(ctx) })
	}
	return both.Wait()
}

// currentJava gives the children the Java database for each image; nil if none is used.
func (i *Inspect) currentJava() func() (scanner.DatabaseDir, error) {
	if i.java == nil {
		return nil
	}
	return func() (scanner.DatabaseDir, error) {
		g, err := i.java.Current()
		return scanner.DatabaseDir{Database: g.Database, Dir: g.Dir}, err
	}
}

// javaDigest is that of the Java database in use, zero without one.
func (i *Inspect) javaDigest() pratique.Digest {
	if i.java == nil {
		return pratique.Digest{}
	}
	g, err := i.java.Current()
	if err != nil { // an inspection says so
		return pratique.Digest{}
	}
	return g.Digest
}

func (i *Inspect) logDatabase(ctx context.Context, name string) func(database.Generation, error) {
	return func(g database.Generation, err error) {
		if err != nil {
			i.log.LogAttrs(ctx, slog.LevelWarn, name+" not updated", slog.String("error", err.Error()))
			return
		}
		i.log.LogAttrs(ctx, slog.LevelInfo, name,
			slog.String("digest", g.Digest.String()), slog.Time("updatedAt", g.UpdatedAt),
			slog.String("source", g.Source))
	}
}

// databaseDirs are the directories with vulnerability databases.
func (i *Inspect) databaseDirs() []string {
	all := []string{i.path(settings.DatabaseFolder)}
	if dir := i.conf.Database.Dir; dir != "" {
		all = append(all, dir)
	}
	return all
}

func (i *Inspect) databaseMetrics(context.Context) (telemetry.Database, error) {
	g, err := i.Database.Current()
	if err != nil {
		return telemetry.Database{}, err
	}
	return telemetry.Database{Age: i.age(g.UpdatedAt),
		Limit: settings.Policy(i.conf.Policy).Params.Limit(i.now()), Digest: g.Digest.String(),
		NextUpdate: g.NextUpdate}, nil
}
