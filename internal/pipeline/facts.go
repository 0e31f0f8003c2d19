package pipeline

import (
	"context"

	"github.com/pratique-dev/pratique"
)

// newest returns the body of the newest fact of its kind about a subject, and nil if there is none.
func newest[T any, B interface {
	*T
	pratique.Body
}](ctx context.Context, l Ledger, s pratique.Subject) (*T, error) {
	f, ok, err := l.Last(ctx, s, B(nil).FactKind())
	if err != nil || !ok {
		return nil, err
	}
	return pratique.As[T](f), nil
}
