package reconcile

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/pratique-dev/pratique"
)

// bookmark is what is kept of a repository's sweeps.
type bookmark struct {
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	// LastSuccess is when a sweep last ended well.
	LastSuccess time.Time `json:"lastSuccess,omitzero"`
	// UnderWay says that the process ended before the sweep did.
	UnderWay bool   `json:"underWay,omitempty"`
	Error    string `json:"error,omitempty"`
	// Resume is where to go on, nil at the beginning.
	Resume *position `json:"resume,omitempty"`
	Tally
}

// position is within the list of tags.
type position struct {
	// Page is the question for a page, empty for the first.
	Page string `json:"page,omitempty"`
	// Last is the tag of that page up to which all is done, empty if none is.
	Last string `json:"last,omitempty"`
	// Pages is how many pages are behind.
	Pages int `json:"pages,omitempty"`
}

// tagList is the list of a repository whose tags come on one page, kept to be asked for conditionally. An unchanged
// list says that no tag came or went, and nothing of what they name, so each tag is looked at all the same.
type tagList struct {
	ETag    string   `json:"etag"`
	Tags    []string `json:"tags,omitempty"`
	Invalid int      `json:"invalid,omitempty"`
}

// maxListBytes is for a [tagList]: bookmarks are small.
const maxListBytes = 32 << 10

func (e *entry) bookmarkName() string { return "reconcile/" + e.Repository.Repository.String() }
func (e *entry) listName() string     { return "reconcile-tags/" + e.Repository.Repository.String() }

// load reads how far the sweeps of a repository had come, and says when the next is. What cannot be read only costs
// requests that could have been spared.
func (r *Reconciler) load(e *entry) {
	e.mark = bookmark{}
	if err := r.read(e.bookmarkName(), &e.mark); err != nil {
		e.mark = bookmark{}
		r.config.OnError(err)
	}
	now := r.config.Now()
	next := now
	if m := e.mark; !m.Started.IsZero() && !m.UnderWay {
		// Not before now, or sweeps after a long rest would take turns from those on demand; and not later than the
		// interval allows, if a clock was wrong.
		interval := varied(r.config.Interval)
		next = latest(now, earliest(m.Started.Add(interval), now.Add(interval)))
	}
	r.update(e, func(s *Status) {
		*s = Status{Repository: e.Repository.Repository, State: Idle, Started: e.mark.Started, Finished: e.mark.Finished,
			Next: next, Error: e.mark.Error, Tally: e.mark.Tally, Totals: Totals{LastSuccess: e.mark.LastSuccess}}
		s.Skipped = maps.Clone(e.mark.Skipped)
		if s.Error != "" {
			s.State = Failed
		}
	})
}

// save keeps a bookmark; without it some tags are looked at twice.
func (r *Reconciler) save(ctx context.Context, e *entry) {
	r.update(e, func(s *Status) {
		e.mark.Tally = s.Tally
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

// loadList returns the list that is kept, or an empty one.
func (r *Reconciler) loadList(e *entry) tagList {
	var list tagList
	if err := r.read(e.listName(), &list); err != nil {
		r.config.OnError(err)
		return tagList{}
	}
	return list
}

// keepList keeps the first page of a list if it is all there is, instead of the one that was kept before.
func (r *Reconciler) keepList(ctx context.Context, e *entry, before tagList, page pratique.TagPage) {
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
