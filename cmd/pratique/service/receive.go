package service

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/service/journal"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/registry"
	"github.com/pratique-dev/pratique/queue/feed"
	"github.com/pratique-dev/pratique/queue/outbox"
	"github.com/pratique-dev/pratique/queue/reconcile"
	"github.com/pratique-dev/pratique/queue/webhook"
)

// Receive accepts pushes: from webhooks, from feeds, and by sweeps over tags. Only it has the
// senders' secrets.
type Receive struct {
	*Shared
	receivers  []config.Receiver
	registry   *registry.Client
	outbox     *outbox.Outbox // which every push goes through
	webhooks   *webhook.Handler
	reconciler *reconcile.Reconciler
}

// openReceive opens the outbox, and checks the receivers and what is to be swept. Attested says
// when an image was evaluated that was allowed and attested, zero for others: a sweep may find it
// without attestations.
func openReceive(ctx context.Context, s *Shared, conf config.Config, registries *registry.Client,
	attested func(pratique.Subject) (time.Time, error)) (*Receive, error) {
	r := &Receive{Shared: s, receivers: conf.Receivers, registry: registries}
	var err error
	r.outbox, err = outbox.Open(outbox.Config{
		File: s.path("outbox.db"), MaxBytes: int64(conf.Queue.OutboxSize), Now: s.now,
		OnError: s.logErrors(ctx, "outbox"),
	})
	if err != nil {
		return nil, err
	}
	s.onClose(r.outbox.Close)
	all, err := settings.Receivers(conf)
	if err != nil {
		return nil, err
	}
	for _, receiver := range all {
		s.metrics.Receivers(receiver.Name)
	}
	r.webhooks, err = webhook.New(webhook.Config{
		Receivers: all, Publisher: r.outbox, Now: s.now, OnDropped: r.dropped, Count: r.count,
		OnRefused: journal.Refused(s.log, s.now), OnIgnored: journal.Ignored(s.log, s.now),
		Observe: s.metrics.WebhookDuration, OnError: func(receiver string, err error) {
			s.log.LogAttrs(ctx, slog.LevelWarn, "webhook", slog.String("receiver", receiver),
				slog.String("error", err.Error()))
		},
	})
	if err != nil {
		return nil, err
	}
	sweeping, err := settings.Reconcile(conf)
	if err != nil {
		return nil, err
	}
	sweeping.Now, sweeping.OnError = s.now, s.logErrors(ctx, "reconcile")
	// A lost attestation is work for the line, whatever the outbox knows of the tag.
	sweeping.Attested, sweeping.Restore = attested, s.intake(pratique.RoleReceive).Submit
	r.reconciler, err = reconcile.New(sweeping, registries, r.outbox, r.outbox)
	return r, err
}

// run accepts pushes until ctx ends.
func (r *Receive) run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error {
		// Where the outbox puts what was acknowledged, and whom it asks what a tag names.
		return r.outbox.Run(ctx, outbox.Downstream{Forward: r.intake(pratique.RoleReceive).Publish,
			Resolve: r.registry.Digest})
	})
	all.Go(func() error { return r.listenFeeds(ctx) })
	all.Go(func() error { return r.rotateSecrets(ctx) })
	all.Go(func() error { return r.reconciler.Run(ctx) })
	return all.Wait()
}

// publish accepts pushes that the service found by itself, as if a sender had reported them.
func (r *Receive) publish(ctx context.Context, events []pratique.Event) error {
	_, err := r.outbox.Publish(ctx, events)
	return err
}

// listenFeeds receives the events that senders publish on NATS servers of their own.
func (r *Receive) listenFeeds(ctx context.Context) error {
	feeds, ctx := errgroup.WithContext(ctx)
	for _, sender := range r.receivers {
		if sender.NATS.URL == "" {
			continue
		}
		c := feed.Config{
			Name: sender.Name, URL: sender.NATS.URL, Subject: sender.NATS.Subject,
			Stream: sender.NATS.Stream, Username: sender.NATS.Username,
			Password: sender.NATS.Password.Text(), Credentials: sender.NATS.Credentials.Value(),
			OnError: r.logErrors(ctx, "feed"),
		}
		feeds.Go(func() error {
			return feed.Run(ctx, c, func(ctx context.Context, h http.Header, body []byte) error {
				_, err := r.webhooks.Receive(ctx, sender.Name, h, body)
				return err
			})
		})
	}
	return feeds.Wait()
}

// count counts outcomes; what there is to say about them is logged where more is known.
func (r *Receive) count(receiver, outcome string, n int) {
	r.metrics.Webhook(receiver, outcome, n)
	r.log.LogAttrs(context.Background(), slog.LevelDebug, "webhook",
		slog.String("receiver", receiver), slog.String("outcome", outcome), slog.Int("events", n))
}

// sweeps are those that the reconciler has made of each repository.
func (r *Receive) sweeps(context.Context) ([]pratique.Sweep, error) {
	return r.reconciler.Status(), nil
}

// dropped logs what a sender was told to forget, and records it.
func (r *Receive) dropped(ctx context.Context, refusal webhook.Refusal) error {
	var named []string
	for _, d := range refusal.Drops {
		r.log.LogAttrs(ctx, slog.LevelWarn, "notification dropped",
			slog.String("receiver", refusal.Receiver),
			slog.String("reason", d.Reason), slog.String("detail", d.Detail),
			slog.String("id", d.SenderID))
		if d.Reason != webhook.ReasonRepository {
			// The other reason is ordinary on a registry that others use, too. The ledger keeps what
			// may be an attack or a mistake.
			named = append(named, d.Reason+": "+d.Detail)
		}
	}
	return r.intake(pratique.RoleReceive).Drop(ctx, refusal.Receiver, named, refusal.Body)
}
