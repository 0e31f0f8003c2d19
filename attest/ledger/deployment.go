package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
)

// Deployment reads all facts about a deployment and returns them folded; false if there are none.
// Every fact that was appended before is among them, which a projection may not have read yet.
// Corrupt: one of them cannot be read, so the rest may mislead.
func (l *Ledger) Deployment(ctx context.Context, key pratique.DeploymentKey) (d pratique.Deployment,
	found bool, err error) {
	const op = "read deployment"
	subjects := deploymentPrefix(hashToken(key.Target), key.Repository) + ">"
	what := fmt.Sprintf("%s in %s", key.Repository, key.Target)
	stream, err := l.stream(ctx)
	if err != nil {
		return d, false, pratique.Wrap(pratique.Unavailable, op, what, err)
	}
	last, err := stream.GetLastMsgForSubject(ctx, subjects)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return d, false, nil
	case err != nil:
		return d, false, pratique.Wrap(pratique.Unavailable, op, what, err)
	}
	messages, err := l.messages(ctx, 1, subjects)
	if err != nil {
		return d, false, pratique.Wrap(pratique.Unavailable, op, what, err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return d, false, pratique.Wrap(pratique.Unavailable, op, what, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return d, false, pratique.Wrap(pratique.Corrupt, op, what, err)
		}
		f, err := decode(msg.Data())
		if of, ok := f.Deployment(); err == nil && (!ok || of != key) {
			err = fmt.Errorf("position %d: it is a %s fact about %s", meta.Sequence.Stream,
				f.Kind(), f.Subject)
		}
		if err != nil {
			return d, false, pratique.Wrap(pratique.Corrupt, op, what, err)
		}
		d.Fold(meta.Sequence.Stream, f)
		if meta.Sequence.Stream >= last.Sequence {
			return d, true, nil
		}
	}
}
