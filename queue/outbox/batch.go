package outbox

import (
	"time"

	"go.etcd.io/bbolt"
)

// batch is one transaction: the buckets, and what it changes of the totals.
type batch struct {
	tx      *bbolt.Tx
	config  Config
	now     time.Time
	buckets map[string]*bbolt.Bucket
	periods []period
	room    int64 // bytes that may still be added
	delta   totals
	opened  []string // tags that began to wait for their digest
	// appended says that the log grew, though it may have shrunk as well.
	appended bool
	writes   int
	err      error // the first write that failed; the transaction has to be rolled back
}

func (o *Outbox) newBatch(tx *bbolt.Tx) *batch {
	o.mu.Lock()
	room := o.config.MaxBytes - o.totals.bytes
	o.mu.Unlock()
	return &batch{tx: tx, config: o.config, now: o.config.Now(), buckets: map[string]*bbolt.Bucket{}, room: room}
}

// apply makes the changes of the requests, or says why the transaction has to be rolled back.
func (b *batch) apply(requests []*request) error {
	for _, r := range requests {
		writes, delta := b.writes, b.delta
		if r.err = r.apply(b); b.err != nil {
			return b.err
		}
		if r.err != nil {
			if b.writes != writes {
				return errRefused
			}
			b.delta = delta
		}
	}
	if b.writes == 0 {
		return errNothing
	}
	return nil
}

func (b *batch) bucket(name []byte) *bbolt.Bucket {
	bucket, ok := b.buckets[string(name)]
	if !ok {
		bucket = b.tx.Bucket(name)
		b.buckets[string(name)] = bucket
	}
	return bucket
}

func (b *batch) put(bucket *bbolt.Bucket, key, value []byte) {
	b.writes++
	b.fail(bucket.Put(key, value))
}

func (b *batch) delete(bucket *bbolt.Bucket, key []byte) {
	b.writes++
	b.fail(bucket.Delete(key))
}

func (b *batch) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}
