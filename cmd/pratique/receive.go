package main

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/queue/webhook"
)

// webhooks is the handler below /webhooks/.
func (s *service) webhooks() (http.Handler, error) {
	return webhook.New(webhook.Config{
		Receivers: receivers(s.conf), Publisher: &pipeline.Intake{Base: s.base()}, Now: s.now, OnDropped: s.dropped,
		Count: s.countWebhook(),
	})
}

// countWebhook logs outcomes. Refusals are warnings, at most one a minute of a kind: a registry whose secret is
// wrong repeats its notification for ever.
func (s *service) countWebhook() func(receiver, outcome string, n int) {
	var mu sync.Mutex
	warned := map[string]time.Time{}
	return func(receiver, outcome string, n int) {
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

// dropped records what a sender was told to forget, so that nothing vanishes silently.
func (s *service) dropped(ctx context.Context, d webhook.Drop) error {
	s.log.LogAttrs(ctx, slog.LevelWarn, "notification dropped", slog.String("receiver", d.Receiver),
		slog.String("reason", d.Reason), slog.String("detail", d.Detail))
	if d.Reason == "repository" {
		return nil // ordinary on a registry that others use, too; the ledger keeps what may be an attack or a mistake
	}
	id := d.SenderID
	if id == "" {
		id = d.BodyDigest.Hex()
	}
	_, err := s.ledger.Append(ctx, pratique.Fact{
		Kind: pratique.FactFailed, At: s.now().UTC(), By: "receive@" + s.base().Instance,
		Event: pratique.EventID(d.Receiver, pratique.ImageRef{}, id),
		Failed: &pratique.Failed{
			Stage: "receive", Kind: pratique.Invalid, Message: d.Reason + ": " + d.Detail, Attempts: 1, Final: true,
		},
	})
	return err
}
