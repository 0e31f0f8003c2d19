package outbox

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

// The bounds of one transaction. A larger request has one for itself.
const (
	maxCommitEvents = 1000
	maxCommitBytes  = 4 << 20
)

// request is a change that somebody waits for.
type request struct {
	events, bytes int
	// apply makes the change. It may be called again after its transaction was rolled back. An error
	// refuses this request and no other; it may come after some of the writes.
	apply func(*batch) error
	err   error
	done  chan error
}

// submit hands r to the committer and waits for its answer, which is nil when the change is on the disk. When
// ctx ends first the error is Unavailable, and the change may still be made.
func (o *Outbox) submit(ctx context.Context, op string, r *request) error {
	r.done = make(chan error, 1)
	if err := ctx.Err(); err != nil {
		return pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	o.mu.Lock()
	switch {
	case o.closed:
		o.mu.Unlock()
		return pratique.Wrap(pratique.Unavailable, op, "", errClosed)
	case o.broken != nil:
		o.mu.Unlock()
		return pratique.Wrap(pratique.Unavailable, op, "", o.broken)
	}
	o.queue = append(o.queue, r)
	o.mu.Unlock()
	o.filled.Signal()
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return pratique.Wrap(pratique.Unavailable, op, "", ctx.Err())
	}
}

// commitAll is the committer: while one transaction is synced the next ones gather.
func (o *Outbox) commitAll() {
	defer close(o.committed)
	for {
		requests := o.take()
		if len(requests) == 0 {
			return
		}
		for len(requests) > 0 {
			requests = o.commit(requests)
		}
	}
}

// take waits for requests and returns those of one transaction; none when the outbox is closed.
func (o *Outbox) take() []*request {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) == 0 && !o.closed {
		o.filled.Wait()
	}
	n, events, bytes := 0, 0, 0
	for _, r := range o.queue {
		events, bytes = events+r.events, bytes+r.bytes
		if n > 0 && (events > maxCommitEvents || bytes > maxCommitBytes) {
			break
		}
		n++
	}
	taken := o.queue[:n:n]
	o.queue = o.queue[n:]
	if len(o.queue) == 0 {
		o.queue = nil
	}
	return taken
}

var (
	errClosed  = pratique.Errorf(pratique.Unavailable, "not stored", "the outbox is closed")
	errNothing = errors.New("nothing to write")
	errRefused = errors.New("a request was refused after it had written")
)

// commit makes one transaction of the requests and answers them. A request that is refused after it had
// written spoils the transaction: it alone is answered, and the rest is returned, to be committed again.
func (o *Outbox) commit(requests []*request) []*request {
	var b *batch
	// Requests that were handed over before a sync failed must not be tried after it.
	err := o.usable()
	if err == nil {
		err = o.update(func(tx *bbolt.Tx) error {
			b = o.newBatch(tx)
			return b.apply(requests)
		})
		if err != nil && !errors.Is(err, errRefused) && !errors.Is(err, errNothing) {
			o.failed(err)
		}
	}
	switch {
	case errors.Is(err, errRefused):
		return o.answerRefused(requests)
	case err != nil && !errors.Is(err, errNothing):
		for _, r := range requests {
			if r.err == nil {
				r.err = pratique.Wrap(pratique.Unavailable, "not stored", "", err)
			}
		}
	default:
		o.succeeded(b)
	}
	for _, r := range requests {
		o.answer(r)
	}
	return nil
}

// usable returns why nothing may be written any more, nil if it may.
func (o *Outbox) usable() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.broken
}

func (o *Outbox) answerRefused(requests []*request) (rest []*request) {
	for _, r := range requests {
		if r.err != nil {
			o.answer(r)
			continue
		}
		rest = append(rest, r)
	}
	return rest
}

func (o *Outbox) answer(r *request) {
	if errors.Is(r.err, errFull) {
		o.mu.Lock()
		o.totals.full++
		o.mu.Unlock()
	}
	r.done <- r.err
}

func (o *Outbox) succeeded(b *batch) {
	o.mu.Lock()
	o.totals.add(b.delta)
	o.mu.Unlock()
	for _, key := range b.opened {
		o.schedule.add(task{key: key})
	}
	if b.appended {
		select {
		case o.appended <- struct{}{}:
		default:
		}
	}
}

// failed counts a commit that failed. The file is asked what it holds: bbolt may have made the change
// and failed after it. When a sync failed nobody knows what the disk holds, and the next sync may say that
// all is well: nothing is taken in any more. A full disk is found by a write, before any sync.
func (o *Outbox) failed(err error) {
	counted, _, countErr := count(o.db)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.totals.failed++
	if !harmless(err) || countErr != nil {
		if o.broken == nil {
			close(o.halted)
		}
		o.broken = pratique.Errorf(pratique.Unavailable, "not stored",
			"the outbox has to be opened again, since a commit failed: %w", errors.Join(err, countErr))
		return
	}
	o.totals.waiting, o.totals.unresolved, o.totals.refused, o.totals.bytes =
		counted.waiting, counted.unresolved, counted.refused, counted.bytes
}

// harmless reports whether a commit failed where nothing is lost: writing pages that are not used yet, or making
// the file longer, which bbolt reports without the cause. A sync is no such place; some systems report it as they do
// a write.
func harmless(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && path.Op != "sync" || strings.HasPrefix(err.Error(), "file resize error")
}
