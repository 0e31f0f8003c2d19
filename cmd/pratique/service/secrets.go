package service

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/pratique-dev/pratique/cmd/pratique/settings"
)

// rotateEvery is how soon a changed secret is valid.
const rotateEvery = 5 * time.Second

// rotateSecrets reads the files with receivers' secrets again and again. What cannot be read, or
// cannot be a secret, changes nothing: the last good ones stay valid, and the log says so.
func (r *Receive) rotateSecrets(ctx context.Context) error {
	last, said := map[string][]string{}, map[string]string{}
	for _, sender := range r.receivers {
		last[sender.Name] = settings.Secrets(sender)
	}
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, sender := range r.receivers {
			if len(sender.Secrets) == 0 || sender.NATS.URL != "" {
				continue
			}
			next, err := settings.RereadSecrets(sender)
			switch {
			case err != nil:
			case slices.Equal(next, last[sender.Name]):
				said[sender.Name] = ""
				continue
			default:
				err = r.webhooks.SetSecrets(sender.Name, next)
			}
			if err == nil {
				last[sender.Name], said[sender.Name] = next, ""
				r.log.LogAttrs(ctx, slog.LevelInfo, "secrets changed",
					slog.String("receiver", sender.Name), slog.Int("valid", len(next)))
			} else if text := err.Error(); said[sender.Name] != text {
				said[sender.Name] = text
				r.log.LogAttrs(ctx, slog.LevelWarn, "secrets not changed",
					slog.String("receiver", sender.Name), slog.String("error", text))
			}
		}
	}
}
