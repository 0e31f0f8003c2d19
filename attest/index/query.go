package index

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

// TagName is a tag that was pushed with a digest. Current is false if it names another digest by
// now; see [Index.Tag] for what counts.
type TagName struct {
	Tag     string `json:"tag"`
	Current bool   `json:"current"`
}

// Links are what else is known to hang together with a subject.
type Links struct {
	Tags []TagName `json:"tags,omitempty"`
	// Parents are the indexes that list the subject as a platform.
	Parents []pratique.Subject `json:"parents,omitempty"`
}

// Images returns the records of a digest, one for each repository that it is in, sorted by
// repository. The error is of kind NotFound if there is none.
func (ix *Index) Images(d pratique.Digest) ([]pratique.Record, error) {
	const op = "find image"
	var raws [][]byte
	err := ix.view(op, func(tx *bbolt.Tx) error {
		c, prefix := tx.Bucket(bucketRecords).Cursor(), boltfile.DigestKey(d)
		for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
			raws = append(raws, bytes.Clone(v)) // decoded after the transaction, which is kept short
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(raws) == 0 {
		return nil, notFound(op, d.String())
	}
	records := make([]pratique.Record, len(raws))
	for i, raw := range raws {
		if err := boltfile.DecodeJSON(raw, &records[i]); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// Links returns the tags and the parents of a subject; there may be none.
func (ix *Index) Links(s pratique.Subject) (Links, error) {
	var links Links
	err := ix.view("find links", func(tx *bbolt.Tx) error {
		prefix := join(subjectKey(s), nil)
		c := tx.Bucket(bucketImageTags).Cursor()
		for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			tag := string(k[len(prefix):])
			newest := tagHistory(tx, s.Repository, tag, 1)
			links.Tags = append(links.Tags, TagName{Tag: tag, Current: len(newest) == 1 &&
				newest[0].Digest == s.Digest})
		}
		links.Parents = slices.Collect(parentsOf(tx, s))
		return nil
	})
	return links, err
}

// Event returns how far the work for an event has come. Once it is done the answer stays the same,
// whatever becomes known about the image, unless a failed event is taken up again. The error is of
// kind NotFound if nothing is known of the event (yet: the index follows the ledger at a small
// distance).
func (ix *Index) Event(id string) (EventStatus, error) {
	const op = "find event"
	var status EventStatus
	err := ix.view(op, func(tx *bbolt.Tx) error {
		found, err := boltfile.GetJSON(tx.Bucket(bucketEvents), []byte(id), &status)
		if err == nil && !found {
			err = notFound(op, id)
		}
		return err
	})
	return status, err
}

// Dead returns the events whose work ended without an answer, failed or canceled, and was not
// requeued. State is one of the two, or empty for both; those that ended before since are left out.
// The one that ended last comes first, at most limit; more says that there are others.
func (ix *Index) Dead(state pratique.State, since time.Time, limit int) (all []EventStatus,
	more bool, err error) {
	err = ix.view("list dead letters", func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketDead).ForEach(func(id, _ []byte) error {
			var s EventStatus
			if found, err := boltfile.GetJSON(tx.Bucket(bucketEvents), id, &s); err != nil || !found {
				return err
			}
			if (state == "" || s.State == state) && !s.UpdatedAt.Before(since) {
				all = append(all, s)
			}
			return nil
		})
	})
	slices.SortFunc(all, func(a, b EventStatus) int {
		return cmp.Or(b.UpdatedAt.Compare(a.UpdatedAt), cmp.Compare(a.ID, b.ID))
	})
	if len(all) > limit {
		all, more = all[:limit], true
	}
	return all, more, err
}

func notFound(op, what string) error {
	return pratique.Wrap(pratique.NotFound, op, what, errors.New("nothing is known about it"))
}
