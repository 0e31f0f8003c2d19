package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/queue/feed"
	"github.com/pratique-dev/pratique/queue/outbox"
	"github.com/pratique-dev/pratique/queue/webhook"
	"golang.org/x/sync/errgroup"
)

// openIntake opens the outbox, which every push goes through, and checks the receivers.
func (s *service) openIntake(ctx context.Context) error {
	var err error
	s.outbox, err = outbox.Open(outbox.Config{
		File: s.path("outbox.db"), MaxBytes: int64(s.conf.Queue.OutboxSize),
		Now: s.now, Trouble: s.trouble(ctx, "outbox"),
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.outbox.Close)
	all, err := receivers(s.conf)
	if err != nil {
		return err
	}
	for _, r := range all {
		s.metrics.Receivers(r.Name)
	}
	s.webhooks, err = webhook.New(webhook.Config{
		Receivers: all, Publisher: s.outbox, Now: s.now, OnDropped: s.dropped, Count: s.countWebhook(),
		Observe: s.metrics.WebhookDuration, OnError: func(receiver string, err error) {
			s.log.LogAttrs(ctx, slog.LevelWarn, "webhook", slog.String("receiver", receiver), slog.String("error", err.Error()))
		},
	})
	return err
}

// line is where the outbox puts what was acknowledged, and whom it asks what a tag names.
func (s *service) line() outbox.Line {
	intake := &pipeline.Intake{Base: s.base(), Batches: stageQueue{s.broker}}
	return outbox.Line{Forward: intake.Publish, Resolve: s.registry.Digest}
}

// trouble logs what is tried again by itself.
func (s *service) trouble(ctx context.Context, part string) func(error) {
	return func(err error) {
		s.log.LogAttrs(ctx, slog.LevelWarn, part, slog.String("error", err.Error()))
	}
}

// listenFeeds takes in the events that senders publish on NATS servers of their own.
func (s *service) listenFeeds(ctx context.Context) error {
	feeds, ctx := errgroup.WithContext(ctx)
	for _, r := range s.conf.Receivers {
		if r.NATS.URL == "" {
			continue
		}
		c := feed.Config{
			Name: r.Name, URL: r.NATS.URL, Subject: r.NATS.Subject, Stream: r.NATS.Stream, Username: r.NATS.Username,
			Password: r.NATS.Password.Text(), Credentials: r.NATS.Credentials.Value(), Trouble: s.trouble(ctx, "feed"),
		}
		feeds.Go(func() error {
			return feed.Run(ctx, c, func(ctx context.Context, h http.Header, body []byte) error {
				_, err := s.webhooks.Receive(ctx, r.Name, h, body)
				return err
			})
		})
	}
	return feeds.Wait()
}

// countWebhook counts outcomes and logs them. Refusals are warnings, at most one a minute of a kind: a registry whose
// secret is wrong repeats its notification for ever.
func (s *service) countWebhook() func(receiver, outcome string, n int) {
	var mu sync.Mutex
	warned := map[string]time.Time{}
	return func(receiver, outcome string, n int) {
		s.metrics.Webhook(receiver, outcome, n)
		level := slog.LevelDebug
		if strings.HasPrefix(outcome, "refused:") {
			mu.Lock()
			if last := warned[receiver+outcome]; s.now().Sub(last) > time.Minute {
				warned[receiver+outcome], level = s.now(), slog.LevelWarn
			}
			mu.Unlock()
		}
		s.log.LogAttrs(context.Background(), level, "webhook",
			slog.String("receiver", receiver), slog.String("outcome", outcome), slog.Int("events", n))
	}
}

// mostTold bounds the drops of one request that a fact names; mostKept the body that is kept beside it.
const (
	mostTold = 20
	mostKept = 256 << 10
)

// dropped records what a sender was told to forget, in one fact for a request, and keeps its body: somebody may want to
// see what was sent, or send it again.
func (s *service) dropped(ctx context.Context, r webhook.Refusal) error {
	var told []string
	for _, d := range r.Drops {
		s.log.LogAttrs(ctx, slog.LevelWarn, "notification dropped", slog.String("receiver", r.Receiver),
			slog.String("reason", d.Reason), slog.String("detail", d.Detail), slog.String("id", d.SenderID))
		if d.Reason == webhook.ReasonRepository {
			continue // ordinary on a registry that others use, too; the ledger keeps what may be an attack or a mistake
		}
		told = append(told, d.Reason+": "+d.Detail)
	}
	if len(told) == 0 {
		return nil
	}
	if more := len(told) - mostTold; more > 0 {
		told = append(told[:mostTold], fmt.Sprintf("and %d more", more))
	}
	body := "no body"
	if len(r.Body) > 0 && len(r.Body) <= mostKept {
		digest, err := s.blobs.Put(ctx, r.Body)
		if err != nil {
			return err
		}
		body = "body " + digest.String()
	}
	told = append(told, body)
	message := strings.Join(told, "; ")
	_, err := s.ledger.Append(ctx, pratique.Fact{
		Kind: pratique.FactFailed, At: s.now().UTC(), By: "receive@" + s.base().Instance,
		Event: pratique.EventID(r.Receiver, pratique.ImageRef{}, message),
		Failed: &pratique.Failed{
			Stage: "receive", Kind: pratique.Invalid, Message: message, Attempts: 1, Final: true,
		},
	})
	return err
}
