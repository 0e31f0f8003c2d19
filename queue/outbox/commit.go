package outbox

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

var (
	errClosed  = pratique.Errorf(pratique.Unavailable, "not stored", "the outbox is closed")
	errNothing = errors.New("nothing to write")
	errRefused = errors.New("a change was refused after some of its writes")
)

// commit queues a change and waits until it is on the disk. If ctx ends first the error is
// Unavailable, and the change may still be made.
func (o *Outbox) commit(ctx context.Context, op string, c *change) error {
	c.done = make(chan error, 1)
	if err := ctx.Err(); err != nil {
		return pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	if !o.queue.add(c) {
		return pratique.Wrap(pratique.Unavailable, op, "", errClosed)
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return pratique.Wrap(pratique.Unavailable, op, "", ctx.Err())
	}
}

// flush commits changes in one transaction and notifies their callers. A change that is refused
// after some of its writes spoils the transaction; the others are committed without it.
func (o *Outbox) flush(changes []*change) {
	err := o.transact(changes)
	for errors.Is(err, errRefused) {
		changes = slices.DeleteFunc(changes, func(c *change) bool {
			if c.err != nil {
				o.notify(c)
			}
			return c.err != nil
		})
		err = o.transact(changes)
	}
	for _, c := range changes {
		if c.err == nil {
			c.err = err
		}
		o.notify(c)
	}
}

func (o *Outbox) notify(c *change) {
	if errors.Is(c.err, errFull) {
		o.mu.Lock()
		o.totals.full++
		o.mu.Unlock()
	}
	c.done <- c.err
}

// transact applies changes in one transaction. It writes nothing after a failed sync.
func (o *Outbox) transact(changes []*change) error {
	if err := o.failure(); err != nil {
		return err
	}
	var b *batch
	err := o.update(func(tx *bbolt.Tx) error {
		b = o.newBatch(tx)
		return b.apply(changes)
	})
	switch {
	case err == nil, errors.Is(err, errNothing):
		o.committed(b)
		return nil
	case errors.Is(err, errRefused):
		return err
	}
	o.commitFailed(err)
	return pratique.Wrap(pratique.Unavailable, "not stored", "", err)
}

// failure returns why nothing may be written any more, nil if it may.
func (o *Outbox) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.broken
}

func (o *Outbox) committed(b *batch) {
	o.mu.Lock()
	o.totals.add(b.delta)
	o.mu.Unlock()
	for _, key := range b.unresolved {
		o.schedule.add(task{key: key})
	}
	if b.appended {
		select {
		case o.appended <- struct{}{}:
		default:
		}
	}
}

// commitFailed counts a failed commit, and counts again what the file holds, since bbolt may have
// made the change before it failed. After a failed sync the outbox is broken: what is on the disk
// is unknown, and the next sync may report success. A full disk is met by a write, before any sync.
func (o *Outbox) commitFailed(err error) {
	counted, _, countErr := count(o.db)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.totals.failed++
	if !benign(err) || countErr != nil {
		if o.broken == nil {
			close(o.halted)
		}
		o.broken = pratique.Errorf(pratique.Unavailable, "not stored",
			"a commit failed, and the outbox has to be opened again: %w", errors.Join(err, countErr))
		return
	}
	o.totals.waiting, o.totals.unresolved, o.totals.refused, o.totals.bytes =
		counted.waiting, counted.unresolved, counted.refused, counted.bytes
}

// benign reports whether a commit failed before anything was lost: while it wrote unused pages, or
// made the file longer, which bbolt reports without the cause. A sync is never benign; some systems
// report it as they do a write.
func benign(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && path.Op != "sync" ||
		strings.HasPrefix(err.Error(), "file resize error")
}
