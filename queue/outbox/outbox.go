// Package outbox is the durable point of the intake: what was published here is on the disk, and is carried on in
// order when the line behind can take it. It also decides what a duplicate is, in the same transaction.
//
// Everything is in one bbolt file that one process has open. Integers are big-endian; times are nanoseconds
// since 1970. The buckets:
//
//	meta        "format" → "pratique outbox 1"; "name" → at random, part of every event's id, so that an outbox that
//	            begins anew gives no id a second time; "floor" → highest generation of any tag that was forgotten
//	log         number → 32 digits of the event's id, then the event as JSON with an empty id
//	unresolved  tag → how often it was pushed, since when it waits, then the newest event as JSON
//	tags        "registry/path:tag" or "registry/path@sha256:…" → digest (32 bytes, zero if unsure), generation, when
//	            it was last reported, newest time that a sender gave (0 if none), and a byte 1 if only sweeps told
//	            of the digest
//	deliveries  time of its first entry → bucket: hash of source, ref and sender's id → when it came in
//	refused     number → JSON of [Refused]
//	bookmarks   name → value
//
// A bucket of deliveries is left for a new one after a quarter of the time they are remembered for, so that
// old ones are dropped whole.
package outbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

// Config says where an outbox is and how much it keeps.
type Config struct {
	// File is the bbolt file; it and its directory are made if they are not there.
	File string
	// MaxBytes bounds what waits, events not yet forwarded as they are encoded; 0 means 256 MiB. What is
	// remembered of tags and deliveries is not counted.
	MaxBytes int64
	// Deliveries is how long sender ids are remembered, 0 means 24 h. Tags is how long a tag is remembered
	// after its last report; 0 means 400 days.
	Deliveries, Tags time.Duration
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
	// OnError is told what [Outbox.Run] could not do yet, or gave up, and which remains [Open] could not remove; nil
	// means nobody is. It may be called from several goroutines at once.
	OnError func(error)
	// noSync leaves the syncing to the operating system, for tests that need no power cut: bbolt then loses more than
	// the newest commits.
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
	// update is db.Update; tests put a disk that fails in its place.
	update func(func(*bbolt.Tx) error) error

	appended  chan struct{} // the log grew
	schedule  *schedule     // when to resolve what
	closing   chan struct{}
	halted    chan struct{}
	committed chan struct{} // the committer has returned

	mu     sync.Mutex
	filled sync.Cond // the queue is not empty, or closed
	queue  []*request
	closed bool
	broken error // why nothing may be written any more; halted is closed then
	totals totals
	// running says that there is a Run; runs is waited for by Close.
	running bool
	runs    sync.WaitGroup
}

// Open opens the file of c, and makes it if it is not there. Errors: Conflict if another process has it open,
// Corrupt if it is damaged, is something else, or has another format, otherwise Unavailable.
func Open(c Config) (*Outbox, error) {
	c = c.withDefaults()
	db, err := openFile(c)
	if err != nil {
		return nil, err
	}
	if err := boltfile.RemoveTemp(c.File); err != nil {
		c.OnError(pratique.Wrap(pratique.Unavailable, "remove what an interrupted start left", c.File, err))
	}
	o := &Outbox{
		config: c, pace: usualPace, db: db, update: db.Update,
		appended: make(chan struct{}, 1), schedule: newSchedule(),
		closing: make(chan struct{}), halted: make(chan struct{}), committed: make(chan struct{}),
	}
	o.filled.L = &o.mu
	var waiting []string
	o.totals, waiting, err = count(db)
	if err != nil {
		return nil, errors.Join(pratique.Wrap(pratique.Corrupt, opOpen, c.File, err), db.Close())
	}
	for _, key := range waiting {
		o.schedule.add(task{key: key})
	}
	go o.commitAll()
	return o, nil
}

// Close takes nothing new, ends a [Outbox.Run], waits until what was handed over is committed, and closes the
// file. Later calls of any method fail with Unavailable; closing again does nothing.
func (o *Outbox) Close() error {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		<-o.committed
		return nil
	}
	o.closed = true
	close(o.closing)
	o.mu.Unlock()
	o.filled.Signal()
	<-o.committed
	o.runs.Wait()
	return pratique.Wrap(pratique.Unavailable, "close outbox", o.config.File, o.db.Close())
}

// Stats reads the counters. It is cheap, but reads the age of each unresolved push.
func (o *Outbox) Stats() pratique.OutboxFigures {
	var logged, unresolved time.Time
	// A closed file has nothing to say about age; the counters stay.
	_ = o.view("read outbox", func(tx *bbolt.Tx) error {
		logged, unresolved = oldestLogged(tx), oldestUnresolved(tx)
		return nil
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.totals
	return pratique.OutboxFigures{
		Waiting: t.waiting, Unresolved: t.unresolved, Refused: t.refused,
		Bytes: t.bytes, MaxBytes: o.config.MaxBytes, Oldest: logged, OldestUnresolved: unresolved,
		Stored: t.stored, Duplicates: t.duplicates, Forwarded: t.forwarded, RefusedFull: t.full, FailedCommits: t.failed,
	}
}

// totals are the counters; a transaction collects its own and they are added when it is on the disk.
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

// count reads from the file what waits, and the keys of the unresolved pushes.
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

// view runs a read; whatever has no kind yet is Unavailable: the file could not be read.
func (o *Outbox) view(op string, fn func(*bbolt.Tx) error) error {
	return boltfile.WithKind(op, o.config.File, o.db.View(fn))
}

// Bookmark returns the value that was kept under name, nil if there is none.
func (o *Outbox) Bookmark(name string) ([]byte, error) {
	var value []byte
	err := o.view("read bookmark", func(tx *bbolt.Tx) error {
		value = append(value, tx.Bucket(bucketBookmarks).Get([]byte(name))...)
		return nil
	})
	return value, err
}

// SetBookmark keeps value under name, durably when it returns nil; an empty value forgets the name. Names have
// 1 to 1,024 bytes and values at most 64 KiB, otherwise the error is Invalid. ctx bounds the waiting only.
func (o *Outbox) SetBookmark(ctx context.Context, name string, value []byte) error {
	const op, longestName, longestValue = "keep bookmark", 1 << 10, 64 << 10
	if name == "" || len(name) > longestName || len(value) > longestValue {
		return pratique.Errorf(pratique.Invalid, op, "a name of %d bytes with a value of %d: too short or too long", len(name), len(value))
	}
	key, kept := []byte(name), append([]byte{}, value...)
	return o.submit(ctx, op, &request{bytes: len(kept), apply: func(b *batch) error {
		if len(kept) == 0 {
			b.delete(b.bucket(bucketBookmarks), key)
			return nil
		}
		b.put(b.bucket(bucketBookmarks), key, kept)
		return nil
	}})
}
