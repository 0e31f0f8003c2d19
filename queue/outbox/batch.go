package outbox

import (
	"time"

	"go.etcd.io/bbolt"
)

// batch is one transaction.
type batch struct {
	tx      *bbolt.Tx
	config  Config
	now     time.Time
	periods []period // of deliveries, once they were read
	free    int64    // bytes that may still be added
	writes  int
	err     error // of the first write that failed; the transaction is rolled back

	// What follows from the transaction once it is committed.
	delta      totals
	unresolved []string // tags to be resolved
	appended   bool     // there are events to be forwarded
}

func (o *Outbox) newBatch(tx *bbolt.Tx) *batch {
	o.mu.Lock()
	defer o.mu.Unlock()
	return &batch{tx: tx, config: o.config, now: o.config.Now(), free: o.config.MaxBytes - o.totals.bytes}
}

// apply makes the changes. An error rolls the transaction back.
func (b *batch) apply(changes []*change) error {
	for _, c := range changes {
		writes, delta := b.writes, b.delta
		if c.err = c.apply(b); b.err != nil {
			return b.err
		}
		if c.err != nil {
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

func (b *batch) bucket(name []byte) *bbolt.Bucket { return b.tx.Bucket(name) }

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
