package index

import (
	"bytes"
	"errors"
	"iter"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

// Unattested says whether a record's newest verdict denies, and nothing was attested for it yet.
func Unattested(r pratique.Record) bool {
	return denied(r) && (r.Attested == nil || r.Attested.Verdict != r.Evaluated.Digest)
}

// RescanFailed reports whether the newest attempt to match a record against a newer database failed.
func RescanFailed(r pratique.Record) bool {
	if r.Failed == nil || r.Failed.Stage != pratique.StageRescan {
		return false
	}
	for i := len(r.History) - 1; i >= 0; i-- {
		switch r.History[i].Kind {
		case pratique.FactFailed:
			return true
		case pratique.FactScanned:
			return false
		}
	}
	return false
}

// markDenials marks what [Index.Denials] has to look at, after all records of the batch were
// written.
func (b *batch) markDenials() error {
	denials := b.tx.Bucket(bucketDenials)
	for key, r := range b.records {
		image, err := deniedImage(b.tx, *r)
		if err != nil {
			return err
		}
		if Unattested(*r) || image != nil {
			err = denials.Put([]byte(key), []byte{})
		} else {
			err = denials.Delete([]byte(key))
		}
		if err != nil {
			return err
		}
	}
	return b.markParents()
}

// markParents marks the indexes that are allowed although an image in them was denied now, and
// takes the mark from those that had it for an image which is allowed again. Each index is read
// once, however many of its images were evaluated.
func (b *batch) markParents() error {
	denials, against := b.tx.Bucket(bucketDenials), map[pratique.Subject]bool{} // whether an image denies
	for image := range b.evaluated {
		denies := denied(*b.records[string(subjectKey(image))])
		for parent := range parentsOf(b.tx, image) {
			marked := denials.Get(subjectKey(parent)) != nil
			if marked != denies {
				against[parent] = against[parent] || denies
			}
		}
	}
	for parent, denies := range against {
		key := subjectKey(parent)
		var r pratique.Record
		if _, err := boltfile.GetJSON(b.tx.Bucket(bucketRecords), key, &r); err != nil {
			return err
		}
		if denies {
			if allowed(r) {
				if err := denials.Put(key, []byte{}); err != nil {
					return err
				}
			}
			continue
		}
		image, err := deniedImage(b.tx, r)
		if err != nil {
			return err
		}
		if image == nil && !Unattested(r) {
			if err := denials.Delete(key); err != nil {
				return err
			}
		}
	}
	return nil
}

func denied(r pratique.Record) bool {
	return r.Evaluated != nil && r.Evaluated.Verdict.Outcome == pratique.Deny
}

func allowed(r pratique.Record) bool {
	return r.Evaluated != nil && r.Evaluated.Verdict.Outcome == pratique.Allow
}

// deniedImage returns the record of an image that is denied, and that an index lists which is
// allowed; nil if there is none.
func deniedImage(tx *bbolt.Tx, r pratique.Record) (*pratique.Record, error) {
	if !allowed(r) || !pushed(r) {
		return nil, nil
	}
	for _, c := range r.Resolved.Manifest.Children {
		var image pratique.Record
		if _, err := boltfile.GetJSON(tx.Bucket(bucketRecords),
			subjectKey(r.Subject.Sibling(c.Digest)), &image); err != nil {
			return nil, err
		}
		if denied(image) {
			return &image, nil
		}
	}
	return nil, nil
}

// parentsOf yields the indexes that list an image.
func parentsOf(tx *bbolt.Tx, image pratique.Subject) iter.Seq[pratique.Subject] {
	return func(yield func(pratique.Subject) bool) {
		prefix := parentPrefix(image)
		c := tx.Bucket(bucketParents).Cursor()
		for k, _ := c.Seek(prefix); len(k) == len(prefix)+boltfile.DigestSize &&
			bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			if !yield(image.Sibling(boltfile.DigestFromKey(k[len(prefix):]))) {
				return
			}
		}
	}
}

// Denials returns at most limit of the denials that have not taken effect yet, those after the one
// of a subject; the zero subject is before all. Next is where to go on; it is zero if these were
// the last.
func (ix *Index) Denials(after pratique.Subject, limit int) (all []pratique.PendingDenial,
	next pratique.Subject, err error) {
	err = ix.view("list denials", func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketDenials).Cursor()
		k, _ := c.First()
		if !after.IsZero() {
			key := subjectKey(after)
			if k, _ = c.Seek(key); bytes.Equal(k, key) {
				k, _ = c.Next()
			}
		}
		for ; k != nil; k, _ = c.Next() {
			if len(all) == limit {
				next = all[limit-1].Subject
				return nil
			}
			var r pratique.Record
			if found, err := boltfile.GetJSON(tx.Bucket(bucketRecords), k, &r); err != nil {
				return err
			} else if !found {
				return errors.New("a denial has no record")
			}
			d := pratique.PendingDenial{Subject: r.Subject, Since: r.Evaluated.Verdict.EvaluatedAt}
			if !Unattested(r) {
				image, err := deniedImage(tx, r)
				if err != nil {
					return err
				}
				if image == nil {
					continue // it is allowed again
				}
				d.Since, d.Contradicted = image.Evaluated.Verdict.EvaluatedAt, true
			}
			if err := findPush(tx, r, &d); err != nil {
				return err
			}
			all = append(all, d)
		}
		return nil
	})
	return all, next, err
}

// findPush looks for the push whose work would attest a denial: the image's own, or that of an
// index that lists it.
func findPush(tx *bbolt.Tx, r pratique.Record, d *pratique.PendingDenial) error {
	if pushed(r) {
		d.Pushed, d.Push, d.Idle = r.Subject, r.Resolved.Event, idle(r)
		return nil
	}
	for parent := range parentsOf(tx, r.Subject) {
		var p pratique.Record
		if found, err := boltfile.GetJSON(tx.Bucket(bucketRecords), subjectKey(parent), &p); err != nil {
			return err
		} else if found && pushed(p) {
			d.Pushed, d.Push, d.Idle = parent, p.Resolved.Event, idle(p)
			return nil
		}
	}
	return nil
}

func pushed(r pratique.Record) bool {
	return r.Resolved != nil && r.Resolved.Manifest.Subject == r.Subject
}

// idle says whether the newest work on a subject has ended.
func idle(r pratique.Record) bool {
	if r.Completed == nil {
		return false
	}
	for i := len(r.History) - 1; i >= 0; i-- {
		switch r.History[i].Kind {
		case pratique.FactCompleted:
			return true
		case pratique.FactResolved, pratique.FactReceived:
			return false
		}
	}
	return false
}
