// Package service puts the service together: each role opens what it may hold, and no more. All of
// them run in one process today, and share what [Shared] has.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/atrest"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/outbound"
	"github.com/pratique-dev/pratique/internal/registry"
	"github.com/pratique-dev/pratique/internal/server"
	"github.com/pratique-dev/pratique/internal/telemetry"
	"github.com/pratique-dev/pratique/queue"
)

// StopGrace is how long a service that was told to stop may take: a little more than the queues
// give to running jobs, and less than the 30 s after which Kubernetes and systemd kill. What is
// under way then is taken up again at the next start, as after a kill.
const StopGrace = 28 * time.Second

// Options are for tests. The zero value is for everybody else.
type Options struct {
	// Edge is called at every point where a crash could leave something half done.
	Edge func(point string)
	// Queue shortens waits, Crashes replaces maxCrashes.
	Queue   queue.Config
	Crashes int
	// WakeInterval replaces the constant.
	WakeInterval time.Duration
}

// Service is all roles in one process. Nothing in it runs until Run is called.
type Service struct {
	*Shared
	Inspect *Inspect
	receive *Receive
	attest  *Attest
	deploy  *Deploy
	query   *Query
	// registry is given to every role but query. There is one, because pauses and limits of a host
	// are those of the process.
	registry *registry.Client
	listener net.Listener
	conf     config.Config
}

// New opens everything that the configuration names. On error all that was opened is closed again.
func New(ctx context.Context, conf config.Config, log *slog.Logger, o Options) (_ *Service, err error) {
	conf = settings.WithDefaults(conf)
	s := &Service{conf: conf, Shared: &Shared{
		dataDir: conf.DataDir, publicURL: conf.PublicURL, log: log,
		metrics: telemetry.New(settings.Version()), now: time.Now, options: o,
		limits: map[pratique.Priority]int{pratique.PriorityManual: conf.Priorities.Manual,
			pratique.PriorityRescan: conf.Priorities.Rescan},
	}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := os.MkdirAll(conf.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("dataDir: %w", err)
	}
	if s.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", conf.Listen); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s.onClose(func() error { _ = s.listener.Close(); return nil }) // the server has closed it by now
	if s.publicURL == "" {
		s.publicURL = "http://" + s.listener.Addr().String()
	}
	if err := s.Shared.open(ctx, conf); err != nil {
		return nil, err
	}
	registries := settings.Registry(conf)
	registries.Platforms = conf.Platforms
	if s.registry, err = registry.New(registries); err != nil {
		return nil, err
	}
	return s, s.openRoles(ctx)
}

// openRoles gives each role its part of the configuration, what it may hold of the others, and no
// more.
func (s *Service) openRoles(ctx context.Context) (err error) {
	of := func(role pratique.Role) config.Config { return settings.For(role, s.conf) }
	if s.query, err = openQuery(ctx, s.Shared, of(pratique.RoleQuery)); err != nil {
		return err
	}
	if s.receive, err = openReceive(ctx, s.Shared, of(pratique.RoleReceive), s.registry,
		s.query.attestedAt); err != nil {
		return err
	}
	if s.Inspect, err = openInspect(ctx, s.Shared, of(pratique.RoleInspect), s.registry,
		s.receive.publish); err != nil {
		return err
	}
	if s.attest, err = openAttest(ctx, s.Shared, of(pratique.RoleAttest), s.registry,
		s.query.index.Denials); err != nil {
		return err
	}
	if s.deploy, err = openDeploy(s.Shared, of(pratique.RoleDeploy), s.registry,
		s.attest.profiles(), s.query.deployed()); err != nil {
		return err
	}
	return s.watch()
}

// Run works until ctx ends, then drains: the front, which takes work in and does it, ends first,
// and what it needs behind it, last.
func (s *Service) Run(ctx context.Context) error {
	handler, err := s.handler()
	if err != nil {
		return err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	if err := s.Inspect.start(life); err != nil {
		return err
	}
	s.warn(ctx)
	// What the program's packages made on their way up is garbage now, and more than the service
	// itself holds.
	debug.FreeOSMemory()
	back, behind := errgroup.WithContext(life)
	back.Go(func() error { return s.query.follow(behind) })
	back.Go(func() error { return s.Inspect.follow(behind) })

	open, shut := context.WithCancel(ctx)
	defer shut()
	// Without the projection or the database nothing should be accepted any more.
	defer context.AfterFunc(behind, shut)()
	front, ahead := errgroup.WithContext(open)
	front.Go(func() error { return server.Run(ahead, s.listener, handler) })
	front.Go(func() error {
		return s.Broker.Run(ahead, []queue.Work{s.Inspect.work(), s.attest.work(), s.deploy.work()})
	})
	front.Go(func() error { return s.nats.Wait(ahead) })
	front.Go(func() error { atrest.ReleaseMemory(ahead); return nil })
	front.Go(func() error { return s.receive.run(ahead) })
	front.Go(func() error { return s.Inspect.Rescanner().Run(ahead) })
	front.Go(func() error { return s.attest.run(ahead) })
	front.Go(func() error { return s.deploy.run(ahead) })
	s.log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("url", s.publicURL),
		slog.String("version", settings.Version()),
		slog.String("profile", s.attest.policy.ID().String()),
		slog.String("signer", s.attest.signer.Identity().String()))
	defer context.AfterFunc(ctx, func() {
		s.log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo,
			"stopping: no new work is taken, and what runs is finished",
			slog.Duration("atMost", StopGrace))
	})()
	err = front.Wait()
	end()
	return errors.Join(err, back.Wait())
}

// warn says what is allowed and probably not meant.
func (s *Service) warn(ctx context.Context) {
	for _, direct := range settings.WithoutProxy(s.conf, outbound.ProxyVariable()) {
		s.log.LogAttrs(ctx, slog.LevelWarn, "configuration", slog.String("warning", direct))
	}
	for _, w := range s.conf.Warnings() {
		s.log.LogAttrs(ctx, slog.LevelWarn, "configuration", slog.String("warning", w.Error()))
	}
}

// handler serves webhooks, the API and the probes on one port.
func (s *Service) handler() (http.Handler, error) {
	query, err := s.query.handler(elsewhere{
		digest: s.registry.Digest, paused: s.registry.Paused,
		refused: s.receive.outbox.Refused, outbox: s.receive.outbox.Stats, sweeps: s.receive.reconciler,
		places: s.deploy.gate.Places, profiles: s.attest.profiles(),
		database: s.Inspect.CurrentDatabase, rescan: s.Inspect.aboutRescan, notReady: s.Inspect.notReady,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/{name}", s.receive.webhooks)
	mux.Handle("/webhooks/{name}/{secret}", s.receive.webhooks)
	mux.Handle("GET /metrics", api.Guard(s.query.auth, s.metrics.Handler()))
	mux.Handle("/", query)
	return mux, nil
}

// watch has the metrics read at each scrape.
func (s *Service) watch() error {
	return s.metrics.Watch(telemetry.Sources{
		Outbox: func(context.Context) (pratique.OutboxStats, error) {
			return s.receive.outbox.Stats(), nil
		},
		Queues: s.Broker.Pending, Now: s.now, Database: s.Inspect.databaseMetrics,
		Reconcile: s.receive.sweeps,
		Pauses: func(context.Context) (map[string]time.Duration, error) {
			return s.registry.Pauses(), nil
		},
		Rescan: s.Inspect.rescanMetrics, Denials: s.query.denialMetrics,
		Projections: func(ctx context.Context) (map[string]telemetry.Projection, error) {
			index, err := projectionMetrics(ctx, s.query.indexing)
			inventory, err2 := projectionMetrics(ctx, s.Inspect.remembering)
			return map[string]telemetry.Projection{"index": index,
				"inventory": inventory}, errors.Join(err, err2)
		},
		Unread: func(source string, err error) {
			s.log.LogAttrs(context.Background(), slog.LevelWarn, "metrics cannot be read",
				slog.String("source", source), slog.String("error", err.Error()))
		},
	})
}
