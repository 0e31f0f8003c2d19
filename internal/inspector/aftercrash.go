package inspector

import (
	"context"

	"github.com/pratique-dev/pratique"
)

type afterCrashKey struct{}

// AfterCrash marks a call for an image whose previous attempt crashed a child for an unknown
// reason. It gets a fresh child, which is not used again. Such calls run one at a time, and use one
// child's place; other calls continue.
func AfterCrash(ctx context.Context) context.Context {
	return context.WithValue(ctx, afterCrashKey{}, true)
}

func isAfterCrash(ctx context.Context) bool {
	again, _ := ctx.Value(afterCrashKey{}).(bool)
	return again
}

// acquire waits for an idle child; nil is a place without one. The caller puts it, or its
// replacement, back into p.idle.
func (p *Pool) acquire(ctx context.Context, domain string) (*child, error) {
	select {
	case c := <-p.idle:
		return p.chooseIdle(c, domain), nil
	case <-ctx.Done():
		return nil, noChild(ctx)
	}
}

// acquireAfterCrash waits until no other such call runs. No child is held meanwhile.
func (p *Pool) acquireAfterCrash(ctx context.Context) (release func(), err error) {
	select {
	case p.afterCrash <- struct{}{}:
		return func() { <-p.afterCrash }, nil
	case <-ctx.Done():
		return nil, noChild(ctx)
	}
}

func noChild(ctx context.Context) error {
	return pratique.Wrap(pratique.Unavailable, "wait for inspector", "", context.Cause(ctx))
}

// chooseIdle returns the most suitable idle child: one that works for the domain, then an unused
// one, then a place without one, then the one of another domain that was idle for longest, which
// has to be replaced. at is a candidate.
func (p *Pool) chooseIdle(at *child, domain string) *child {
	rank := func(c *child) int {
		switch {
		case c == nil || !c.alive():
			return 1
		case c.domain == domain:
			return 3
		case c.domain == "":
			return 2
		default:
			return 0
		}
	}
	best := at
	for range len(p.idle) {
		if rank(best) == 3 {
			break
		}
		select {
		case c := <-p.idle:
			if rank(c) > rank(best) {
				best, c = c, best
			}
			p.idle <- c
		default:
			return best
		}
	}
	return best
}
