package inspector

import (
	"sync"
	"testing"
	"time"
)

// warm are the children of an idle pool that live.
func warm(p *Pool) (all []*child) {
	for range len(p.idle) {
		c := <-p.idle
		if c != nil && c.alive() {
			all = append(all, c)
		}
		p.idle <- c
	}
	return all
}

// TestIdleChildrenAreRetired: the child that was used last stays, and others are started when they
// are needed.
func TestIdleChildrenAreRetired(t *testing.T) {
	p := startPool(t, Config{Children: 3})
	checkInspect(t, p)
	p.retire(time.Now().Add(-time.Hour))
	if n := len(warm(p)); n != 3 {
		t.Fatalf("%d children live, and none was idle for long", n)
	}
	var last *child
	for _, c := range warm(p) {
		if c.domain != "" {
			last = c
		}
	}
	p.retire(time.Now())
	if left := warm(p); len(left) != 1 || left[0] != last {
		t.Fatalf("%d children are left, or not the one that was used last", len(left))
	}
	p.retire(time.Now())
	if n := len(warm(p)); n != 1 {
		t.Fatalf("%d children are left", n)
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if _, err := p.Inspect(t.Context(), imageThat(t, "slow")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(warm(p)); n < 2 {
		t.Errorf("%d children live after three calls at a time", n)
	}
}
