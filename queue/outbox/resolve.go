package outbox

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

const (
	opResolve = "resolve tag"
	// resolvers bounds the calls of Downstream.Resolve at once, and perRegistry those to one registry: one that
	// does not answer must not hold up the others.
	resolvers   = 16
	perRegistry = 4
	// patience is how long a tag is tried before its event goes on without a digest, and the longest that a registry
	// can have it wait.
	patience = 24 * time.Hour
)

// resolveAll gives due tasks to goroutines, and waits for them when ctx ends.
func (o *Outbox) resolveAll(ctx context.Context, down Downstream) {
	var running sync.WaitGroup
	defer running.Wait()
	for ctx.Err() == nil {
		t, wait, ok := o.schedule.next(time.Now())
		if ok {
			running.Go(func() {
				next, again := o.resolve(ctx, down, t)
				o.schedule.finished(t, next, again)
			})
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-o.schedule.changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// resolve makes one attempt. It returns the next one, if there has to be one.
func (o *Outbox) resolve(ctx context.Context, down Downstream, t task) (next task, again bool) {
	waits, generation, found, err := o.readUnresolved(t.key)
	if err != nil {
		return o.later(t, err)
	}
	if !found {
		return task{}, false
	}
	askCtx, cancel := context.WithTimeout(ctx, o.pace.resolveTimeout)
	digest, err := down.Resolve(askCtx, waits.event.Ref)
	cancel()
	if ctx.Err() != nil && err != nil {
		return t, true // told to stop; the next Run goes on
	}
	if err == nil && digest.IsZero() {
		err = pratique.Errorf(pratique.Internal, opResolve, "an answer without a digest")
	}
	giveUp := err != nil && (pratique.KindOf(err).Permanent() || o.config.Now().Sub(waits.since) >= patience)
	if err != nil && !giveUp {
		return o.later(t, pratique.Wrap(pratique.Unknown, opResolve, t.key, err))
	}
	settled := false
	r := &request{events: 1, apply: func(b *batch) (err error) {
		settled, err = b.settle([]byte(t.key), waits, generation, digest)
		return err
	}}
	if commitErr := o.submit(context.WithoutCancel(ctx), opResolve, r); commitErr != nil {
		return o.later(t, commitErr)
	}
	if !settled {
		// Reported again meanwhile: the answer may be from before. Whoever reports without end must not have us ask so.
		return task{key: t.key, due: time.Now().Add(o.pace.resolve.Min)}, true
	}
	if giveUp {
		o.config.OnError(pratique.Wrap(pratique.Unknown, "gave up: "+opResolve, t.key, err))
	}
	return task{}, false
}

// later puts a task off, for as long as the registry says if that is longer. Of a row of failures the first is told;
// the counters show the rest.
func (o *Outbox) later(t task, err error) (task, bool) {
	if t.failures == 0 {
		o.config.OnError(err)
	}
	t.failures++
	wait := o.pace.resolve.Delay(t.failures, o.pace.random())
	t.due = time.Now().Add(max(wait, min(backoff.RetryAfter(err), patience)))
	return t, true
}

// readUnresolved returns the push that waits for a tag, and the tag's generation.
func (o *Outbox) readUnresolved(key string) (u unresolved, generation uint64, found bool, err error) {
	err = o.view(opResolve, func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketUnresolved).Get([]byte(key))
		if v == nil {
			return nil
		}
		found = true
		state, _, err := readTag(tx.Bucket(bucketTags), []byte(key))
		if err != nil {
			return err
		}
		generation = state.generation
		u, err = decodeUnresolved(v)
		return err
	})
	return u, generation, found, err
}

// settle ends the waiting of a tag with the digest that was found, or with none. It does nothing if the tag was
// reported since the question was asked. What the registry says is never late.
func (b *batch) settle(key []byte, asked unresolved, generation uint64, digest pratique.Digest) (bool, error) {
	waiting := b.bucket(bucketUnresolved)
	v := waiting.Get(key)
	if v == nil {
		return true, nil
	}
	now, err := decodeUnresolved(v)
	if err != nil {
		return false, err
	}
	state, known, err := b.tag(key)
	if err != nil {
		return false, err
	}
	if now.count != asked.count || state.generation != generation {
		return false, nil
	}
	e := now.event
	if !digest.IsZero() {
		e.Ref = e.Ref.WithContentID(digest.ContentID())
	}
	encoded, err := json.Marshal(e)
	if err != nil {
		return false, pratique.Wrap(pratique.Internal, opResolve, string(key), err)
	}
	b.delta.bytes -= sizeOf(key, v)
	b.delta.unresolved--
	b.delete(waiting, key)
	// What waited is in the bound already, so nothing here is refused for want of room.
	p := &push{event: e, key: key, encoded: encoded}
	switch {
	case digest.IsZero():
		b.append(b.eventID(e, "unresolved "+strconv.FormatInt(now.since.UnixNano(), 10)), encoded)
		if known {
			b.note(p, state, digest) // unsure now: what was known may have been pushed over
		}
	case state.repeats(e, digest):
		b.note(p, state, digest)
		b.delta.duplicates++
	default:
		b.advance(p, state, known, digest)
	}
	return true, nil
}
