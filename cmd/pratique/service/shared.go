package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/ledger"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/projection"
	"github.com/pratique-dev/pratique/internal/telemetry"
	"github.com/pratique-dev/pratique/queue"
)

// Shared is what all roles are given: queue, ledger, documents, the data directory, log, metrics
// and clock.
type Shared struct {
	Broker    *queue.Broker
	Ledger    *ledger.Ledger
	Documents *ledger.Blobs

	nats      *queue.Embedded
	dataDir   string
	publicURL string
	instance  string // names this process in facts
	log       *slog.Logger
	metrics   *telemetry.Metrics
	now       func() time.Time
	limits    map[pratique.Priority]int // of the workers of each stage
	options   Options
	closers   []func() error
}

// onClose has something closed before all that was opened earlier.
func (s *Shared) onClose(f func() error) { s.closers = append(s.closers, f) }

// Close closes what was opened, last first.
func (s *Shared) Close() error {
	var all error
	for i := len(s.closers) - 1; i >= 0; i-- {
		all = errors.Join(all, s.closers[i]())
	}
	s.closers = nil
	return all
}

func (s *Shared) path(name string) string { return filepath.Join(s.dataDir, name) }

// open opens queue, ledger and documents.
func (s *Shared) open(ctx context.Context, conf config.Config) error {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	s.instance = host
	if err := s.openQueue(ctx, conf.Queue); err != nil {
		return err
	}
	url := conf.Evidence.URL
	if url == "" {
		dir, err := filepath.Abs(s.path("evidence"))
		if err != nil {
			return err
		}
		url = "file://" + filepath.ToSlash(dir)
	}
	if s.Documents, err = ledger.OpenBlobs(ctx, url); err != nil {
		return err
	}
	s.onClose(s.Documents.Close)
	return nil
}

func (s *Shared) openQueue(ctx context.Context, conf config.Queue) error {
	var err error
	var warned atomic.Int64
	ledgerSize := conf.LedgerSize.Bytes(settings.DefaultLedgerSize)
	s.nats, err = queue.StartEmbedded(queue.EmbeddedConfig{
		Dir: s.path("nats"), SyncAlways: !conf.NoSync, MaxStoreBytes: ledgerSize + settings.QueueRoom,
		Log: func(level, message string) {
			warned.Add(1)
			s.log.LogAttrs(ctx, slog.LevelWarn, "nats", slog.String("level", level),
				slog.String("message", message))
		},
	})
	if err != nil {
		return err
	}
	s.onClose(func() error { s.nats.Close(); return nil })
	conn, err := s.nats.Conn()
	if err != nil {
		return err
	}
	s.onClose(func() error { conn.Close(); return nil })
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	own := s.options.Queue
	own.LedgerBytes, own.OnError = ledgerSize, s.logErrors(ctx, "queue")
	s.Broker = queue.New(js, own)
	if err := s.Broker.Setup(ctx); err != nil {
		return err
	}
	if warned.Load() > 0 {
		s.log.LogAttrs(ctx, slog.LevelInfo,
			"queue and ledger are open; what nats warned of before was repaired by it")
	}
	s.Ledger = ledger.New(js, s.now)
	return nil
}

// base is what a stage of a role is made of.
func (s *Shared) base(role pratique.Role) pipeline.Base {
	return pipeline.Base{Recorder: s.recorder(role), Facts: s.Ledger, Queue: s.Broker,
		Unreadable: s.Documents}
}

// recorder records the kinds of facts that a role may record.
func (s *Shared) recorder(role pratique.Role) pipeline.Recorder {
	return pipeline.Recorder{Process: s.process(), Role: role, Ledger: s.Ledger.For(role)}
}

func (s *Shared) process() pipeline.Process {
	return pipeline.Process{Now: s.now, Instance: s.instance, Edge: s.options.Edge}
}

// intake puts events into the line.
func (s *Shared) intake(role pratique.Role) *pipeline.Intake {
	return &pipeline.Intake{Recorder: s.recorder(role), Batches: s.Broker, Dropped: s.Documents}
}

// logErrors logs what is tried again by itself.
func (s *Shared) logErrors(ctx context.Context, part string) func(error) {
	return func(err error) {
		s.log.LogAttrs(ctx, slog.LevelWarn, part, slog.String("error", err.Error()))
	}
}

// age of a time that may be none.
func (s *Shared) age(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, s.now().Sub(t))
}

// stage is one of [pipeline].
type stage interface {
	Handle(ctx context.Context, body []byte) error
	RecordFailure(ctx context.Context, f pipeline.Failure) error
}

// work fits a stage to the queue and logs its failures. Work waits in the queue for as long as hold
// says: every stage reads the registry, the gate too, and a registry may be paused.
func (s *Shared) work(name pratique.Stage, workers int, does stage,
	hold func(pipeline.Work) time.Duration) queue.Work {
	return queue.Work{
		Stage: name, Workers: workers, Limits: s.limits,
		Hold: func(job queue.Job) time.Duration {
			w, _ := pipeline.DecodeWork(job.Body) // the stage says what is wrong with it
			return hold(w)
		},
		Handle: func(ctx context.Context, job queue.Job) error { return does.Handle(ctx, job.Body) },
		Failed: func(ctx context.Context, job queue.Job, err error, final bool) error {
			message := "an attempt failed, and is made again"
			if final {
				message = "the last attempt failed"
			}
			s.log.LogAttrs(ctx, slog.LevelWarn, message, slog.String("stage", string(name)),
				slog.String("job", job.ID), slog.Int("attempt", job.Attempt),
				slog.String("kind", pratique.KindOf(err).String()), slog.String("error", err.Error()))
			return does.RecordFailure(ctx, pipeline.Failure{Stage: string(name), Body: job.Body,
				Attempt: job.Attempt, Final: final, Cause: err})
		},
	}
}

// repositoryOf is what the work reads from; zero for what is no work of ours.
func repositoryOf(w pipeline.Work) pratique.Repository {
	if w.Event.Ref.Repository.IsZero() {
		return w.Subject.Repository
	}
	return w.Event.Ref.Repository
}

// openProjection opens the file of a projection, and ties it to the ledger. One of another version
// is made again from the ledger; one that is damaged is not, because somebody should look at that.
func openProjection[T interface {
	projection.Store
	Close() error
}](ctx context.Context, s *Shared, name string, open func(string) (T, error),
	remove func(string) error) (T, *projection.Projection, error) {
	file := s.path(name + ".db")
	opened, err := open(file)
	var other *projection.SchemaError
	if errors.As(err, &other) {
		s.log.LogAttrs(ctx, slog.LevelInfo, "a projection is made again from the ledger",
			slog.String("projection", other.Name), slog.String("because", err.Error()))
		if err := remove(file); err != nil {
			return opened, nil, err
		}
		opened, err = open(file)
	}
	if err != nil {
		return opened, nil, err
	}
	s.onClose(opened.Close)
	return opened, projection.New(s.Ledger, opened, func(have, end uint64) {
		s.log.LogAttrs(ctx, slog.LevelWarn,
			"a projection does not belong to this ledger: it is made again from the beginning",
			slog.String("projection", name), slog.Uint64("readUpTo", have),
			slog.Uint64("ledgerEndsAt", end))
	}), nil
}

// projected says whether a projection has read the ledger; empty if it has.
func projected(ctx context.Context, name string, p *projection.Projection) string {
	if ready, err := p.Ready(ctx); !ready || err != nil {
		return fmt.Sprintf("waiting for the %s to read the ledger", name)
	}
	return ""
}

// projectionMetrics are those of one.
func projectionMetrics(ctx context.Context, p *projection.Projection) (telemetry.Projection, error) {
	behind, err := p.Behind(ctx)
	return telemetry.Projection{Behind: behind, Rebuilds: p.Rebuilds()}, err
}
