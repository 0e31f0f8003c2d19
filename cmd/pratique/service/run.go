package service

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/atrest"
	"github.com/pratique-dev/pratique/internal/outbound"
	"github.com/pratique-dev/pratique/internal/server"
)

// StopGrace is how long a service that was told to stop may take: a little more than the queues give to running jobs,
// and less than the 30 s after which Kubernetes and systemd kill. What is under way then is taken up again at the next
// start, as after a kill.
const StopGrace = 28 * time.Second

// Run works until ctx ends, then drains: the front, which takes work in and does it, ends first, and what it needs
// behind it, last.
func (s *Service) Run(ctx context.Context) error {
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
	if err := errors.Join(s.Inspector.Start(life), s.Matcher.Start(life)); err != nil {
		return err
	}
	s.logConfinement(ctx)
	for _, direct := range settings.WithoutProxy(s.conf, outbound.ProxyVariable()) {
		s.log.LogAttrs(ctx, slog.LevelWarn, "configuration", slog.String("warning", direct))
	}
	for _, w := range s.conf.Warnings() {
		s.log.LogAttrs(ctx, slog.LevelWarn, "configuration", slog.String("warning", w.Error()))
	}
	// What the program's packages made on their way up is garbage now, and more than the service itself holds.
	debug.FreeOSMemory()
	back, behind := errgroup.WithContext(life)
	back.Go(func() error { return s.project(behind) })
	back.Go(func() error { return s.ProjectInventory(behind) })
	back.Go(func() error { return s.runDatabases(behind) })

	open, shut := context.WithCancel(ctx)
	defer shut()
	// Without the projection or the database nothing should be accepted any more.
	defer context.AfterFunc(behind, shut)()
	front, ahead := errgroup.WithContext(open)
	front.Go(func() error { return server.Run(ahead, s.listener, handler) })
	front.Go(func() error { return s.Broker.Run(ahead, works) })
	front.Go(func() error { return s.nats.Wait(ahead) })
	front.Go(func() error { return s.outbox.Run(ahead, s.line()) })
	front.Go(func() error { return s.listenFeeds(ahead) })
	front.Go(func() error { return s.rotateSecrets(ahead) })
	front.Go(func() error { return s.reconciler.Run(ahead) })
	front.Go(func() error { return s.Rescanner().Run(ahead) })
	front.Go(func() error { return s.denials().Run(ahead) })
	front.Go(func() error { s.wakeDeployments(ahead); return nil })
	front.Go(func() error { atrest.GiveBack(ahead); return nil })
	front.Go(func() error { s.warm(ahead); s.watchGit(ahead); return nil })
	s.log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("url", s.publicURL), slog.String("version", settings.Version()),
		slog.String("profile", s.policy.ID().String()), slog.String("signer", s.signer.Identity().String()))
	defer context.AfterFunc(ctx, func() {
		s.log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "stopping: no new work is taken, and what runs is finished", slog.Duration("atMost", StopGrace))
	})()
	err = front.Wait()
	end()
	return errors.Join(err, back.Wait())
}

// handler serves webhooks, the API and the probes on one port.
func (s *Service) handler() (http.Handler, error) {
	query, err := s.queryAPI()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/{name}", s.webhooks)
	mux.Handle("/webhooks/{name}/{secret}", s.webhooks)
	mux.Handle("GET /metrics", api.Guard(settings.Auth(s.conf), s.metrics.Handler()))
	mux.Handle("/", query)
	return mux, nil
}

// notReady waits for a vulnerability database to match against, and for what is derived from the ledger to have read it:
// until then pushes are taken in and wait, and answers would leave out what happened.
func (s *Service) notReady(ctx context.Context) string {
	if _, err := s.Database.Current(); err != nil { // the log says why; this is for everybody
		return "waiting for the vulnerability database"
	}
	return s.projected(ctx)
}
