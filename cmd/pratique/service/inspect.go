package service

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/adapter"
	"github.com/pratique-dev/pratique/cmd/pratique/child"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/analysiscache"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/pipeline/inspecting"
	"github.com/pratique-dev/pratique/internal/projection"
	"github.com/pratique-dev/pratique/internal/registry"
	"github.com/pratique-dev/pratique/queue"
	"github.com/pratique-dev/pratique/scanner/inventory"
	"github.com/pratique-dev/pratique/scanner/trivy"
	"github.com/pratique-dev/pratique/scanner/trivy/database"
	"golang.org/x/sync/errgroup"
)

// maxCrashes is how many processes may die of one image, children or this one, without anybody
// knowing why.
const maxCrashes = 2

// Inspect finds what is in images, and again when a database changes. It keeps the databases, and
// what it has to remember: layers, analyses, and the inventory. Its children parse; only they touch
// what an image has in it.
type Inspect struct {
	*Shared
	conf     config.Config
	registry *registry.Client

	Inventory *inventory.Projection
	// remembering keeps the inventory in step with the ledger.
	remembering *projection.Projection
	Database    *database.Store
	java        *database.Store // nil if none is used
	layers      *layers.Store
	analyses    *analysiscache.Store
	Parsers     *inspector.Pool
	Matchers    *inspector.Pool // never see an image
	stage       *inspecting.Stage
}

// openInspect opens stores and databases, and makes the pools of children. What is found out by the
// way is published.
func openInspect(ctx context.Context, s *Shared, conf config.Config, registries *registry.Client,
	publish func(context.Context, []pratique.Event) error) (*Inspect, error) {
	i := &Inspect{Shared: s, conf: conf, registry: registries}
	for _, open := range []func(context.Context) error{i.openInventory, i.openDatabases,
		i.openStores, i.openPools} {
		if err := open(ctx); err != nil {
			return nil, err
		}
	}
	i.stage = &inspecting.Stage{
		Base: s.base(pratique.RoleInspect), Documents: s.Documents, Resolver: registries,
		Tags: registries, Publish: publish,
		Images:   adapter.Images{Registry: registries, Layers: i.layers},
		Parser:   adapter.Parser{Pool: i.Parsers, Matcher: i.Matchers, Shadow: i.checkedSBOM},
		Database: i.CurrentDatabase, Memo: i.Inventory,
		Scanner: trivy.Tool(), JavaDatabase: i.javaDigest, Extras: settings.Extras(conf.Inspect),
	}
	return i, nil
}

func (i *Inspect) openStores(context.Context) error {
	var err error
	c := i.conf.Inspect
	if i.layers, err = layers.Open(i.path("layers"),
		c.LayerStore.Bytes(settings.DefaultLayerStore)); err != nil {
		return err
	}
	i.layers.Limits = layers.Limits{ExpandedBytes: c.LayerSize.Bytes(0), Entries: c.Entries,
		InFlight: c.InFlight.Bytes(0)}
	i.onClose(i.layers.Close)
	if i.analyses, err = analysiscache.Open(i.path("analyses"),
		c.AnalysisStore.Bytes(settings.DefaultAnalysisStore)); err != nil {
		return err
	}
	i.onClose(i.analyses.Close)
	return nil
}

// openPools makes the pool that parses images, and the one that matches and never sees any.
func (i *Inspect) openPools(context.Context) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	c := i.conf.Inspect
	fingerprint, err := trivy.Config{Extras: c.Scanners}.Fingerprint()
	if err != nil {
		return err
	}
	sample, err := i.shadowSample()
	if err != nil {
		return err
	}
	common := inspector.Config{
		Children: i.conf.Workers.Inspect, Timeout: c.Timeout.Std(settings.DefaultTimeout),
		Fingerprint: fingerprint,
		MemoryBytes: c.Memory.Bytes(settings.DefaultMemory), TempDir: i.path("tmp"),
		WrittenBytes: c.Written.Bytes(0),
		Confinement:  settings.Confinement(c.Confinement),
	}
	parsing := common
	parsing.Command, parsing.Readable = child.Command(binary, c), i.Readable()
	parsing.Analyses = adapter.Analyses{Store: i.analyses}
	parsing.Java, parsing.Domain = i.currentJava(), settings.Isolation(c.Isolation)
	parsing.Shadow = func(of pratique.Subject) bool { return sample.Has(of.Digest) }
	if i.Parsers, err = inspector.New(parsing); err != nil {
		return err
	}
	i.onClose(i.Parsers.Close)
	matching := common
	matching.Command = append(child.Command(binary, config.Inspect{}), "--"+child.MatchFlag)
	matching.Readable = i.databaseDirs()
	matching.MatchOnly, matching.Warm = true, 1
	if i.Matchers, err = inspector.New(matching); err != nil {
		return err
	}
	i.onClose(i.Matchers.Close)
	return os.MkdirAll(i.path("tmp"), 0o700)
}

// Readable are the directories that a child has to read. Files that appear below them later can be
// read too.
func (i *Inspect) Readable() []string {
	all := append(i.databaseDirs(), i.path("layers"), i.path("analyses"))
	if i.java != nil {
		all = append(all, i.path(settings.JavaFolder))
	}
	return all
}

// start starts the children, which end with ctx, and says how far they are confined.
func (i *Inspect) start(ctx context.Context) error {
	if err := errors.Join(i.Parsers.Start(ctx), i.Matchers.Start(ctx)); err != nil {
		return err
	}
	level, has := slog.LevelInfo, i.Parsers.Confinement()
	if len(has.Missing) > 0 || len(has.Active) == 0 {
		level = slog.LevelWarn
	}
	i.log.LogAttrs(ctx, level, "processes that parse images are confined",
		slog.String("by", has.String()))
	return nil
}

// follow keeps inventory and databases up to date until ctx ends.
func (i *Inspect) follow(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return i.FollowLedger(ctx) })
	all.Go(func() error { return i.runDatabases(ctx) })
	return all.Wait()
}

// notReady waits for a vulnerability database to match against, and for the inventory to have read
// the ledger: until then pushes are accepted and wait.
func (i *Inspect) notReady(ctx context.Context) string {
	if _, err := i.Database.Current(); err != nil { // the log says why; this is for everybody
		return "waiting for the vulnerability database"
	}
	return projected(ctx, "inventory", i.remembering)
}

func (i *Inspect) work() queue.Work {
	work := i.Shared.work(pratique.StageInspect, i.conf.Workers.Inspect, i.stage,
		func(w pipeline.Work) time.Duration {
			return i.registry.Paused(repositoryOf(w))
		})
	work.MaxCrashes = cmp.Or(i.options.Crashes, maxCrashes)
	work.Handle = oneAgain(i.stage.Handle)
	return work
}

// oneAgain handles jobs. Those that a process died of come one at a time, as it may have been what
// two of them need together. The others of these go back into the queue, so that no worker waits
// for them.
func oneAgain(handle func(context.Context, []byte) error) func(context.Context, queue.Job) error {
	again := make(chan struct{}, 1)
	return func(ctx context.Context, job queue.Job) error {
		if job.Crashes == 0 {
			return handle(ctx, job.Body)
		}
		select {
		case again <- struct{}{}:
			defer func() { <-again }()
			return handle(inspector.AfterCrash(ctx), job.Body)
		default:
			return pratique.Errorf(pratique.Unavailable, "inspect again",
				"a process died of this image, and another such image is being tried again: this one comes later")
		}
	}
}
