package outbox

import (
	"context"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

const (
	opForward = "forward events"
	// maxForward bounds the events that are forwarded at once.
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

// head reads the start of the log. An entry that cannot be read ends it, or comes alone.
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

// forward passes the entries on and takes them out of the log.
func (o *Outbox) forward(ctx context.Context, down Downstream, entries []logged) {
	if entries[0].err != nil {
		o.finish(ctx, entries)
		return
	}
	events := make([]pratique.Event, len(entries))
	for i := range entries {
		events[i] = entries[i].event
	}
	err := o.persist(ctx, down, events)
	switch {
	case err == nil:
		o.finish(ctx, entries)
	case ctx.Err() != nil:
	case len(entries) == 1:
		entries[0].err = err
		o.finish(ctx, entries)
	default:
		o.forwardSingly(ctx, down, entries)
	}
}

// forwardSingly finds the events that a permanent error is about.
func (o *Outbox) forwardSingly(ctx context.Context, down Downstream, entries []logged) {
	handled := 0
	for i := range entries {
		err := o.persist(ctx, down, []pratique.Event{entries[i].event})
		if err != nil && ctx.Err() != nil {
			break
		}
		entries[i].err = err
		handled++
	}
	if handled > 0 {
		o.finish(ctx, entries[:handled])
	}
}

// persist calls Forward until it returns nil or an error of a permanent kind, or ctx ends.
func (o *Outbox) persist(ctx context.Context, down Downstream, events []pratique.Event) error {
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

// finish takes entries out of the log, and sets those with an error aside. It tries until that is on the disk
// or ctx ends, at least once: what stays in the log is forwarded again.
func (o *Outbox) finish(ctx context.Context, entries []logged) {
	for failures := 1; ; failures++ {
		err := o.submit(context.WithoutCancel(ctx), opForward, &request{events: len(entries), apply: func(b *batch) error {
			return b.finish(entries)
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
			o.config.OnError(pratique.Wrap(pratique.Unknown, "refused event "+e.event.ID, e.event.Ref.String(), e.err))
		}
	}
}

func (b *batch) finish(entries []logged) error {
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
