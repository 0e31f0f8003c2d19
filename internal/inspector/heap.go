package inspector

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// softHeapLimit is the memory below which a child's Go runtime collects lazily; nearly all
	// images need less.
	softHeapLimit = 200 << 20
	// heapInterval is how often a working child checks its live heap.
	heapInterval = 50 * time.Millisecond
)

// limitHeap keeps a working child small. Garbage is collected lazily, which saves a fifth of the
// CPU time, until the runtime holds softHeapLimit. Beyond that the limit is a quarter above the
// live heap, so that a large image gets memory, up to the child's limit, without constant
// collections.
func limitHeap(ctx context.Context) (stop func()) {
	most := debug.SetMemoryLimit(-1)
	ctx, cancel := context.WithCancel(ctx)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	adjust := func() {
		metrics.Read(live)
		debug.SetMemoryLimit(min(most,
			max(softHeapLimit, int64(live[0].Value.Uint64()/4*5)))) //nolint:gosec // far below 2^63
	}
	adjust()
	var looking sync.WaitGroup
	looking.Go(func() {
		tick := time.NewTicker(heapInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				adjust()
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		looking.Wait()
		debug.SetMemoryLimit(most)
	}
}
