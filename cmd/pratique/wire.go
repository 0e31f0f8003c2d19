package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
	"github.com/pratique-dev/pratique/attest/ledger"
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

// Defaults of the fields that a configuration leaves out.
const (
	defaultDataDir       = "pratique-data"
	defaultListen        = "127.0.0.1:8080"
	defaultMemory        = 2 << 30
	defaultLayerStore    = 20 << 30
	defaultAnalysisStore = 2 << 30
	defaultLedgerSize    = 8 << 30
	defaultSweepInterval = time.Hour
	queueRoom            = 2 << 30 // for the work queues beside the ledger
	defaultVerdictAge    = 24 * time.Hour
	defaultTimeout       = 10 * time.Minute
	defaultDBInterval    = 6 * time.Hour
	defaultDBAge         = 72 * time.Hour
	mostDefaultWorkers   = 4
)

// service is the whole program, put together. Nothing in it runs until run is called.
type service struct {
	conf      config.Config
	log       *slog.Logger
	hooks     hooks
	now       func() time.Time
	closers   []func() error
	publicURL string

	nats      *queue.Embedded
	broker    *queue.Broker
	ledger    *ledger.Ledger
	blobs     *ledger.Blobs
	index     *index.Index
	inventory *inventory.Projection
	// indexing and remembering keep index and inventory in step with the ledger.
	indexing, remembering *projection.Projection
	registry              *registry.Client
	layers                *layers.Store
	analyses              *analysiscache.Store
	database              *database.Store
	java                  *database.Store // nil if none is used
	inspector             *inspector.Pool
	matcher               *inspector.Pool // never sees an image
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

// hooks are for tests. The zero value is for everybody else.
type hooks struct {
	// edge is called at every point where a crash could leave something half done.
	edge func(point string)
	// queue shortens waits, deaths replaces mostDeaths.
	queue  queue.Config
	deaths int
	// wakeInterval replaces the constant.
	wakeInterval time.Duration
}

// newService opens everything that the configuration names. On error all that was opened is closed again.
func newService(ctx context.Context, conf config.Config, log *slog.Logger, h hooks) (_ *service, err error) {
	s := &service{conf: withDefaults(conf), log: log, hooks: h, now: time.Now, metrics: telemetry.New(version())}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
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

func withDefaults(c config.Config) config.Config {
	if c.DataDir == "" {
		c.DataDir = defaultDataDir
	}
	if c.Listen == "" {
		c.Listen = defaultListen
	}
	if c.Inspect.Workers == 0 {
		c.Inspect.Workers = min(runtime.NumCPU(), mostDefaultWorkers)
	}
	if len(c.Database.Sources) == 0 {
		c.Database.Sources = []string{"mirror.gcr.io/aquasec/trivy-db:2", "ghcr.io/aquasecurity/trivy-db:2"}
	}
	if c.Database.Offline {
		c.Database.Sources = nil
	}
	return c
}

// close closes what was opened, last first.
func (s *service) close() error {
	var all error
	for i := len(s.closers) - 1; i >= 0; i-- {
		all = errors.Join(all, s.closers[i]())
	}
	s.closers = nil
	return all
}

func (s *service) path(name string) string { return filepath.Join(s.conf.DataDir, name) }

func (s *service) openQueue(ctx context.Context) error {
	var err error
	var warned atomic.Int64
	ledgerSize := s.conf.Queue.LedgerSize.Bytes(defaultLedgerSize)
	s.nats, err = queue.StartEmbedded(queue.EmbeddedConfig{
		Dir: s.path("nats"), SyncAlways: !s.conf.Queue.NoSync, MaxStoreBytes: ledgerSize + queueRoom,
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
	settings := s.hooks.queue
	settings.LedgerBytes = ledgerSize
	settings.OnError = func(err error) {
		s.log.LogAttrs(ctx, slog.LevelWarn, "queue", slog.String("error", err.Error()))
	}
	s.broker = queue.New(js, settings)
	if err := s.broker.Setup(ctx); err != nil {
		return err
	}
	if warned.Load() > 0 {
		s.log.LogAttrs(ctx, slog.LevelInfo, "queue and ledger are open; what nats warned of before was repaired by it")
	}
	s.ledger = ledger.New(js, s.now)
	return nil
}

func (s *service) openStores(ctx context.Context) error {
	var err error
	url := s.conf.Evidence.URL
	if url == "" {
		dir, err := filepath.Abs(s.path("evidence"))
		if err != nil {
			return err
		}
		url = "file://" + filepath.ToSlash(dir)
	}
	if s.blobs, err = ledger.OpenBlobs(ctx, url); err != nil {
		return err
	}
	s.closers = append(s.closers, s.blobs.Close)
	if s.index, err = openProjection(ctx, s, "index.db", index.Open, index.Remove); err != nil {
		return err
	}
	s.closers = append(s.closers, s.index.Close)
	if s.layers, err = layers.Open(s.path("layers"), s.conf.Inspect.LayerStore.Bytes(defaultLayerStore)); err != nil {
		return err
	}
	s.layers.Limits = layers.Limits{
		ExpandedBytes: s.conf.Inspect.LayerSize.Bytes(0), Entries: s.conf.Inspect.Entries, InFlight: s.conf.Inspect.InFlight.Bytes(0),
	}
	s.closers = append(s.closers, s.layers.Close)
	if s.analyses, err = analysiscache.Open(s.path("analyses"), s.conf.Inspect.AnalysisStore.Bytes(defaultAnalysisStore)); err != nil {
		return err
	}
	s.closers = append(s.closers, s.analyses.Close)
	return nil
}

// openKeys loads the signing key, or makes one where none is configured.
func (s *service) openKeys(ctx context.Context) error {
	private, passphrase := s.conf.Signing.Key.Value(), s.conf.Signing.Passphrase.Value()
	public := publicKeys(s.conf.Signing)
	if s.conf.Signing.Key.IsZero() {
		own, err := ownKey(s.path("signing"))
		if err != nil {
			return fmt.Errorf("signing: %w", err)
		}
		private, passphrase = own.private, own.passphrase
		if len(public) == 0 {
			public = [][]byte{own.public}
		}
		s.log.LogAttrs(ctx, slog.LevelWarn, "no signing.key is configured: using the pair in the data directory",
			slog.String("public", filepath.Join(s.path("signing"), "cosign.pub")))
	}
	var err error
	if s.signer, err = key.Load(private, passphrase); err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	if s.verifier, err = newVerifier(public, s.signer.Identity()); err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	return nil
}

func (s *service) openScanners(ctx context.Context) error {
	var err error
	c := s.conf
	if s.policy, err = policy.Load(ctx, policyConfig(c.Policy)); err != nil {
		return err
	}
	registries := registryConfig(c)
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
	s.inspector, err = inspector.New(inspector.Config{
		Command: childCommand(binary, c.Inspect), Children: c.Inspect.Workers, Timeout: c.Inspect.Timeout.Std(defaultTimeout),
		Analyses: analyses{s.analyses}, Fingerprint: fingerprint,
		MemoryBytes: c.Inspect.Memory.Bytes(defaultMemory), TempDir: s.path("tmp"), WrittenBytes: c.Inspect.Written.Bytes(0),
		Confinement: confinement(c.Inspect.Confinement), Readable: s.readable(), Java: s.currentJava(),
		Domain: isolation(c.Inspect.Isolation), Shadow: func(of pratique.Subject) bool { return sample.Has(of.Digest) },
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.inspector.Close)
	s.matcher, err = inspector.New(inspector.Config{
		Command: append(childCommand(binary, config.Inspect{}), "--"+matchFlag), MatchOnly: true, Children: c.Inspect.Workers, Warm: 1,
		Timeout: c.Inspect.Timeout.Std(defaultTimeout), Fingerprint: fingerprint, MemoryBytes: c.Inspect.Memory.Bytes(defaultMemory), TempDir: s.path("tmp"),
		WrittenBytes: c.Inspect.Written.Bytes(0), Confinement: confinement(c.Inspect.Confinement), Readable: s.databaseDirs(),
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.matcher.Close)
	return os.MkdirAll(s.path("tmp"), 0o700)
}

// base is what a stage of a role is made of: of the ledger it may write the kinds of facts that are the role's.
func (s *service) base(role pratique.Role) pipeline.Base {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return pipeline.Base{
		Ledger: s.ledger.For(role), Documents: s.blobs, Queue: s.broker, Now: s.now, Instance: host, Edge: s.hooks.edge,
	}
}

// verifierID is the URI that verification summaries carry.
func (s *service) verifierID() string {
	if s.conf.Signing.VerifierID != "" {
		return s.conf.Signing.VerifierID
	}
	return s.publicURL
}

func (s *service) maxVerdictAge() time.Duration {
	return s.conf.Deploy.MaxVerdictAge.Std(defaultVerdictAge)
}

func (s *service) profiles() []pratique.Profile {
	return []pratique.Profile{s.policy.ID()}
}
