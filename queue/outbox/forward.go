package outbox

import (
	"context"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

const (
	opForward = "forward events"
	// maxForward bounds the events of one call of Forward.
	maxForward = 500
)

// logged is an entry of the log.
type logged struct {
	key   []byte
	size  int64
	event pratique.Event
	err   error // why the event cannot be read or forwarded
}

func (o *Outbox) forwardAll(ctx context.Context, down Downstream) {
	for failures := 0; ctx.Err() == nil; {
		entries, err := o.head()
		if err != nil {
			o.config.OnError(err)
			failures++
			_ = backoff.Sleep(ctx, o.pace.afterForward(failures))
			continue
		}
		failures = 0
		if len(entries) > 0 {
			o.forward(ctx, down, entries)
			continue
		}
		select {
		case <-o.appended:
		case <-ctx.Done():
		}
	}
}

// head returns the first entries of the log. They end before an entry that cannot be read; if that
// is the first, it is returned alone.
func (o *Outbox) head() ([]logged, error) {
	var entries []logged
	err := o.view("read log", func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		for k, v := c.First(); k != nil && len(entries) < maxForward; k, v = c.Next() {
			entry := logged{key: append([]byte{}, k...), size: sizeOf(k, v)}
			if entry.event, entry.err = decodeLogged(v); entry.err == nil {
				entries = append(entries, entry)
				continue
			}
			if len(entries) == 0 {
				entries = append(entries, entry)
			}
			return nil
		}
		return nil
	})
	return entries, err
}

// forward forwards entries and removes them from the log.
func (o *Outbox) forward(ctx context.Context, down Downstream, entries []logged) {
	if entries[0].err != nil {
		o.remove(ctx, entries)
		return
	}
	events := make([]pratique.Event, len(entries))
	for i := range entries {
		events[i] = entries[i].event
	}
	err := o.retryForward(ctx, down, events)
	switch {
	case err == nil:
		o.remove(ctx, entries)
	case ctx.Err() != nil:
	case len(entries) == 1:
		entries[0].err = err
		o.remove(ctx, entries)
	default:
		o.forwardEach(ctx, down, entries)
	}
}

// forwardEach forwards entries one by one, to find those that cause a permanent error.
func (o *Outbox) forwardEach(ctx context.Context, down Downstream, entries []logged) {
	handled := 0
	for i := range entries {
		err := o.retryForward(ctx, down, []pratique.Event{entries[i].event})
		if err != nil && ctx.Err() != nil {
			break
		}
		entries[i].err = err
		handled++
	}
	if handled > 0 {
		o.remove(ctx, entries[:handled])
	}
}

// retryForward calls Forward until it returns nil or an error of a permanent kind, or ctx ends.
func (o *Outbox) retryForward(ctx context.Context, down Downstream, events []pratique.Event) error {
	for failures := 1; ; failures++ {
		err := down.Forward(ctx, events)
		if err == nil || pratique.KindOf(err).Permanent() {
			return err
		}
		if ctx.Err() != nil {
			return err
		}
		o.config.OnError(pratique.Wrap(pratique.Unknown, opForward, "", err))
		if backoff.Sleep(ctx, o.pace.afterForward(failures)) != nil {
			return err
		}
	}
}

// remove removes entries from the log, and keeps those with an error as refused. It tries at least
// once, until that is on the disk or ctx ends. What remains in the log is forwarded again.
func (o *Outbox) remove(ctx context.Context, entries []logged) {
	for failures := 1; ; failures++ {
		err := o.commit(context.WithoutCancel(ctx), opForward,
			&change{events: len(entries), apply: func(b *batch) error {
				return b.remove(entries)
			}})
		if err == nil {
			break
		}
		o.config.OnError(err)
		if ctx.Err() != nil || backoff.Sleep(ctx, o.pace.afterForward(failures)) != nil {
			return
		}
	}
	for _, e := range entries {
		if e.err != nil {
			o.config.OnError(pratique.Wrap(pratique.Unknown, "refused event "+e.event.ID,
				e.event.Ref.String(), e.err))
		}
	}
}

func (b *batch) remove(entries []logged) error {
	log := b.bucket(bucketLog)
	for _, e := range entries {
		if e.err != nil {
			if err := b.refuse(e); err != nil {
				return err
			}
		} else {
			b.delta.forwarded++
		}
		b.delete(log, e.key)
		b.delta.waiting--
		b.delta.bytes -= e.size
	}
	return nil
}
