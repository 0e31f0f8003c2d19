package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/attest/index"
	"github.com/pratique-dev/pratique/attest/ledger"
	"github.com/pratique-dev/pratique/internal/config"
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

SIGTERM or SIGINT drains: no new work is taken, what is under way is finished, then the process ends.
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
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// serveUntilDone runs a service until ctx ends, and closes it.
func serveUntilDone(ctx context.Context, conf config.Config, log *slog.Logger, h hooks) error {
	s, err := newService(ctx, conf, log, h)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // told to stop while starting
	}
	if err != nil {
		return err
	}
	return errors.Join(s.run(ctx), s.close())
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
	if err := s.inspector.Start(life); err != nil {
		return err
	}
	s.logConfinement(ctx)
	// What the program's packages made on their way up is garbage now, and more than the service itself holds.
	debug.FreeOSMemory()
	back, behind := errgroup.WithContext(life)
	back.Go(func() error { return s.project(behind) })
	back.Go(func() error { return s.projectEstate(behind) })
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
	front.Go(func() error { return s.rematcher().Run(ahead) })
	front.Go(func() error { s.warm(ahead); return nil })
	s.log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("url", s.publicURL), slog.String("version", version()),
		slog.String("policy", s.policy.ID().Digest.String()), slog.String("keyID", s.signer.KeyID()))
	err = front.Wait()
	end()
	return errors.Join(err, back.Wait())
}

// project keeps the index up to date with the ledger. An index that is ahead of its ledger belongs to
// another one and is an error: answering from it would be answering from what never happened here.
func (s *service) project(ctx context.Context) error {
	after, err := s.index.Position()
	if err != nil {
		return err
	}
	return s.ledger.Follow(ctx, after, func(entries []ledger.Entry) error {
		batch := make([]index.Entry, len(entries))
		for i, e := range entries {
			batch[i] = index.Entry{Seq: e.Seq, Fact: e.Fact}
			if e.Err != nil {
				s.log.LogAttrs(ctx, slog.LevelWarn, "the ledger has an entry that cannot be read", slog.String("error", e.Err.Error()))
				continue
			}
			s.logFact(ctx, e)
		}
		return s.index.Apply(batch)
	})
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
	mux.Handle("GET /metrics", api.Guard(apiAuth(s.conf.API), s.metrics.Handler()))
	mux.Handle("/", query)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	mux.HandleFunc("GET /readyz", s.ready)
	return mux, nil
}

// ready answers 200 once there is a vulnerability database to match against: until then pushes are taken in,
// and wait.
func (s *service) ready(w http.ResponseWriter, _ *http.Request) {
	if _, err := s.database.Current(); err != nil { // the log says why; this is for everybody
		http.Error(w, "waiting for the vulnerability database", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}
