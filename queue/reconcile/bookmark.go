package reconcile

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/pratique-dev/pratique"
)

// bookmark is the stored state of a repository's sweeps.
type bookmark struct {
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	// LastSuccess is when a sweep last succeeded.
	LastSuccess time.Time `json:"lastSuccess,omitzero"`
	// UnderWay is set while a sweep runs.
	UnderWay bool   `json:"underWay,omitempty"`
	Error    string `json:"error,omitempty"`
	// Resume is where to continue, nil for the beginning.
	Resume *position `json:"resume,omitempty"`
	pratique.SweepTally
}

// position is a position in the list of tags.
type position struct {
	// Page is the question for a page, empty for the first.
	Page string `json:"page,omitempty"`
	// Last is the last tag of that page that was checked, empty if none was.
	Last string `json:"last,omitempty"`
	// Pages is how many pages are done.
	Pages int `json:"pages,omitempty"`
}

// tagList is the list of a repository whose tags fit on one page, stored for conditional requests.
// An unchanged list says nothing about what the tags name, so each tag is checked all the same.
type tagList struct {
	ETag    string   `json:"etag"`
	Tags    []string `json:"tags,omitempty"`
	Invalid int      `json:"invalid,omitempty"`
}

// maxListBytes bounds a stored [tagList]: bookmarks are small.
const maxListBytes = 32 << 10

func (e *entry) bookmarkName() string { return "reconcile/" + e.Repository.Repository.String() }
func (e *entry) listName() string     { return "reconcile-tags/" + e.Repository.Repository.String() }

// load loads the state of a repository's sweeps, and schedules the next. A bookmark that cannot be
// read only costs requests.
func (r *Reconciler) load(e *entry) {
	e.mark = bookmark{}
	if err := r.read(e.bookmarkName(), &e.mark); err != nil {
		e.mark = bookmark{}
		r.config.OnError(err)
	}
	now := r.config.Now()
	next := now
	if m := e.mark; !m.Started.IsZero() && !m.UnderWay {
		// Not before now, or overdue sweeps would delay requested ones; and not after the interval,
		// if a clock was wrong.
		interval := withJitter(r.config.Interval)
		next = latest(now, earliest(m.Started.Add(interval), now.Add(interval)))
	}
	r.update(e, func(s *pratique.Sweep) {
		*s = pratique.Sweep{Repository: e.Repository.Repository.String(), State: Idle,
			Started: e.mark.Started, Finished: e.mark.Finished, Next: next, Error: e.mark.Error,
			SweepTally: e.mark.SweepTally, Totals: pratique.SweepTotals{
				Interval: r.config.Interval, LastSuccess: e.mark.LastSuccess}}
		s.Skipped = maps.Clone(e.mark.Skipped)
		if s.Error != "" {
			s.State = Failed
		}
	})
}

// save stores the bookmark. If that fails, some tags are checked twice.
func (r *Reconciler) save(ctx context.Context, e *entry) {
	r.update(e, func(s *pratique.Sweep) {
		e.mark.SweepTally = s.SweepTally
		e.mark.Skipped = maps.Clone(s.Skipped)
	})
	if err := r.write(ctx, e.bookmarkName(), e.mark); err != nil {
		r.config.OnError(err)
	}
}

func (r *Reconciler) read(name string, into any) error {
	const op = "read bookmark"
	raw, err := r.bookmarks.Bookmark(name)
	if pratique.KindOf(err) == pratique.NotFound {
		return nil
	}
	if err != nil {
		return pratique.Wrap(pratique.Unknown, op, name, err)
	}
	if len(raw) == 0 {
		return nil
	}
	return pratique.Wrap(pratique.Corrupt, op, name, json.Unmarshal(raw, into))
}

func (r *Reconciler) write(ctx context.Context, name string, value any) error {
	const op = "set bookmark"
	raw, err := json.Marshal(value)
	if err != nil {
		return pratique.Wrap(pratique.Internal, op, name, err)
	}
	return pratique.Wrap(pratique.Unknown, op, name, r.bookmarks.SetBookmark(ctx, name, raw))
}

// loadList returns the stored list, or an empty one.
func (r *Reconciler) loadList(e *entry) tagList {
	var list tagList
	if err := r.read(e.listName(), &list); err != nil {
		r.config.OnError(err)
		return tagList{}
	}
	return list
}

// saveList stores the first page of a list if there is no other, in place of the one stored before.
func (r *Reconciler) saveList(ctx context.Context, e *entry, before tagList, page pratique.TagPage) {
	list := tagList{ETag: page.ETag, Tags: page.Tags, Invalid: page.Invalid}
	size := 0
	for _, tag := range page.Tags {
		size += len(tag) + 3
	}
	if page.ETag == "" || page.Next != "" || size > maxListBytes {
		if before.ETag == "" {
			return
		}
		list = tagList{}
	}
	if err := r.write(ctx, e.listName(), list); err != nil {
		r.config.OnError(err)
	}
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
