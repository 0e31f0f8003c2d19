package settings

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/queue/webhook"
	"github.com/pratique-dev/pratique/queue/webhook/expr"
	"github.com/pratique-dev/pratique/queue/webhook/oidc"
)

// Receivers are the configured webhooks with everything that they need. Errors name the receiver.
func Receivers(c config.Config) ([]webhook.Receiver, error) {
	aliases := map[string][]string{}
	for _, r := range c.Registries {
		aliases[r.Host] = r.Aliases
	}
	var all []webhook.Receiver
	for _, r := range c.Receivers {
		receiver := webhook.Receiver{
			Name: r.Name, Format: r.Format, Registry: r.Registry, Repositories: r.Repositories,
			Untagged: r.Untagged,
			Aliases:  aliases[r.Registry], Prefixes: r.Prefixes, Subscription: r.OIDC.Subscription,
			Auth: webhook.Auth{
				Method: r.Auth, Header: r.Header, Prefix: r.Prefix, Secrets: Secrets(r),
				Insecure: r.Insecure,
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
			Events: g.Events, When: g.When, Host: g.Host, Repository: g.Repository, Tag: g.Tag,
			Digest:    g.Digest,
			MediaType: g.MediaType, Actor: g.Actor, ID: g.ID, Time: g.Time,
			BodyOnly: r.Auth.SignsBody() && !r.Insecure,
		})
		if err != nil {
			return err
		}
		receiver.Parse = parseWith(program, r.Header)
	}
	if r.OIDC.Audience != "" {
		verifier, err := oidc.New(oidc.Config{
			Issuer: r.OIDC.Issuer, KeysURL: r.OIDC.KeysURL, CA: r.OIDC.CA.Value(),
			Audience: r.OIDC.Audience, Email: r.OIDC.Email, Claims: r.OIDC.Claims,
		})
		if err != nil {
			return err
		}
		receiver.Auth.Tokens = verifier
	}
	return nil
}

// parseWith reads bodies of the generic format by the expressions of the configuration.
func parseWith(program *expr.Program, secretHeader string) func(http.Header,
	[]byte) ([]webhook.Notification, error) {
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
				ID: item.ID, Action: webhook.ActionPush, Host: item.Host,
				Repository: item.Repository, Tag: item.Tag,
				Digest: item.Digest, MediaType: item.MediaType, Actor: item.Actor, At: item.Time,
			}
			if !item.Wanted {
				all[i].Action = webhook.ActionOther
			}
		}
		return all, nil
	}
}

// Secrets are all secrets that a receiver takes.
func Secrets(r config.Receiver) []string {
	var all []string
	for _, s := range r.Secrets {
		all = append(all, s.Lines()...)
	}
	return all
}

// RereadSecrets reads their files again.
func RereadSecrets(r config.Receiver) ([]string, error) {
	var problems []error
	r.Secrets = slices.Clone(r.Secrets)
	for i, secret := range r.Secrets {
		var err error
		if r.Secrets[i], err = secret.Again(); err != nil {
			problems = append(problems, err)
		}
	}
	return Secrets(r), errors.Join(problems...)
}
