package outbox

import "sync"

// The bounds of one flush. A larger change has one for itself.
const (
	maxFlushEvents = 1000
	maxFlushBytes  = 4 << 20
)

// change is a change of the file, and the future of its result.
type change struct {
	// events and bytes are what it adds.
	events, bytes int
	// apply makes the change. It may be called again after its transaction was rolled back. An error
	// refuses this change and no other, and may follow some of the writes.
	apply func(*batch) error
	err   error // of apply
	done  chan error
}

// queue gathers changes and flushes them together: while one flush waits for the disk, the next
// changes gather.
type queue struct {
	flush   func([]*change)
	drained chan struct{} // closed after the last flush

	mu      sync.Mutex
	ready   sync.Cond // there are changes, or the queue is closed
	changes []*change
	closed  bool
}

func newQueue(flush func([]*change)) *queue {
	q := &queue{flush: flush, drained: make(chan struct{})}
	q.ready.L = &q.mu
	go q.run()
	return q
}

// add queues a change for the next flush. It returns false if the queue is closed.
func (q *queue) add(c *change) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.changes = append(q.changes, c)
	q.ready.Signal()
	return true
}

// close accepts no further changes and waits for the last flush.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.ready.Signal()
	q.mu.Unlock()
	<-q.drained
}

func (q *queue) run() {
	defer close(q.drained)
	for changes := q.next(); len(changes) > 0; changes = q.next() {
		q.flush(changes)
	}
}

// next waits for changes and returns those of one flush; none if the queue is closed.
func (q *queue) next() []*change {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.changes) == 0 && !q.closed {
		q.ready.Wait()
	}
	n, events, bytes := 0, 0, 0
	for _, c := range q.changes {
		events, bytes = events+c.events, bytes+c.bytes
		if n > 0 && (events > maxFlushEvents || bytes > maxFlushBytes) {
			break
		}
		n++
	}
	next := q.changes[:n:n]
	q.changes = q.changes[n:]
	return next
}
