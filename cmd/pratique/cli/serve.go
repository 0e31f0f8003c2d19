package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/cmd/pratique/service"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/display"
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
			log := NewLogger(conf.Log, cmd.ErrOrStderr())
			// Importing Trivy replaced the default with one that keeps records for itself.
			slog.SetDefault(log)
			if info, err := os.Stat(databaseDir); databaseDir != "" && (err != nil || !info.IsDir()) {
				log.LogAttrs(cmd.Context(), slog.LevelWarn,
					"there is no database directory, and nothing is evaluated until there is",
					slog.String("flag", "--db-dir"), slog.String("directory", databaseDir))
			}
			return Serve(cmd.Context(), conf, log, service.Options{})
		},
	}
	serve.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	serve.Flags().StringVar(&databaseDir, "db-dir", "",
		"directory with trivy.db and metadata.json, in place of database.sources")
	return serve
}

// NewLogger logs as the configuration says, and nothing that a terminal would obey.
func NewLogger(c config.Log, w io.Writer) *slog.Logger {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "warn": slog.LevelWarn,
		"error": slog.LevelError}
	options := &slog.HandlerOptions{Level: levels[c.Level]} // info is the zero level
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(display.JSON(w), options))
	}
	return slog.New(slog.NewTextHandler(display.Text(w), options))
}

// Serve runs a service until ctx ends, and closes it.
func Serve(ctx context.Context, conf config.Config, log *slog.Logger, h service.Options) error {
	done := make(chan struct{})
	defer close(done)
	go endAfterGrace(ctx, done, func() {
		log.LogAttrs(context.WithoutCancel(ctx), slog.LevelError,
			"not everything stopped in time: the process ends, and the next start goes on",
			slog.Duration("grace", service.StopGrace))
		os.Exit(verb.Unknown)
	})
	s, err := service.New(ctx, conf, log, h)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // told to stop while starting
	}
	if err != nil {
		return err
	}
	if err := errors.Join(s.Run(ctx), s.Close()); err != nil {
		return err
	}
	log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "stopped")
	return nil
}

// endAfterGrace calls end if what was told to stop by ctx is not done in time: something does not
// observe its context.
func endAfterGrace(ctx context.Context, done <-chan struct{}, end func()) {
	select {
	case <-ctx.Done():
	case <-done:
		return
	}
	patience := time.NewTimer(service.StopGrace)
	defer patience.Stop()
	select {
	case <-patience.C:
		end()
	case <-done:
	}
}
