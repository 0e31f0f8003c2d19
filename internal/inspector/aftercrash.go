package inspector

import (
	"context"

	"github.com/pratique-dev/pratique"
)

type afterCrashKey struct{}

// AfterCrash marks a call that a child died of before, without anybody knowing why. Its child has done no work before and does
// none after, and such calls follow one another. Others go on meanwhile: it takes the place of one child and no more.
func AfterCrash(ctx context.Context) context.Context {
	return context.WithValue(ctx, afterCrashKey{}, true)
}

func isAfterCrash(ctx context.Context) bool {
	again, _ := ctx.Value(afterCrashKey{}).(bool)
	return again
}

// acquire waits for an idle child. One that could not be started, or was not needed yet, is nil. What take returns belongs
// back into p.idle.
func (p *Pool) acquire(ctx context.Context, domain string) (*child, error) {
	select {
	case c := <-p.idle:
		return p.chooseIdle(c, domain), nil
	case <-ctx.Done():
		return nil, noChild(ctx)
	}
}

// acquireAfterCrash waits until no other call is made again, for which no child is held.
func (p *Pool) acquireAfterCrash(ctx context.Context) (leave func(), err error) {
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

// chooseIdle returns the idle child that suits best, the one at hand or another: one that works for the domain already, then
// one that has done nothing, then a place without one. The last is one of another domain, which has to go; of these the
// one that was idle for longest.
func (p *Pool) chooseIdle(at *child, domain string) *child {
	suits := func(c *child) int {
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
		if suits(best) == 3 {
			break
		}
		select {
		case c := <-p.idle:
			if suits(c) > suits(best) {
				best, c = c, best
			}
			p.idle <- c
		default:
			return best
		}
	}
	return best
}
