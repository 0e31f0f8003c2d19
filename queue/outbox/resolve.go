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
	// maxResolves bounds the concurrent calls of Downstream.Resolve, and maxPerRegistry those to
	// one registry, so that one that does not answer does not hold up the others.
	maxResolves    = 16
	maxPerRegistry = 4
	// resolveFor is how long a tag is retried before its event is forwarded without a digest, and
	// the longest wait that a registry can ask for.
	resolveFor = 24 * time.Hour
)

// resolveAll runs tasks when they are due, and waits for them when ctx ends.
func (o *Outbox) resolveAll(ctx context.Context, down Downstream) {
	var running sync.WaitGroup
	defer running.Wait()
	for ctx.Err() == nil {
		t, wait, ok := o.schedule.next(time.Now())
		if ok {
			running.Go(func() {
				next, retry := o.resolve(ctx, down, t)
				o.schedule.finished(t, next, retry)
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

// resolve makes one attempt. It returns the task of the next one, if there is to be one.
func (o *Outbox) resolve(ctx context.Context, down Downstream, t task) (next task, retry bool) {
	asked, generation, found, err := o.readUnresolved(t.key)
	if err != nil {
		return o.postpone(t, err)
	}
	if !found {
		return task{}, false
	}
	askCtx, cancel := context.WithTimeout(ctx, o.pace.resolveTimeout)
	digest, err := down.Resolve(askCtx, asked.event.Ref)
	cancel()
	if ctx.Err() != nil && err != nil {
		return t, true // for the next Run
	}
	if err == nil && digest.IsZero() {
		err = pratique.Errorf(pratique.Internal, opResolve, "an answer without a digest")
	}
	giveUp := err != nil && (pratique.KindOf(err).Permanent() ||
		o.config.Now().Sub(asked.since) >= resolveFor)
	if err != nil && !giveUp {
		return o.postpone(t, pratique.Wrap(pratique.Unknown, opResolve, t.key, err))
	}
	done := false
	c := &change{events: 1, apply: func(b *batch) (err error) {
		done, err = b.resolved([]byte(t.key), asked, generation, digest)
		return err
	}}
	if commitErr := o.commit(context.WithoutCancel(ctx), opResolve, c); commitErr != nil {
		return o.postpone(t, commitErr)
	}
	if !done {
		// The tag was reported meanwhile, perhaps after the answer. Wait, so that a sender that
		// reports continuously cannot make us query the registry in a loop.
		return task{key: t.key, due: time.Now().Add(o.pace.resolve.Min)}, true
	}
	if giveUp {
		o.config.OnError(pratique.Wrap(pratique.Unknown, "gave up: "+opResolve, t.key, err))
	}
	return task{}, false
}

// postpone backs off after a failure, and at least for as long as the registry asks. It reports
// only the first of successive failures; the counters show the others.
func (o *Outbox) postpone(t task, err error) (task, bool) {
	if t.failures == 0 {
		o.config.OnError(err)
	}
	t.failures++
	wait := o.pace.resolve.Delay(t.failures, o.pace.random())
	t.due = time.Now().Add(max(wait, min(backoff.RetryAfter(err), resolveFor)))
	return t, true
}

// readUnresolved returns the push of a tag that waits, and the tag's generation.
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

// resolved logs the waiting push of a tag with the digest that was found, or with none. It returns
// false and does nothing if the tag was reported since asked was read. What the registry says is
// never late.
func (b *batch) resolved(key []byte, asked unresolved, generation uint64,
	digest pratique.Digest) (done bool, err error) {
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
	// The push counts towards MaxBytes already, so it is not refused here.
	p := &push{event: e, key: key, encoded: encoded}
	switch {
	case digest.IsZero():
		b.append(b.eventID(e, "unresolved "+strconv.FormatInt(now.since.UnixNano(), 10)), encoded)
		if known {
			b.updateTag(p, state, digest) // unknown now: the tag may have moved
		}
	case state.repeats(e, digest):
		b.updateTag(p, state, digest)
		b.delta.duplicates++
	default:
		b.logPush(p, state, known, digest)
	}
	return true, nil
}
