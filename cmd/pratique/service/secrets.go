package service

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/pratique-dev/pratique/cmd/pratique/settings"
)

// RotateEvery is how soon a changed secret is valid.
const RotateEvery = 5 * time.Second

// rotateSecrets reads the files with receivers' secrets again and again. What cannot be read, or cannot be a secret,
// changes nothing: the last good ones stay valid, and the log says so.
func (s *Service) rotateSecrets(ctx context.Context) error {
	last, said := map[string][]string{}, map[string]string{}
	for _, r := range s.conf.Receivers {
		last[r.Name] = settings.Secrets(r)
	}
	tick := time.NewTicker(RotateEvery)
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
			next, err := settings.RereadSecrets(r)
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
