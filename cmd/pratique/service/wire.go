// Package service puts the service together: each role opens what it may hold, and no more.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
	"github.com/pratique-dev/pratique/attest/ledger"
	"github.com/pratique-dev/pratique/cmd/pratique/adapter"
	"github.com/pratique-dev/pratique/cmd/pratique/child"
	"github.com/pratique-dev/pratique/cmd/pratique/keyfile"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/deploy/gitrepo"
	"github.com/pratique-dev/pratique/deploy/policy"
	"github.com/pratique-dev/pratique/internal/analysiscache"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/projection"
	"github.com/pratique-dev/pratique/internal/registry"
	"github.com/pratique-dev/pratique/internal/telemetry"
	"github.com/pratique-dev/pratique/queue"
	"github.com/pratique-dev/pratique/queue/outbox"
	"github.com/pratique-dev/pratique/queue/reconcile"
	"github.com/pratique-dev/pratique/queue/webhook"
	"github.com/pratique-dev/pratique/scanner/inventory"
	"github.com/pratique-dev/pratique/scanner/trivy"
	"github.com/pratique-dev/pratique/scanner/trivy/database"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/key"
)

// Service is the whole program, put together. Nothing in it runs until run is called.
type Service struct {
	conf      config.Config
	log       *slog.Logger
	hooks     Options
	now       func() time.Time
	closers   []func() error
	publicURL string

	nats      *queue.Embedded
	Broker    *queue.Broker
	Ledger    *ledger.Ledger
	Blobs     *ledger.Blobs
	index     *index.Index
	Inventory *inventory.Projection
	// indexing and remembering keep index and inventory in step with the ledger.
	indexing, remembering *projection.Projection
	registry              *registry.Client
	layers                *layers.Store
	analyses              *analysiscache.Store
	Database              *database.Store
	java                  *database.Store // nil if none is used
	Inspector             *inspector.Pool
	Matcher               *inspector.Pool // never sees an image
	policy                *policy.Policy
	signer                signer.Signer
	// verifier accepts what the configured public keys sign. It is never made from the signer.
	verifier signer.Verifier
	listener net.Listener
	// repositories are those of the deploy targets, each once.
	repositories []*gitrepo.Repo
	targets      []deploy.Target
	gateway      *deploy.Gate

	outbox     *outbox.Outbox
	webhooks   *webhook.Handler
	reconciler *reconcile.Reconciler
	metrics    *telemetry.Metrics
}

// Options are for tests. The zero value is for everybody else.
type Options struct {
	// edge is called at every point where a crash could leave something half done.
	Edge func(point string)
	// queue shortens waits, deaths replaces mostDeaths.
	Queue  queue.Config
	Deaths int
	// wakeInterval replaces the constant.
	WakeInterval time.Duration
}

// New opens everything that the configuration names. On error all that was opened is closed again.
func New(ctx context.Context, conf config.Config, log *slog.Logger, h Options) (_ *Service, err error) {
	s := &Service{conf: settings.WithDefaults(conf), log: log, hooks: h, now: time.Now, metrics: telemetry.New(settings.Version())}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := os.MkdirAll(s.conf.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("dataDir: %w", err)
	}
	if s.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", s.conf.Listen); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s.closers = append(s.closers, func() error { _ = s.listener.Close(); return nil }) // the server has closed it by now
	s.publicURL = s.conf.PublicURL
	if s.publicURL == "" {
		s.publicURL = "http://" + s.listener.Addr().String()
	}
	for _, step := range []func(context.Context) error{s.openQueue, s.openStores, s.openInventory, s.openProjections, s.openKeys, s.openScanners, s.openIntake, s.openReconciler} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, s.watch()
}

// Close closes what was opened, last first.
func (s *Service) Close() error {
	var all error
	for i := len(s.closers) - 1; i >= 0; i-- {
		all = errors.Join(all, s.closers[i]())
	}
	s.closers = nil
	return all
}

func (s *Service) path(name string) string { return filepath.Join(s.conf.DataDir, name) }

func (s *Service) openQueue(ctx context.Context) error {
	var err error
	var warned atomic.Int64
	ledgerSize := s.conf.Queue.LedgerSize.Bytes(settings.DefaultLedgerSize)
	s.nats, err = queue.StartEmbedded(queue.EmbeddedConfig{
		Dir: s.path("nats"), SyncAlways: !s.conf.Queue.NoSync, MaxStoreBytes: ledgerSize + settings.QueueRoom,
		Log: func(level, message string) {
			warned.Add(1)
			s.log.LogAttrs(ctx, slog.LevelWarn, "nats", slog.String("level", level), slog.String("message", message))
		},
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { s.nats.Close(); return nil })
	conn, err := s.nats.Conn()
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { conn.Close(); return nil })
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	settings := s.hooks.Queue
	settings.LedgerBytes = ledgerSize
	settings.Trouble = func(err error) {
		s.log.LogAttrs(ctx, slog.LevelWarn, "queue", slog.String("error", err.Error()))
	}
	s.Broker = queue.New(js, settings)
	if err := s.Broker.Setup(ctx); err != nil {
		return err
	}
	if warned.Load() > 0 {
		s.log.LogAttrs(ctx, slog.LevelInfo, "queue and ledger are open; what nats warned of before was repaired by it")
	}
	s.Ledger = ledger.New(js, s.now)
	return nil
}

func (s *Service) openStores(ctx context.Context) error {
	var err error
	url := s.conf.Evidence.URL
	if url == "" {
		dir, err := filepath.Abs(s.path("evidence"))
		if err != nil {
			return err
		}
		url = "file://" + filepath.ToSlash(dir)
	}
	if s.Blobs, err = ledger.OpenBlobs(ctx, url); err != nil {
		return err
	}
	s.closers = append(s.closers, s.Blobs.Close)
	if s.index, err = openProjection(ctx, s, "index.db", index.Open, index.Remove); err != nil {
		return err
	}
	s.closers = append(s.closers, s.index.Close)
	if s.layers, err = layers.Open(s.path("layers"), s.conf.Inspect.LayerStore.Bytes(settings.DefaultLayerStore)); err != nil {
		return err
	}
	s.layers.Limits = layers.Limits{
		ExpandedBytes: s.conf.Inspect.LayerSize.Bytes(0), Entries: s.conf.Inspect.Entries, InFlight: s.conf.Inspect.InFlight.Bytes(0),
	}
	s.closers = append(s.closers, s.layers.Close)
	if s.analyses, err = analysiscache.Open(s.path("analyses"), s.conf.Inspect.AnalysisStore.Bytes(settings.DefaultAnalysisStore)); err != nil {
		return err
	}
	s.closers = append(s.closers, s.analyses.Close)
	return nil
}

// openKeys loads the signing key, or makes one where none is configured.
func (s *Service) openKeys(ctx context.Context) error {
	private, passphrase := s.conf.Signing.Key.Value(), s.conf.Signing.Passphrase.Value()
	public := settings.PublicKeys(s.conf.Signing)
	if s.conf.Signing.Key.IsZero() {
		own, err := keyfile.Own(s.path("signing"))
		if err != nil {
			return fmt.Errorf("signing: %w", err)
		}
		private, passphrase = own.Private, own.Passphrase
		if len(public) == 0 {
			public = [][]byte{own.Public}
		}
		s.log.LogAttrs(ctx, slog.LevelWarn, "no signing.key is configured: using the pair in the data directory",
			slog.String("public", filepath.Join(s.path("signing"), "cosign.pub")))
	}
	var err error
	if s.signer, err = key.Load(private, passphrase); err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	if s.verifier, err = settings.Verifier(public, s.signer.Identity()); err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	return nil
}

func (s *Service) openScanners(ctx context.Context) error {
	var err error
	c := s.conf
	if s.policy, err = policy.Load(ctx, settings.Policy(c.Policy)); err != nil {
		return err
	}
	registries := settings.Registry(c)
	registries.Platforms = c.Platforms
	if s.registry, err = registry.New(registries); err != nil {
		return err
	}
	if err := s.openDatabases(ctx); err != nil {
		return err
	}
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	fingerprint, err := trivy.Config{Extras: c.Inspect.Scanners}.Fingerprint()
	if err != nil {
		return err
	}
	sample, err := s.shadowSample()
	if err != nil {
		return err
	}
	s.Inspector, err = inspector.New(inspector.Config{
		Command: child.Command(binary, c.Inspect), Children: c.Inspect.Workers, Timeout: c.Inspect.Timeout.Std(settings.DefaultTimeout),
		Analyses: adapter.Analyses{Store: s.analyses}, Fingerprint: fingerprint,
		MemoryBytes: c.Inspect.Memory.Bytes(settings.DefaultMemory), TempDir: s.path("tmp"), WrittenBytes: c.Inspect.Written.Bytes(0),
		Confinement: settings.Confinement(c.Inspect.Confinement), Readable: s.Readable(), Java: s.currentJava(),
		Domain: settings.Isolation(c.Inspect.Isolation), Shadow: func(of pratique.Subject) bool { return sample.Has(of.Digest) },
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.Inspector.Close)
	s.Matcher, err = inspector.New(inspector.Config{
		Command: append(child.Command(binary, config.Inspect{}), "--"+child.MatchFlag), MatchOnly: true, Children: c.Inspect.Workers, Warm: 1,
		Timeout: c.Inspect.Timeout.Std(settings.DefaultTimeout), Fingerprint: fingerprint, MemoryBytes: c.Inspect.Memory.Bytes(settings.DefaultMemory), TempDir: s.path("tmp"),
		WrittenBytes: c.Inspect.Written.Bytes(0), Confinement: settings.Confinement(c.Inspect.Confinement), Readable: s.databaseDirs(),
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.Matcher.Close)
	return os.MkdirAll(s.path("tmp"), 0o700)
}

// base is what a stage of a role is made of: of the ledger it may write the kinds of facts that are the role's.
func (s *Service) base(role pratique.Role) pipeline.Base {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return pipeline.Base{
		Ledger: s.Ledger.For(role), Documents: s.Blobs, Queue: s.Broker, Now: s.now, Instance: host, Edge: s.hooks.Edge,
	}
}

// verifierID is the URI that verification summaries carry.
func (s *Service) verifierID() string {
	if s.conf.Signing.VerifierID != "" {
		return s.conf.Signing.VerifierID
	}
	return s.publicURL
}

func (s *Service) maxVerdictAge() time.Duration {
	return s.conf.Deploy.MaxVerdictAge.Std(settings.DefaultVerdictAge)
}

func (s *Service) profiles() []pratique.Profile {
	return []pratique.Profile{s.policy.ID()}
}
