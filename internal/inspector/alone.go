package inspector

import (
	"context"

	"github.com/pratique-dev/pratique"
)

type aloneKey struct{}

// Alone marks a call that a child died of before: while it runs the pool does nothing else, so that it hurts nobody
// and nobody is taken for its cause, and its child has done no work before and does none after.
func Alone(ctx context.Context) context.Context { return context.WithValue(ctx, aloneKey{}, true) }

func isAlone(ctx context.Context) bool {
	alone, _ := ctx.Value(aloneKey{}).(bool)
	return alone
}

// take waits for an idle child, or for all of them when the call is to run alone. A child that could not be started is
// nil. What take returns belongs back into p.idle.
func (p *Pool) take(ctx context.Context) ([]*child, error) {
	fail := func(held []*child) ([]*child, error) {
		for _, c := range held {
			p.idle <- c
		}
		return nil, pratique.Wrap(pratique.Unavailable, "wait for inspector", "", context.Cause(ctx))
	}
	want := 1
	if isAlone(ctx) {
		// Two that each hold a part would wait for each other.
		select {
		case p.turn <- struct{}{}:
			defer func() { <-p.turn }()
		case <-ctx.Done():
			return fail(nil)
		}
		want = p.cfg.Children
	}
	var held []*child
	for len(held) < want {
		select {
		case c := <-p.idle:
			held = append(held, c)
		case <-ctx.Done():
			return fail(held)
		}
	}
	return held, nil
}
