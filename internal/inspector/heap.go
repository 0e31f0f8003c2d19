package inspector

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// softHeapLimit is what a child's Go runtime may hold without being urged to collect: nearly all images need less.
	softHeapLimit = 200 << 20
	// heapInterval is how often a working child looks at what it has to keep.
	heapInterval = 50 * time.Millisecond
)

// limitHeap keeps a child small while it works. Garbage is collected lazily, which saves a fifth of the processor
// time, until the runtime holds easyHeap; from there on it has a quarter more than what is in use, so that an image
// that needs much memory gets it, up to the limit that the child was started with, without being collected all the
// time. It returns what ends it.
func limitHeap(ctx context.Context) (stop func()) {
	most := debug.SetMemoryLimit(-1)
	ctx, cancel := context.WithCancel(ctx)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	adjust := func() {
		metrics.Read(live)
		debug.SetMemoryLimit(min(most, max(softHeapLimit, int64(live[0].Value.Uint64()/4*5)))) //nolint:gosec // far below 2^63
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
