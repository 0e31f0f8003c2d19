// Package outbox is the durable point of the intake: what was published is on the disk, and is
// forwarded in order. In the same transaction it decides what is a duplicate.
//
// Everything is in one bbolt file that one process has open. Integers are big-endian; times are
// nanoseconds since 1970. The buckets:
//
//	meta        "format" → "pratique outbox 1"; "name" → random, part of every event's id, so that a new outbox
//	            gives no id a second time; "floor" → highest generation of any tag that was forgotten
//	log         number → 32 digits of the event's id, then the event as JSON with an empty id
//	unresolved  tag → how often it was pushed, since when it waits, then the newest event as JSON
//	tags        "registry/path:tag" or "registry/path@sha256:…" → digest (32 bytes, zero if unknown), generation,
//	            time of the last report, newest time given by a sender (0 if none), and a byte 1 if only sweeps
//	            reported the digest
//	deliveries  time of its first entry → bucket: hash of source, ref and sender's id → time of arrival
//	refused     number → JSON of [Refused]
//	bookmarks   name → value
//
// After a quarter of the time that deliveries are remembered a new bucket is begun for them, so
// that old ones are dropped whole.
package outbox

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

// Config configures an outbox.
type Config struct {
	// File is the bbolt file; it and its directory are created if they do not exist.
	File string
	// MaxBytes bounds the encoded events that wait to be forwarded; 0 means 256 MiB. What is
	// remembered of tags and deliveries is not counted.
	MaxBytes int64
	// Deliveries is how long sender ids are remembered, 0 means 24 h. Tags is how long a tag is
	// remembered after its last report; 0 means 400 days.
	Deliveries, Tags time.Duration
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
	// OnError is called with what [Outbox.Run] retries or gives up, and with leftover files that
	// [Open] could not remove. It may be nil, and is called from several goroutines.
	OnError func(error)
	// noSync leaves syncing to the operating system, for tests without power cuts: bbolt may then
	// lose more than the newest commits.
	noSync bool
}

func (c Config) withDefaults() Config {
	if c.MaxBytes <= 0 {
		c.MaxBytes = 256 << 20
	}
	if c.Deliveries <= 0 {
		c.Deliveries = 24 * time.Hour
	}
	if c.Tags <= 0 {
		c.Tags = 400 * 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	return c
}

// Outbox is an open outbox. Its methods may be called from several goroutines.
type Outbox struct {
	config Config
	pace   pace
	db     *bbolt.DB
	// update is db.Update; tests replace it with a failing disk.
	update func(func(*bbolt.Tx) error) error

	queue    *queue
	appended chan struct{} // the log grew
	schedule *schedule     // of the tags to be resolved
	closing  chan struct{} // closed by Close
	halted   chan struct{} // closed when broken is set

	mu      sync.Mutex
	broken  error // why nothing may be written any more
	totals  totals
	closed  bool
	running bool
	runs    sync.WaitGroup // Close waits for Run
}

// Open opens the file of c, and creates it if it does not exist. Errors: Conflict if another
// process has it open, Corrupt if it is damaged, is something else or has another format, otherwise
// Unavailable.
func Open(c Config) (*Outbox, error) {
	c = c.withDefaults()
	db, err := openFile(c)
	if err != nil {
		return nil, err
	}
	if err := boltfile.RemoveTemp(c.File); err != nil {
		c.OnError(pratique.Wrap(pratique.Unavailable, "remove leftover files", c.File, err))
	}
	o := &Outbox{
		config: c, pace: defaultPace, db: db, update: db.Update,
		appended: make(chan struct{}, 1), schedule: newSchedule(),
		closing: make(chan struct{}), halted: make(chan struct{}),
	}
	var unresolved []string
	o.totals, unresolved, err = count(db)
	if err != nil {
		return nil, errors.Join(pratique.Wrap(pratique.Corrupt, opOpen, c.File, err), db.Close())
	}
	for _, key := range unresolved {
		o.schedule.add(task{key: key})
	}
	o.queue = newQueue(o.flush)
	return o, nil
}

// Close accepts nothing new, ends [Outbox.Run], waits until what was queued is committed, and
// closes the file. Later calls of any method fail with Unavailable; closing again does nothing.
func (o *Outbox) Close() error {
	o.mu.Lock()
	again := o.closed
	if !again {
		o.closed = true
		close(o.closing)
	}
	o.mu.Unlock()
	o.queue.close()
	if again {
		return nil
	}
	o.runs.Wait()
	return pratique.Wrap(pratique.Unavailable, "close outbox", o.config.File, o.db.Close())
}

// Stats returns the counters. It is cheap, but reads the age of each unresolved push.
func (o *Outbox) Stats() pratique.OutboxStats {
	var logged, unresolved time.Time
	// A closed file cannot be read; the counters remain.
	_ = o.view("read outbox", func(tx *bbolt.Tx) error {
		logged, unresolved = oldestLogged(tx), oldestUnresolved(tx)
		return nil
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.totals
	return pratique.OutboxStats{
		Waiting: t.waiting, Unresolved: t.unresolved, Refused: t.refused,
		Bytes: t.bytes, MaxBytes: o.config.MaxBytes, Oldest: logged, OldestUnresolved: unresolved,
		Stored: t.stored, Duplicates: t.duplicates, Forwarded: t.forwarded, RefusedFull: t.full,
		FailedCommits: t.failed,
	}
}

// totals are the counters. Each transaction has its own, which are added once it is committed.
type totals struct {
	waiting, unresolved, refused int
	bytes                        int64

	stored, duplicates, forwarded, full, failed uint64
}

func (t *totals) add(d totals) {
	t.waiting += d.waiting
	t.unresolved += d.unresolved
	t.refused += d.refused
	t.bytes += d.bytes
	t.stored += d.stored
	t.duplicates += d.duplicates
	t.forwarded += d.forwarded
}

// count counts what waits in the file, and returns the keys of the unresolved pushes.
func count(db *bbolt.DB) (t totals, unresolved []string, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		_ = tx.Bucket(bucketLog).ForEach(func(k, v []byte) error { // the callback has no error
			t.waiting++
			t.bytes += sizeOf(k, v)
			return nil
		})
		_ = tx.Bucket(bucketUnresolved).ForEach(func(k, v []byte) error { // as above
			t.unresolved++
			t.bytes += sizeOf(k, v)
			unresolved = append(unresolved, string(k))
			return nil
		})
		t.refused = tx.Bucket(bucketRefused).Stats().KeyN
		return nil
	})
	return t, unresolved, err
}

// view runs a read transaction. An error without a kind is Unavailable: the file could not be read.
func (o *Outbox) view(op string, fn func(*bbolt.Tx) error) error {
	return boltfile.WithKind(op, o.config.File, o.db.View(fn))
}

// Bookmark returns the value that was stored under name, nil if there is none.
func (o *Outbox) Bookmark(name string) ([]byte, error) {
	var value []byte
	err := o.view("read bookmark", func(tx *bbolt.Tx) error {
		value = append(value, tx.Bucket(bucketBookmarks).Get([]byte(name))...)
		return nil
	})
	return value, err
}

// SetBookmark stores value under name; an empty value deletes the name. Names have 1 to 1,024 bytes
// and values at most 64 KiB, otherwise the error is Invalid. ctx bounds the waiting only.
func (o *Outbox) SetBookmark(ctx context.Context, name string, value []byte) error {
	const op, maxName, maxValue = "set bookmark", 1 << 10, 64 << 10
	if name == "" || len(name) > maxName || len(value) > maxValue {
		return pratique.Errorf(pratique.Invalid, op,
			"a name of %d bytes with a value of %d: too short or too long", len(name), len(value))
	}
	key, value := []byte(name), slices.Clone(value)
	return o.commit(ctx, op, &change{bytes: len(value), apply: func(b *batch) error {
		if len(value) == 0 {
			b.delete(b.bucket(bucketBookmarks), key)
			return nil
		}
		b.put(b.bucket(bucketBookmarks), key, value)
		return nil
	}})
}
