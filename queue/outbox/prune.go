package outbox

import (
	"context"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique/internal/backoff"
)

const (
	opPrune = "forget old entries"
	// pruneChunk bounds the tags that one transaction reads.
	pruneChunk = 2000
)

func (o *Outbox) pruneAll(ctx context.Context) {
	for backoff.Sleep(ctx, o.pace.prune) == nil {
		if err := o.prune(ctx); err != nil && ctx.Err() == nil {
			o.config.OnError(err)
		}
	}
}

// prune forgets old deliveries and tags, in small transactions.
func (o *Outbox) prune(ctx context.Context) error {
	for more := true; more; {
		err := o.commit(ctx, opPrune, &change{apply: func(b *batch) error {
			more = b.dropDeliveries()
			return nil
		}})
		if err != nil {
			return err
		}
	}
	for from := []byte{}; from != nil; {
		keys, next, err := o.oldTags(from)
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			err := o.commit(ctx, opPrune, &change{events: len(keys), apply: func(b *batch) error {
				return b.dropTags(keys)
			}})
			if err != nil {
				return err
			}
		}
		from = next
	}
	return nil
}

// dropDeliveries drops the oldest bucket of deliveries if all in it are too old, and reports
// whether it did. Everything in a bucket arrived before the start of the next one.
func (b *batch) dropDeliveries() bool {
	periods := b.deliveryPeriods()
	last := len(periods) - 1
	if last < 1 || b.now.Sub(periods[last-1].start) <= b.config.Deliveries {
		return false
	}
	b.writes++
	b.fail(b.bucket(bucketDeliveries).DeleteBucket(appendTime(nil, periods[last].start)))
	b.periods = nil
	return true
}

// oldTags reads the tags from the given key on, and returns those to forget and the key to continue
// with, nil at the end.
func (o *Outbox) oldTags(from []byte) (keys [][]byte, next []byte, err error) {
	now := o.config.Now()
	err = o.view(opPrune, func(tx *bbolt.Tx) error {
		c, read := tx.Bucket(bucketTags).Cursor(), 0
		for k, v := c.Seek(from); k != nil; k, v = c.Next() {
			if read++; read > pruneChunk {
				next = append([]byte{}, k...)
				return nil
			}
			if state, err := decodeTag(v); err == nil && now.Sub(state.pushed) > o.config.Tags {
				keys = append(keys, append([]byte{}, k...))
			}
		}
		return nil
	})
	return keys, next, err
}

// dropTags forgets tags that were not pushed meanwhile.
func (b *batch) dropTags(keys [][]byte) error {
	meta := b.bucket(bucketMeta)
	floor := numberOf(meta.Get(keyFloor))
	for _, key := range keys {
		state, known, err := b.tag(key)
		if err != nil {
			return err
		}
		if !known || b.now.Sub(state.pushed) <= b.config.Tags {
			continue
		}
		floor = max(floor, state.generation)
		b.delete(b.bucket(bucketTags), key)
	}
	b.put(meta, keyFloor, number(floor))
	return nil
}
