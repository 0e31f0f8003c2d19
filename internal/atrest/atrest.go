// Package atrest returns memory to the system while a process is idle. Go's runtime keeps what a
// burst of work needed, and a service that waits for the next push would hold it for hours.
package atrest

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// restAfter is how long a process has to be idle. A shorter rest is not worth a garbage
	// collection, and allocating the memory again.
	restAfter = 15 * time.Second
	// interval is the time between two samples.
	interval = 5 * time.Second
	// idleBytes is what an idle process may allocate between two samples; minBytes is what it must
	// have allocated since memory was last returned.
	idleBytes, minBytes = 4 << 20, 16 << 20
)

// ReleaseMemory runs until ctx ends, and returns memory to the system whenever the process becomes
// idle, that is, hardly allocates.
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

// watch decides by the total of allocated bytes.
type watch struct {
	at    uint64        // total at the last sample
	since uint64        // total when memory was last returned
	quiet time.Duration // how long the process has been idle
}

// rests reports whether to return memory now.
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
