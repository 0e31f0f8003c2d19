package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/internal/atrest"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/display"
	"github.com/pratique-dev/pratique/internal/outbound"
	"github.com/pratique-dev/pratique/internal/server"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func newServe() *cobra.Command {
	var file, databaseDir string
	serve := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the service: webhooks, workers, gate and query API in one process",
		Long: `Runs every role in one process, with NATS JetStream embedded and all state below dataDir.

SIGTERM or SIGINT drains: no new work is taken, what is under way is finished, then the process ends, after 28 seconds
in any case.
SIGKILL loses nothing: an event that was answered with 202 is taken up again at the next start.`,
		Example: `  pratique config sample > pratique.yaml
  pratique config check pratique.yaml
  pratique serve --config pratique.yaml

  # without access to a registry with the vulnerability database
  pratique serve --config pratique.yaml --db-dir /srv/trivy-db`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return errors.New("name the configuration: pratique serve --config FILE (pratique config sample prints one)")
			}
			conf, err := config.Load(file)
			if err != nil {
				return err
			}
			if databaseDir != "" {
				conf.Database.Dir = databaseDir
			}
			log := newLogger(conf.Log, cmd.ErrOrStderr())
			// Importing Trivy replaced the default with one that keeps records for itself.
			slog.SetDefault(log)
			return serveUntilDone(cmd.Context(), conf, log, hooks{})
		},
	}
	serve.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	serve.Flags().StringVar(&databaseDir, "db-dir", "", "directory with trivy.db and metadata.json, in place of database.sources")
	return serve
}

func newLogger(c config.Log, w io.Writer) *slog.Logger {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError}
	options := &slog.HandlerOptions{Level: levels[c.Level]} // info is the zero level
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(display.JSON(w), options))
	}
	return slog.New(slog.NewTextHandler(display.Text(w), options))
}

// serveUntilDone runs a service until ctx ends, and closes it.
func serveUntilDone(ctx context.Context, conf config.Config, log *slog.Logger, h hooks) error {
	done := make(chan struct{})
	defer close(done)
	go endAfterGrace(ctx, done, func() {
		log.LogAttrs(context.WithoutCancel(ctx), slog.LevelError, "not everything stopped in time: the process ends, and the next start goes on",
			slog.Duration("grace", stopGrace))
		os.Exit(exitUnknown)
	})
	s, err := newService(ctx, conf, log, h)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // told to stop while starting
	}
	if err != nil {
		return err
	}
	if err := errors.Join(s.run(ctx), s.close()); err != nil {
		return err
	}
	log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "stopped")
	return nil
}

// stopGrace is how long a service that was told to stop may take: a little more than the queues give to running jobs,
// and less than the 30 s after which Kubernetes and systemd kill. What is under way then is taken up again at the next
// start, as after a kill.
const stopGrace = 28 * time.Second

// endAfterGrace calls end if what was told to stop by ctx is not done in time: something does not observe its context.
func endAfterGrace(ctx context.Context, done <-chan struct{}, end func()) {
	select {
	case <-ctx.Done():
	case <-done:
		return
	}
	patience := time.NewTimer(stopGrace)
	defer patience.Stop()
	select {
	case <-patience.C:
		end()
	case <-done:
	}
}

// run works until ctx ends, then drains: the front, which takes work in and does it, ends first, and what it needs
// behind it, last.
func (s *service) run(ctx context.Context) error {
	works, err := s.works()
	if err != nil {
		return err
	}
	handler, err := s.handler()
	if err != nil {
		return err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	if err := errors.Join(s.inspector.Start(life), s.matcher.Start(life)); err != nil {
		return err
	}
	s.logConfinement(ctx)
	for _, direct := range withoutProxy(s.conf, outbound.ProxyVariable()) {
		s.log.LogAttrs(ctx, slog.LevelWarn, "configuration", slog.String("warning", direct))
	}
	for _, w := range s.conf.Warnings() {
		s.log.LogAttrs(ctx, slog.LevelWarn, "configuration", slog.String("warning", w.Error()))
	}
	// What the program's packages made on their way up is garbage now, and more than the service itself holds.
	debug.FreeOSMemory()
	back, behind := errgroup.WithContext(life)
	back.Go(func() error { return s.project(behind) })
	back.Go(func() error { return s.projectInventory(behind) })
	back.Go(func() error { return s.runDatabases(behind) })

	open, shut := context.WithCancel(ctx)
	defer shut()
	// Without the projection or the database nothing should be accepted any more.
	defer context.AfterFunc(behind, shut)()
	front, ahead := errgroup.WithContext(open)
	front.Go(func() error { return server.Run(ahead, s.listener, handler) })
	front.Go(func() error { return s.broker.Run(ahead, works) })
	front.Go(func() error { return s.nats.Wait(ahead) })
	front.Go(func() error { return s.outbox.Run(ahead, s.line()) })
	front.Go(func() error { return s.listenFeeds(ahead) })
	front.Go(func() error { return s.rotateSecrets(ahead) })
	front.Go(func() error { return s.reconciler.Run(ahead) })
	front.Go(func() error { return s.rescanner().Run(ahead) })
	front.Go(func() error { return s.denials().Run(ahead) })
	front.Go(func() error { s.wakeDeployments(ahead); return nil })
	front.Go(func() error { atrest.ReleaseMemory(ahead); return nil })
	front.Go(func() error { s.warm(ahead); s.watchGit(ahead); return nil })
	s.log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("url", s.publicURL), slog.String("version", version()),
		slog.String("profile", s.policy.ID().String()), slog.String("signer", s.signer.Identity().String()))
	defer context.AfterFunc(ctx, func() {
		s.log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "stopping: no new work is taken, and what runs is finished", slog.Duration("atMost", stopGrace))
	})()
	err = front.Wait()
	end()
	return errors.Join(err, back.Wait())
}

// handler serves webhooks, the API and the probes on one port.
func (s *service) handler() (http.Handler, error) {
	query, err := s.queryAPI()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/{name}", s.webhooks)
	mux.Handle("/webhooks/{name}/{secret}", s.webhooks)
	mux.Handle("GET /metrics", api.Guard(apiAuth(s.conf), s.metrics.Handler()))
	mux.Handle("/", query)
	return mux, nil
}

// notReady waits for a vulnerability database to match against, and for what is derived from the ledger to have read it:
// until then pushes are taken in and wait, and answers would leave out what happened.
func (s *service) notReady(ctx context.Context) string {
	if _, err := s.database.Current(); err != nil { // the log says why; this is for everybody
		return "waiting for the vulnerability database"
	}
	return s.projected(ctx)
}
