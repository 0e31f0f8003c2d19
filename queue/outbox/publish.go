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

// errFull refuses a request for which there is no room.
var errFull = errors.New("not stored: the outbox is full")

// Publish stores the events of one request durably, all or none, and returns how many were news; the others are
// duplicates. Later events see the earlier ones. The events come without ID, the outbox gives it. A duplicate
// repeats a delivery of a sender that gave it an id, or the newest digest known for its tag, whoever told of it;
// without a tag, a digest that is known in the repository. A digest that only sweeps told of is news when a sender reports
// it: the sweep's event ordered nothing. An event without a digest waits until its tag was
// resolved, and repeats one that waits for the same tag.
//
// An event is late if it has another digest than the tag, and happened before the newest that is known of the tag, as
// their senders say. It is news, and what the tag names is unsure after it: whatever comes next is news as well.
//
// ctx only bounds the waiting; what was handed to the committer may still be stored. Errors: Invalid for an
// event that cannot be stored, otherwise Unavailable, which says whether the outbox is full.
func (o *Outbox) Publish(ctx context.Context, events []pratique.Event) (stored int, err error) {
	if len(events) == 0 {
		return 0, nil
	}
	r := &request{events: len(events)}
	pushes := make([]push, len(events))
	now := o.config.Now()
	for i, e := range events {
		if pushes[i], err = newPush(e, now); err != nil {
			return 0, err
		}
		r.bytes += len(pushes[i].encoded)
	}
	count := 0 // belongs to the committer until it has answered
	r.apply = func(b *batch) error {
		count = 0
		for i := range pushes {
			news, err := b.publish(&pushes[i])
			if err != nil {
				return err
			}
			if news {
				count++
			}
		}
		return nil
	}
	if err := o.submit(ctx, opPublish, r); err != nil {
		return 0, err
	}
	return count, nil
}

// PublishUnlessChanged stores an event with a digest that a sweep found, under the rules of [Outbox.Publish]. It
// stores nothing if the tag is known with another generation than seen, or if a push of it waits: somebody reported
// meanwhile, if only that the tag names what was known, and the sweep may have looked before.
func (o *Outbox) PublishUnlessChanged(ctx context.Context, e pratique.Event, seen pratique.KnownTag) (stored bool, err error) {
	if e.Ref.Digest.IsZero() {
		return false, pratique.Errorf(pratique.Invalid, opPublish, "%s: a sweep finds digests", e.Ref)
	}
	p, err := newPush(e, o.config.Now())
	if err != nil {
		return false, err
	}
	news := false // belongs to the committer until it has answered
	r := &request{events: 1, bytes: len(p.encoded), apply: func(b *batch) error {
		news = false
		state, known, err := b.tag(p.key)
		if err != nil {
			return err
		}
		if known && state.generation != seen.Generation || b.bucket(bucketUnresolved).Get(p.key) != nil {
			return nil
		}
		news, err = b.publish(&p)
		return err
	}}
	if err := o.submit(ctx, opPublish, r); err != nil {
		return false, err
	}
	return news, nil
}

// Tag returns what is known of the tag of ref; its digest counts only if it has no tag.
func (o *Outbox) Tag(ref pratique.ImageRef) (pratique.KnownTag, error) {
	var t pratique.KnownTag
	key := tagKey(ref)
	err := o.view("read tag", func(tx *bbolt.Tx) error {
		state, _, err := readTag(tx.Bucket(bucketTags), key)
		t = pratique.KnownTag{Digest: state.digest, Generation: state.generation, Waiting: tx.Bucket(bucketUnresolved).Get(key) != nil}
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

// publish applies the rules to one event.
func (b *batch) publish(p *push) (news bool, err error) {
	if p.sender != nil && b.knowsDelivery(p.sender) {
		b.delta.duplicates++
		return false, nil
	}
	if p.event.Ref.Digest.IsZero() {
		news, err = b.await(p)
	} else {
		news, err = b.record(p)
	}
	if err != nil {
		return false, err
	}
	if news {
		b.delta.stored++
	} else {
		b.delta.duplicates++
	}
	// Also of a duplicate: delivered again after another push, it must not look like a third one.
	if p.sender != nil {
		b.rememberDelivery(p.sender)
	}
	return news, nil
}

// record stores an event with a digest, unless it repeats the newest one of its tag.
func (b *batch) record(p *push) (news bool, err error) {
	state, known, err := b.tag(p.key)
	if err != nil {
		return false, err
	}
	digest := p.event.Ref.Digest
	if state.repeats(p.event, digest) {
		b.note(p, state, digest) // with a generation of its own, since a sweep may have looked before
		return false, nil
	}
	if err := b.reserve(sizeOfLogged(p.encoded)); err != nil {
		return false, err
	}
	if at := occurredAt(p.event, b.now); at != 0 && at < state.occurred && !state.names(digest) {
		// Late: the tag may name this or what was known, and the next report of either must not pass for a repeat.
		digest = pratique.Digest{}
	}
	b.advance(p, state, known, digest)
	return true, nil
}

// advance gives the tag its next generation and appends the event to the log. The tag is taken to name digest
// from then on; zero means unsure.
func (b *batch) advance(p *push, state tagState, known bool, digest pratique.Digest) {
	if !known {
		// A tag that was forgotten must not give an id a second time.
		state.generation = numberOf(b.bucket(bucketMeta).Get(keyFloor))
	}
	generation := b.note(p, state, digest)
	b.append(b.eventID(p.event, strconv.FormatUint(generation, 10)), p.encoded)
}

// note writes the state of a tag after a report, and returns its generation.
func (b *batch) note(p *push, state tagState, digest pratique.Digest) (generation uint64) {
	state = tagState{
		digest: digest, generation: state.generation + 1, pushed: b.now,
		occurred: max(state.occurred, occurredAt(p.event, b.now)),
		swept:    p.event.RefreshOnly && !digest.IsZero() && (state.swept || !state.names(digest)),
	}
	b.put(b.bucket(bucketTags), p.key, state.encode())
	return state.generation
}

// eventID is the same for the same change of a tag in this outbox, and another for each event that is stored.
func (b *batch) eventID(e pratique.Event, change string) string {
	return pratique.EventID(e.Source, e.Ref, string(b.bucket(bucketMeta).Get(keyName))+" "+change)
}

// await notes an event without a digest. While it waits the tag may be pushed again: the newest event stands
// for all.
func (b *batch) await(p *push) (news bool, err error) {
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
	b.opened = append(b.opened, string(p.key))
	return true, nil
}

func sizeOfLogged(encoded []byte) int64 {
	return int64(numberSize + idSize + len(encoded) + overhead)
}

// append writes an event to the end of the log.
func (b *batch) append(id string, encoded []byte) {
	log := b.bucket(bucketLog)
	log.FillPercent = 1 // nothing is ever put between
	next, err := log.NextSequence()
	b.fail(err)
	b.put(log, number(next), encodeLogged(id, encoded))
	b.appended = true
	b.delta.waiting++
	b.delta.bytes += sizeOfLogged(encoded)
}

// reserve refuses what does not fit into the room that is left.
func (b *batch) reserve(size int64) error {
	if size <= 0 || b.delta.bytes+size <= b.room {
		return nil
	}
	return pratique.Wrap(pratique.Unavailable, opPublish, "",
		fmt.Errorf("%w: %d bytes wait to be forwarded", errFull, b.config.MaxBytes-b.room+b.delta.bytes))
}
