package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/queue/webhook"
	"github.com/pratique-dev/pratique/queue/webhook/expr"
	"github.com/pratique-dev/pratique/queue/webhook/oidc"
)

// receivers are the configured webhooks with everything that they need. Errors name the receiver.
func receivers(c config.Config) ([]webhook.Receiver, error) {
	aliases := map[string][]string{}
	for _, r := range c.Registries {
		aliases[r.Host] = r.Aliases
	}
	var all []webhook.Receiver
	for _, r := range c.Receivers {
		receiver := webhook.Receiver{
			Name: r.Name, Format: r.Format, Registry: r.Registry, Repositories: r.Repositories, Untagged: r.Untagged,
			Aliases: aliases[r.Registry], Prefixes: r.Prefixes, Subscription: r.OIDC.Subscription,
			Auth: webhook.Auth{
				Method: r.Auth, Header: r.Header, Prefix: r.Prefix, Secrets: secretsOf(r), Insecure: r.Insecure,
			},
			Closed: r.NATS.URL != "", // whoever publishes there was let in by that server
		}
		if receiver.Format == "" {
			receiver.Format = "distribution"
		}
		if err := addParts(&receiver, r); err != nil {
			return nil, fmt.Errorf("receiver %s: %w", r.Name, err)
		}
		all = append(all, receiver)
	}
	return all, nil
}

// addParts makes what has a library behind it.
func addParts(receiver *webhook.Receiver, r config.Receiver) error {
	if r.Format == "generic" {
		g := r.Generic
		program, err := expr.Compile(expr.Config{
			Events: g.Events, When: g.When, Host: g.Host, Repository: g.Repository, Tag: g.Tag, Digest: g.Digest,
			MediaType: g.MediaType, Actor: g.Actor, ID: g.ID, Time: g.Time, BodyOnly: r.Auth.SignsBody() && !r.Insecure,
		})
		if err != nil {
			return err
		}
		receiver.Parse = parseWith(program, r.Header)
	}
	if r.OIDC.Audience != "" {
		verifier, err := oidc.New(oidc.Config{
			Issuer: r.OIDC.Issuer, KeysURL: r.OIDC.KeysURL, CA: r.OIDC.CA.Value(), Audience: r.OIDC.Audience, Email: r.OIDC.Email, Claims: r.OIDC.Claims,
		})
		if err != nil {
			return err
		}
		receiver.Auth.Tokens = verifier
	}
	return nil
}

// parseWith reads bodies of the generic format by the expressions of the configuration.
func parseWith(program *expr.Program, secretHeader string) func(http.Header, []byte) ([]webhook.Notification, error) {
	return func(h http.Header, body []byte) ([]webhook.Notification, error) {
		decoded, err := webhook.Decode(body)
		if err != nil {
			return nil, err
		}
		h = h.Clone()
		h.Del(secretHeader) // an expression that copies it would put it into facts
		items, err := program.Eval(h, decoded)
		if err != nil {
			return nil, err
		}
		all := make([]webhook.Notification, len(items))
		for i, item := range items {
			all[i] = webhook.Notification{
				ID: item.ID, Action: webhook.ActionPush, Host: item.Host, Repository: item.Repository, Tag: item.Tag,
				Digest: item.Digest, MediaType: item.MediaType, Actor: item.Actor, At: item.Time,
			}
			if !item.Wanted {
				all[i].Action = webhook.ActionOther
			}
		}
		return all, nil
	}
}

func secretsOf(r config.Receiver) []string {
	var all []string
	for _, s := range r.Secrets {
		all = append(all, s.Lines()...)
	}
	return all
}

// rotateEvery is how soon a changed secret is valid.
const rotateEvery = 5 * time.Second

// rotateSecrets reads the files with receivers' secrets again and again. What cannot be read, or cannot be a secret,
// changes nothing: the last good ones stay valid, and the log says so.
func (s *service) rotateSecrets(ctx context.Context) error {
	last, said := map[string][]string{}, map[string]string{}
	for _, r := range s.conf.Receivers {
		last[r.Name] = secretsOf(r)
	}
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, r := range s.conf.Receivers {
			if len(r.Secrets) == 0 || r.NATS.URL != "" {
				continue
			}
			next, err := rereadSecrets(r)
			switch {
			case err != nil:
			case slices.Equal(next, last[r.Name]):
				said[r.Name] = ""
				continue
			default:
				err = s.webhooks.SetSecrets(r.Name, next)
			}
			if err == nil {
				last[r.Name], said[r.Name] = next, ""
				s.log.LogAttrs(ctx, slog.LevelInfo, "secrets changed", slog.String("receiver", r.Name), slog.Int("valid", len(next)))
			} else if text := err.Error(); said[r.Name] != text {
				said[r.Name] = text
				s.log.LogAttrs(ctx, slog.LevelWarn, "secrets not changed", slog.String("receiver", r.Name), slog.String("error", text))
			}
		}
	}
}

func rereadSecrets(r config.Receiver) ([]string, error) {
	var problems []error
	r.Secrets = slices.Clone(r.Secrets)
	for i, secret := range r.Secrets {
		var err error
		if r.Secrets[i], err = secret.Again(); err != nil {
			problems = append(problems, err)
		}
	}
	return secretsOf(r), errors.Join(problems...)
}
