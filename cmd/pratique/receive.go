package main

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/queue/webhook"
)

// webhooks is the handler below /webhooks/.
func (s *service) webhooks() (http.Handler, error) {
	var receivers []webhook.Receiver
	for _, r := range s.conf.Receivers {
		receiver := webhook.Receiver{
			Name: r.Name, Format: r.Format, Registry: r.Registry, Repositories: r.Repositories, Untagged: r.Untagged,
			Aliases: s.aliases(r.Registry), Auth: webhook.Auth{Header: r.Header, Insecure: r.Insecure},
		}
		if receiver.Format == "" {
			receiver.Format = "distribution"
		}
		for _, secret := range r.Secrets {
			receiver.Auth.Values = append(receiver.Auth.Values, secret.Text())
		}
		receivers = append(receivers, receiver)
	}
	return webhook.New(webhook.Config{
		Receivers: receivers, Publisher: &pipeline.Intake{Base: s.base()}, Now: s.now, OnDropped: s.dropped,
		Count: func(receiver, outcome string, n int) {
			s.log.LogAttrs(context.Background(), slog.LevelDebug, "webhook",
				slog.String("receiver", receiver), slog.String("outcome", outcome), slog.Int("events", n))
		},
	})
}

// aliases are the other names of a registry.
func (s *service) aliases(host string) []string {
	for _, r := range s.conf.Registries {
		if r.Host == host {
			return r.Aliases
		}
	}
	return nil
}

// dropped records what a sender was told to forget, so that nothing vanishes silently.
func (s *service) dropped(ctx context.Context, d webhook.Drop) error {
	s.log.LogAttrs(ctx, slog.LevelWarn, "notification dropped", slog.String("receiver", d.Receiver),
		slog.String("reason", d.Reason), slog.String("detail", d.Detail))
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
