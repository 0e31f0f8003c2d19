// Package atrest gives memory back that a process does not need while it has nothing to do. Go's
// runtime keeps what a burst of work needed, in case that it is needed again, and a service that
// waits for the next push would hold on to it for hours.
package atrest

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// restAfter is for how long a process has nothing to do until it is at rest. A shorter rest is not
	// worth the work: collecting garbage, and getting the memory again.
	restAfter = 15 * time.Second
	// interval is the time between two looks.
	interval = 5 * time.Second
	// idleBytes is what a process may allocate between two looks and have nothing to do, and what it
	// must have allocated since it last gave memory back.
	idleBytes, minBytes = 4 << 20, 16 << 20
)

// ReleaseMemory runs until ctx ends, and returns memory to the system whenever the process comes to rest.
// A process is at rest when it allocates next to nothing.
func ReleaseMemory(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	w := watch{at: allocated(), since: allocated()}
	for {
		select {
		case <-tick.C:
			if w.rests(allocated()) {
				debug.FreeOSMemory()
				w.since = allocated()
			}
		case <-ctx.Done():
			return
		}
	}
}

// watch decides from the bytes that a process has allocated in its life.
type watch struct {
	at    uint64        // when it looked last
	since uint64        // when memory was given back last
	quiet time.Duration // for how long the process has had nothing to do
}

// rests reports whether memory is to be given back now.
func (w *watch) rests(allocated uint64) bool {
	if allocated-w.at > idleBytes {
		w.quiet = 0
	} else {
		w.quiet += interval
	}
	w.at = allocated
	return w.quiet >= restAfter && allocated-w.since > minBytes
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
