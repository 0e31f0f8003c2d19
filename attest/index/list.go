package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

// The bounds of [Query.Limit].
const (
	DefaultLimit = 50
	MaxLimit     = 200
)

// maxExamined bounds the work for one page, so a rare filter gives short pages instead of long
// transactions.
const maxExamined = 2000

// Query asks for a page of summaries. Zero fields do not filter, but for State.
type Query struct {
	Repository pratique.Repository
	// State is one of [pratique.States]. Empty means all but ignored, since what is ignored is no
	// image.
	State   pratique.State
	Outcome pratique.Outcome
	// Limit is how many are wanted; 0 means 50, and more than 200 is an error.
	Limit int
	// Cursor is [Page.Next] of the page before, with the same filters; empty for the first page.
	Cursor string
}

// Page is a part of a list. Next is the cursor of the following page, empty on the last. A page may
// be short, even empty, and still have a next one: filters are applied to a bounded number of
// images at a time.
type Page struct {
	Items []Summary
	Next  string
}

// Summary is a line of a list.
type Summary struct {
	Subject  pratique.Subject  `json:"subject"`
	Tag      string            `json:"tag,omitempty"`
	Platform pratique.Platform `json:"platform,omitempty"`
	State    pratique.State    `json:"state"`
	Outcome  pratique.Outcome  `json:"outcome,omitempty"`
	// Reasons is how many reasons the verdict lists.
	Reasons int             `json:"reasons"`
	Counts  pratique.Counts `json:"counts,omitempty"`
	Fixable int             `json:"fixable"`
	// Deployments is how many targets hold the image, as far as the facts say.
	Deployments int `json:"deployments"`
	// Drifted is how many targets had it, and hold something else by now.
	Drifted   int       `json:"drifted,omitempty"`
	FirstAt   time.Time `json:"firstAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// List returns images, the one that was first seen last coming first. That order never changes, so
// a walk with cursors meets every image that was there when it began exactly once, whatever is
// written meanwhile. The error is of kind Invalid for a limit or a cursor that does not fit.
func (ix *Index) List(q Query) (Page, error) {
	const op = "list images"
	limit, err := pageLimit(op, q.Limit)
	if err != nil {
		return Page{}, err
	}
	before, err := q.before()
	if err != nil {
		return Page{}, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	page := Page{Items: []Summary{}}
	err = ix.view(op, func(tx *bbolt.Tx) error {
		list := tx.Bucket(bucketList)
		examined := 0
		for seq := range newestFirst(tx, q.Repository, before) {
			if len(page.Items) == limit || examined == maxExamined {
				page.Next = encodeCursor(q.filters(), number(before))
				return nil
			}
			examined++
			before = seq
			var s Summary
			if found, err := boltfile.GetJSON(list, number(seq), &s); err != nil || !found {
				return fmt.Errorf("entry %d of the list is missing: %w", seq, err)
			}
			if q.takes(s) {
				page.Items = append(page.Items, s)
			}
		}
		return nil
	})
	return page, err
}

func (q Query) takes(s Summary) bool {
	wanted := q.State == s.State || q.State == "" && s.State != pratique.StateIgnored
	return wanted && (q.Outcome == "" || q.Outcome == s.Outcome)
}

// newestFirst yields the list positions below before, of one repository or of all.
func newestFirst(tx *bbolt.Tx, repository pratique.Repository, before uint64) func(func(uint64) bool) {
	c, prefix := tx.Bucket(bucketList).Cursor(), []byte{}
	if !repository.IsZero() {
		c, prefix = tx.Bucket(bucketByRepo).Cursor(), join([]byte(repository.String()), nil)
	}
	return func(yield func(uint64) bool) {
		k, _ := c.Seek(append(bytes.Clone(prefix), number(before)...))
		if k == nil {
			k, _ = c.Last()
		} else {
			k, _ = c.Prev()
		}
		for ; k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Prev() {
			if !yield(binary.BigEndian.Uint64(k[len(prefix):])) {
				return
			}
		}
	}
}

func (q Query) filters() []byte {
	return filters([]byte(q.Repository.String()), []byte(q.State), []byte(q.Outcome))
}

// before is the list position that the page begins before.
func (q Query) before() (uint64, error) {
	key, err := decodeCursor(q.Cursor, q.filters())
	switch {
	case err != nil:
		return 0, err
	case key == nil:
		return 1<<64 - 1, nil
	case len(key) != 8:
		return 0, errForeignCursor
	}
	return binary.BigEndian.Uint64(key), nil
}

func summarise(r pratique.Record) Summary {
	s := Summary{
		Subject: r.Subject, State: r.State(), Deployments: len(r.Standing()), Drifted: len(r.Drifted),
		FirstAt: r.History[0].At, UpdatedAt: r.History[len(r.History)-1].At,
	}
	if r.Resolved != nil {
		s.Tag, s.Platform = r.Resolved.Event.Ref.Tag, r.Resolved.Manifest.Platform
	}
	if r.Inspected != nil && r.Inspected.Image.Platform != "" {
		s.Platform = r.Inspected.Image.Platform
	}
	if r.Scanned != nil {
		s.Counts, s.Fixable = r.Scanned.Counts, r.Scanned.Fixable
	}
	if r.Evaluated != nil {
		s.Outcome, s.Reasons = r.Evaluated.Verdict.Outcome, len(r.Evaluated.Verdict.Reasons)
	}
	return s
}
