package journal

import (
	"context"
	"log/slog"

	"github.com/pratique-dev/pratique"
)

// Fact tells operators what happens, a line for each fact.
func Fact(ctx context.Context, log *slog.Logger, f pratique.Fact) {
	attrs := []slog.Attr{slog.String("event", f.Event)}
	if !f.Subject.IsZero() {
		attrs = append(attrs, slog.String("subject", f.Subject.String()))
	}
	switch b := f.Body.(type) {
	case *pratique.Resolved:
		attrs = append(attrs, slog.String("ref", b.Event.Ref.String()),
			slog.String("source", b.Event.Source))
	case *pratique.Scanned:
		attrs = append(attrs, slog.Int("findings", b.Counts.Total()))
	case *pratique.Affected:
		attrs = append(attrs, slog.Int("newFindings", b.Total),
			slog.String("database", b.Database.Digest.String()))
	case *pratique.Evaluated:
		attrs = append(attrs, slog.String("outcome", string(b.Verdict.Outcome)),
			slog.Int("reasons", len(b.Verdict.Reasons)))
	case *pratique.Commit:
		attrs = append(attrs, slog.String("target", b.Target), slog.String("commit", b.ID))
	case *pratique.Drifted:
		attrs = append(attrs, slog.String("target", b.Target),
			slog.String("state", string(b.State)), slog.String("detail", b.Detail))
	case *pratique.Completed:
		attrs = append(attrs, slog.String("state", string(b.State)), slog.String("detail", b.Detail))
	}
	log.LogAttrs(ctx, slog.LevelInfo, string(f.Kind()), attrs...)
}
