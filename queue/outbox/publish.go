package outbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

const opPublish = "publish event"

// errFull is the error of events that exceed [Config.MaxBytes].
var errFull = errors.New("not stored: the outbox is full")

// Publish stores the events of one request, all or none, and returns how many were new; the others
// are duplicates. Later events see the earlier ones. The outbox gives the events their IDs.
//
// A duplicate repeats a delivery, by the id that its sender gave it, or reports the digest that its
// tag is known to name, whoever reported it; without a tag, a digest that is known in the
// repository. A digest that only sweeps reported is new when a sender reports it, since the sweep's
// event ordered nothing. An event without a digest waits until its tag is resolved, and is a
// duplicate if one waits for the tag already.
//
// An event is late if its digest is not that of the tag, and it happened before the newest event
// known of the tag, as their senders say. It is new, and after it the digest of the tag is unknown,
// so the next event is new as well.
//
// ctx only bounds the waiting; queued events may still be stored. Errors: Invalid for an event that
// cannot be stored, otherwise Unavailable, which says whether the outbox is full.
func (o *Outbox) Publish(ctx context.Context, events []pratique.Event) (stored int, err error) {
	if len(events) == 0 {
		return 0, nil
	}
	c := &change{events: len(events)}
	pushes := make([]push, len(events))
	now := o.config.Now()
	for i, e := range events {
		if pushes[i], err = newPush(e, now); err != nil {
			return 0, err
		}
		c.bytes += len(pushes[i].encoded)
	}
	count := 0 // not to be read before the commit
	c.apply = func(b *batch) error {
		count = 0
		for i := range pushes {
			isNew, err := b.publish(&pushes[i])
			if err != nil {
				return err
			}
			if isNew {
				count++
			}
		}
		return nil
	}
	if err := o.commit(ctx, opPublish, c); err != nil {
		return 0, err
	}
	return count, nil
}

// PublishUnlessChanged stores an event with a digest that a sweep found, under the rules of
// [Outbox.Publish]. It stores nothing if the tag's generation is not the one that was seen, or if a
// push of the tag waits: then the tag was reported meanwhile, and the sweep may have looked before
// that.
func (o *Outbox) PublishUnlessChanged(ctx context.Context, e pratique.Event,
	seen pratique.KnownTag) (stored bool, err error) {
	if e.Ref.Digest.IsZero() {
		return false, pratique.Errorf(pratique.Invalid, opPublish, "%s: a sweep finds digests", e.Ref)
	}
	p, err := newPush(e, o.config.Now())
	if err != nil {
		return false, err
	}
	isNew := false // not to be read before the commit
	c := &change{events: 1, bytes: len(p.encoded), apply: func(b *batch) error {
		isNew = false
		state, known, err := b.tag(p.key)
		if err != nil {
			return err
		}
		if known && state.generation != seen.Generation || b.bucket(bucketUnresolved).Get(p.key) != nil {
			return nil
		}
		isNew, err = b.publish(&p)
		return err
	}}
	if err := o.commit(ctx, opPublish, c); err != nil {
		return false, err
	}
	return isNew, nil
}

// Tag returns what is known of the tag of ref; its digest counts only if it has no tag.
func (o *Outbox) Tag(ref pratique.ImageRef) (pratique.KnownTag, error) {
	var t pratique.KnownTag
	key := tagKey(ref)
	err := o.view("read tag", func(tx *bbolt.Tx) error {
		state, _, err := readTag(tx.Bucket(bucketTags), key)
		t = pratique.KnownTag{Digest: state.digest, Generation: state.generation,
			Waiting: tx.Bucket(bucketUnresolved).Get(key) != nil}
		return err
	})
	return t, err
}

func readTag(tags *bbolt.Bucket, key []byte) (state tagState, known bool, err error) {
	v := tags.Get(key)
	if v == nil {
		return tagState{}, false, nil
	}
	state, err = decodeTag(v)
	return state, true, err
}

func (b *batch) tag(key []byte) (tagState, bool, error) { return readTag(b.bucket(bucketTags), key) }

// publish applies the rules of [Outbox.Publish] to one event.
func (b *batch) publish(p *push) (isNew bool, err error) {
	if p.sender != nil && b.knowsDelivery(p.sender) {
		b.delta.duplicates++
		return false, nil
	}
	if p.event.Ref.Digest.IsZero() {
		isNew, err = b.publishUnresolved(p)
	} else {
		isNew, err = b.publishResolved(p)
	}
	if err != nil {
		return false, err
	}
	if isNew {
		b.delta.stored++
	} else {
		b.delta.duplicates++
	}
	// Duplicates too: delivered again after another push, one must not look like a third push.
	if p.sender != nil {
		b.rememberDelivery(p.sender)
	}
	return isNew, nil
}

// publishResolved logs an event with a digest, unless it is a duplicate.
func (b *batch) publishResolved(p *push) (isNew bool, err error) {
	state, known, err := b.tag(p.key)
	if err != nil {
		return false, err
	}
	digest := p.event.Ref.Digest
	if state.repeats(p.event, digest) {
		b.updateTag(p, state, digest) // a new generation, since a sweep may have looked before
		return false, nil
	}
	if err := b.reserve(sizeOfLogged(p.encoded)); err != nil {
		return false, err
	}
	if at := occurredAt(p.event, b.now); at != 0 && at < state.occurred && !state.names(digest) {
		// Late: the tag may name either digest, and the next report of one must not pass for a
		// duplicate.
		digest = pratique.Digest{}
	}
	b.logPush(p, state, known, digest)
	return true, nil
}

// logPush updates the tag and appends the event to the log. A zero digest means that it is unknown
// what the tag names.
func (b *batch) logPush(p *push, state tagState, known bool, digest pratique.Digest) {
	if !known {
		// A tag that was forgotten must not give an id a second time.
		state.generation = numberOf(b.bucket(bucketMeta).Get(keyFloor))
	}
	generation := b.updateTag(p, state, digest)
	b.append(b.eventID(p.event, strconv.FormatUint(generation, 10)), p.encoded)
}

// updateTag stores the state of a tag after a report, and returns its new generation.
func (b *batch) updateTag(p *push, state tagState, digest pratique.Digest) (generation uint64) {
	state = tagState{
		digest: digest, generation: state.generation + 1, pushed: b.now,
		occurred: max(state.occurred, occurredAt(p.event, b.now)),
		swept:    p.event.RefreshOnly && !digest.IsZero() && (state.swept || !state.names(digest)),
	}
	b.put(b.bucket(bucketTags), p.key, state.encode())
	return state.generation
}

// eventID is unique for each stored event, and the same if a change of a tag is applied again.
func (b *batch) eventID(e pratique.Event, change string) string {
	return pratique.EventID(e.Source, e.Ref, string(b.bucket(bucketMeta).Get(keyName))+" "+change)
}

// publishUnresolved stores an event without a digest. If the tag is pushed again while it waits,
// the newest event replaces the others.
func (b *batch) publishUnresolved(p *push) (isNew bool, err error) {
	waiting := b.bucket(bucketUnresolved)
	count, since, before := uint64(1), b.now, int64(0)
	if v := waiting.Get(p.key); v != nil {
		u, err := decodeUnresolved(v)
		if err != nil {
			return false, err
		}
		count, since, before = u.count+1, u.since, sizeOf(p.key, v)
	}
	value := encodeUnresolved(count, since, p.encoded)
	size := sizeOf(p.key, value)
	if err := b.reserve(size - before); err != nil {
		return false, err
	}
	b.delta.bytes += size - before
	b.put(waiting, p.key, value)
	if before > 0 {
		return false, nil
	}
	b.delta.unresolved++
	b.unresolved = append(b.unresolved, string(p.key))
	return true, nil
}

func sizeOfLogged(encoded []byte) int64 {
	return int64(numberSize + idSize + len(encoded) + overhead)
}

// append writes an event to the end of the log.
func (b *batch) append(id string, encoded []byte) {
	log := b.bucket(bucketLog)
	log.FillPercent = 1 // keys only grow
	next, err := log.NextSequence()
	b.fail(err)
	b.put(log, number(next), encodeLogged(id, encoded))
	b.appended = true
	b.delta.waiting++
	b.delta.bytes += sizeOfLogged(encoded)
}

// reserve returns errFull if size bytes do not fit.
func (b *batch) reserve(size int64) error {
	if size <= 0 || b.delta.bytes+size <= b.free {
		return nil
	}
	return pratique.Wrap(pratique.Unavailable, opPublish, "",
		fmt.Errorf("%w: %d bytes wait to be forwarded", errFull, b.config.MaxBytes-b.free+b.delta.bytes))
}
