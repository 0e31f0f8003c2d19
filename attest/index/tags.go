package index

import (
	"bytes"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

// maxHistory bounds the answer of [Index.Tag].
const maxHistory = 100

// TagStep says that a tag was pushed with this digest at that time.
type TagStep struct {
	Digest pratique.Digest `json:"digest"`
	At     time.Time       `json:"at"`
	// Superseded is set where the registry named another digest when the push was to be deployed.
	Superseded bool `json:"superseded,omitempty"`
}

// A step is the digest, and then one byte more if the step is superseded.
var supersededMark = []byte{1}

func stepFrom(instant, value []byte) TagStep {
	return TagStep{Digest: boltfile.DigestFromKey(value), At: instantFromKey(instant),
		Superseded: len(value) > boltfile.DigestSize}
}

// tellsOfTag says whether a resolved event is evidence of what its tag names. A receiver's is: the
// registry reported the push. A submission is only if it left the digest out, because then the
// registry was asked; with a digest it is what somebody wishes, who need not be allowed to push.
func tellsOfTag(e pratique.Event) bool {
	return e.Ref.Tag != "" && (e.Source != pratique.SourceSubmission || e.Ref.ContentID().IsZero())
}

// pushedAt orders the pushes of a tag. The sender's time survives its retries, so a late delivery
// of an old push stays old; but a sender cannot claim a time later than the one at which we heard
// of it.
func pushedAt(occurred, received time.Time) time.Time {
	if occurred.IsZero() || occurred.After(received) {
		return received
	}
	return occurred
}

func stepPrefix(repository pratique.Repository, tag string, occurred, received time.Time) []byte {
	return slices.Concat(tagPrefix(repository, tag), instant(pushedAt(occurred, received)))
}

// putStep adds a step of a tag's history. The position breaks ties between pushes of one instant; a
// redelivery of the same push keeps the place that the first delivery got, and its mark.
func (b *batch) putStep(prefix []byte, seq uint64, digest pratique.Digest, superseded bool) error {
	key, value := b.findStep(prefix, digest)
	if key == nil {
		key, value = slices.Concat(prefix, number(seq)), boltfile.DigestKey(digest)
	}
	if superseded && len(value) == boltfile.DigestSize {
		value = slices.Concat(value, supersededMark)
	}
	return b.tx.Bucket(bucketTags).Put(key, value)
}

// supersede marks the step of an event. Another event that reports the same push has the same step:
// what the registry said of one goes for the other.
func (b *batch) supersede(e *EventStatus) error {
	prefix := stepPrefix(e.Subject.Repository, e.Ref.Tag, e.OccurredAt, e.ReceivedAt)
	key, value := b.findStep(prefix, e.Subject.Digest)
	if key == nil || len(value) > boltfile.DigestSize {
		return nil
	}
	return b.tx.Bucket(bucketTags).Put(key, slices.Concat(value, supersededMark))
}

// findStep returns copies of a step's key and value, nil if there is none of that instant and
// digest.
func (b *batch) findStep(prefix []byte, digest pratique.Digest) (key, value []byte) {
	c, want := b.tx.Bucket(bucketTags).Cursor(), boltfile.DigestKey(digest)
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if bytes.HasPrefix(v, want) {
			return bytes.Clone(k), bytes.Clone(v)
		}
	}
	return nil, nil
}

// Tag returns the history of a ref's tag, at most 100 steps. The first says what the tag names.
//
// Evidence are the notifications of receivers, and submissions that named no digest, for which the
// registry was asked. The order is newest push first, by the time that its sender gave, so a late
// report of an old push does not become the newest. A time can be wrong or forged, though, and the
// registry's word is better: steps whose event was completed as superseded come after all others,
// and so are first only where nothing else is known. The error is of kind NotFound if the tag was
// never seen, Invalid if the ref has no tag.
func (ix *Index) Tag(ref pratique.ImageRef) ([]TagStep, error) {
	const op = "find tag"
	if ref.Tag == "" {
		return nil, pratique.Wrap(pratique.Invalid, op, ref.String(),
			pratique.Errorf(pratique.Invalid, op, "there is no tag in it"))
	}
	var steps []TagStep
	err := ix.view(op, func(tx *bbolt.Tx) error {
		steps = tagHistory(tx, ref.Repository, ref.Tag, maxHistory)
		return nil
	})
	if err == nil && len(steps) == 0 {
		err = notFound(op, ref.String())
	}
	return steps, err
}

func tagHistory(tx *bbolt.Tx, repository pratique.Repository, tag string, limit int) []TagStep {
	var standing, superseded []TagStep
	prefix := tagPrefix(repository, tag)
	c := tx.Bucket(bucketTags).Cursor()
	for k, v := seekLast(c, prefix); k != nil && bytes.HasPrefix(k, prefix) &&
		len(standing) < limit; k, v = c.Prev() {
		step := stepFrom(k[len(prefix):len(prefix)+8], v)
		switch {
		case !step.Superseded:
			standing = append(standing, step)
		case len(superseded) < limit:
			superseded = append(superseded, step)
		}
	}
	steps := append(standing, superseded...)
	return steps[:min(len(steps), limit)]
}

// seekLast moves to the last key with the prefix, or to one before it.
func seekLast(c *bbolt.Cursor, prefix []byte) (key, value []byte) {
	// No key holds a run of 0xff this long: positions and times stay far below.
	if k, _ := c.Seek(append(bytes.Clone(prefix), bytes.Repeat([]byte{0xff}, 17)...)); k == nil {
		return c.Last()
	}
	return c.Prev()
}
