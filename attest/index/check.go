package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
	"github.com/pratique-dev/pratique/internal/projection"
)

// Stats counts what an index holds. Bytes is the size of the file.
type Stats struct {
	Position uint64 `json:"position"`
	Images   int    `json:"images"`
	Events   int    `json:"events"`
	// Rejected counts facts that could not be read, or contradicted themselves, and were set aside.
	Rejected int   `json:"rejected"`
	Bytes    int64 `json:"bytes"`
}

func stats(tx *bbolt.Tx) Stats {
	return Stats{
		Position: projection.Position(tx), Images: tx.Bucket(bucketRecords).Stats().KeyN,
		Events:   tx.Bucket(bucketEvents).Stats().KeyN,
		Rejected: tx.Bucket(bucketRejected).Stats().KeyN, Bytes: tx.Size(),
	}
}

// maxProblems bounds the answer of [Check]: a file with this many is to be rebuilt anyway.
const maxProblems = 100

// Check opens the file for reading, which needs that no process has it open for writing, and looks
// for damage: in bbolt's pages, in values that cannot be read, and between buckets that must agree.
// Problems are sentences for people, at most 100. The error is about not being able to look; its
// kinds are those of [Open].
func Check(path string) (s Stats, problems []string, err error) {
	file, err := projection.OpenFileToRead(path, schema())
	if err != nil {
		return Stats{}, nil, err
	}
	err = file.View("check index", func(tx *bbolt.Tx) error {
		c := &checker{tx: tx}
		for err := range tx.Check() { // read to the end: its goroutine ends with the channel
			c.problem("pages: %v", err)
		}
		for _, name := range schema().Missing(tx) {
			c.problem("bucket %s is missing", name)
		}
		if len(c.problems) == 0 {
			c.records()
			c.list()
			c.tags()
			c.events()
			c.deployments()
			s = stats(tx)
		}
		problems = c.problems
		return nil
	})
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return s, problems, pratique.Wrap(pratique.Unknown, "check index", path, err)
}

type checker struct {
	tx       *bbolt.Tx
	problems []string
}

func (c *checker) problem(format string, args ...any) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// each calls fn for every pair of a bucket. ForEach returns only errors of fn, which has none.
func (c *checker) each(bucket []byte, fn func(k, v []byte)) {
	_ = c.tx.Bucket(bucket).ForEach(func(k, v []byte) error {
		fn(k, v)
		return nil
	})
}

func (c *checker) records() {
	c.each(bucketRecords, func(k, v []byte) {
		var r pratique.Record
		switch err := boltfile.DecodeJSON(v, &r); {
		case err != nil:
			c.problem("record %x: %v", k, err)
		case !bytes.Equal(k, subjectKey(r.Subject)):
			c.problem("record %x is of %s", k, r.Subject)
		case len(r.History) == 0:
			c.problem("record %s has no facts", r.Subject)
		default:
			first, last := number(r.History[0].Seq), r.History[len(r.History)-1].Seq
			var s Summary
			if found, err := boltfile.GetJSON(c.tx.Bucket(bucketList), first, &s); err != nil ||
				!found || s.Subject != r.Subject {
				c.problem("record %s is not in the list", r.Subject)
			}
			if c.tx.Bucket(bucketByRepo).Get(join([]byte(r.Subject.Repository.String()), first)) == nil {
				c.problem("record %s is not in the list of its repository", r.Subject)
			}
			if last > projection.Position(c.tx) {
				c.problem("record %s has fact %d, beyond the position %d", r.Subject, last,
					projection.Position(c.tx))
			}
		}
	})
}

func (c *checker) list() {
	records := c.tx.Bucket(bucketRecords)
	for _, name := range [][]byte{bucketList, bucketByRepo} {
		if got, want := c.tx.Bucket(name).Stats().KeyN, records.Stats().KeyN; got != want {
			c.problem("%s has %d entries for %d records", name, got, want)
		}
	}
	c.each(bucketList, func(k, v []byte) {
		var s Summary
		if err := boltfile.DecodeJSON(v, &s); err != nil {
			c.problem("list entry %d: %v", binary.BigEndian.Uint64(k), err)
		} else if records.Get(subjectKey(s.Subject)) == nil {
			c.problem("list entry %d names %s, which has no record", binary.BigEndian.Uint64(k),
				s.Subject)
		}
	})
}

func (c *checker) tags() {
	c.each(bucketTags, func(k, v []byte) {
		repository, _, _ := bytes.Cut(k, []byte{0})
		if len(v) < boltfile.DigestSize ||
			c.tx.Bucket(bucketRecords).Get(slices.Concat(v[:boltfile.DigestSize], repository)) == nil {
			c.problem("tag %q names an image without a record", k)
		}
	})
}

func (c *checker) events() {
	c.each(bucketEvents, func(k, v []byte) {
		var s EventStatus
		if err := boltfile.DecodeJSON(v, &s); err != nil || s.ID != string(k) {
			c.problem("event %q cannot be read: %v", k, err)
		} else if listed := c.tx.Bucket(bucketDead).Get(k) != nil; listed != s.dead() {
			c.problem("event %q, which is %s, is wrongly listed or missing among those without an answer", k, s.State)
		}
	})
}

func (c *checker) deployments() {
	c.each(bucketDeployments, func(k, v []byte) {
		var d pratique.Deployment
		if err := boltfile.DecodeJSON(v, &d); err != nil ||
			!bytes.Equal(k, deploymentKey(d.DeploymentKey)) {
			c.problem("deployment %q cannot be read, or is another one: %v", k, err)
		}
		for _, r := range d.Present {
			if s := (pratique.Subject{Repository: d.Repository,
				Digest: r.Digest}); c.tx.Bucket(bucketRecords).Get(subjectKey(s)) == nil {
				c.problem("deployment %q holds %s, which has no record", k, s)
			}
		}
	})
}
