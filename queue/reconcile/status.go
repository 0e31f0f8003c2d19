package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
)

// The states of a repository.
const (
	// Idle is between sweeps, after a success or before the first.
	Idle = "idle"
	// Waiting is for another sweep of the registry, or, with RetryAt, until the sweep continues.
	Waiting = "waiting"
	// Sweeping is during a sweep.
	Sweeping = "sweeping"
	// Failed is between sweeps, after a failure.
	Failed = "failed"
)

// The reasons why tags are skipped.
const (
	// SkippedSignature is the tag of a signature or of referrers.
	SkippedSignature = "signature-tag"
	// SkippedFilter is a tag that the repository's patterns do not match.
	SkippedFilter = "filter"
	// SkippedWaiting is a tag with a reported push that waits to be resolved.
	SkippedWaiting = "waiting"
	// SkippedOvertaken is a tag that was reported while it was checked.
	SkippedOvertaken = "overtaken"
	// SkippedVanished is a tag that was deleted before it was checked.
	SkippedVanished = "vanished"
	// SkippedInvalid is a name in the list that is not a tag.
	SkippedInvalid = "not-a-tag"
	// SkippedUnreadable is a tag for which the registry returns no usable digest.
	SkippedUnreadable = "unreadable"
)

// entry is a configured repository.
type entry struct {
	Repository
	// mark is only used by the goroutine of its host.
	mark bookmark
	// The rest is guarded by the reconciler's mutex.
	status pratique.Sweep
	wanted bool // requested, and not begun since
}

// Status returns the state of every configured repository, in the order of the configuration.
func (r *Reconciler) Status() []pratique.Sweep {
	now := r.config.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]pratique.Sweep, 0, len(r.entries))
	for _, e := range r.entries {
		s := e.status
		s.Skipped = maps.Clone(s.Skipped)
		rests := s.State == Idle || s.State == Failed
		if rests && (e.wanted || r.running && !s.Next.After(now)) {
			s.State = Waiting
		}
		all = append(all, s)
	}
	return all
}

// Request requests sweeps now, of the given repositories or else of all, and returns which. They
// begin after the current sweep of the registry, even if that is of the same repository, since it
// may have passed the tag in question. Requests do not survive the process. A repository that is
// not configured is Invalid, and then nothing is requested.
func (r *Reconciler) Request(repos []pratique.Repository) ([]pratique.Repository, error) {
	const op = "request reconciliation"
	if len(r.entries) == 0 {
		return nil, pratique.Errorf(pratique.Invalid, op,
			"no repository is configured to be reconciled: name them under reconcile.repositories")
	}
	var chosen []*entry
	for _, repo := range repos {
		e := r.find(repo)
		if e == nil {
			return nil, pratique.Errorf(pratique.Invalid, op,
				"%s is not configured to be reconciled: add it to reconcile.repositories; these are there: %s", repo, r.names())
		}
		chosen = append(chosen, e)
	}
	var accepted []pratique.Repository
	r.mu.Lock()
	for _, e := range r.entries {
		if len(repos) == 0 || slices.Contains(chosen, e) {
			e.wanted = true
			accepted = append(accepted, e.Repository.Repository)
		}
	}
	r.mu.Unlock()
	for _, h := range r.hosts {
		select {
		case h.wake <- struct{}{}:
		default: // it is about to look
		}
	}
	return accepted, nil
}

func (r *Reconciler) names() string {
	const most = 20
	var names []string
	for _, e := range r.entries {
		if len(names) == most {
			names = append(names, fmt.Sprintf("and %d more", len(r.entries)-most))
			break
		}
		names = append(names, e.Repository.Repository.String())
	}
	return strings.Join(names, ", ")
}

// update changes the status of an entry.
func (r *Reconciler) update(e *entry, change func(s *pratique.Sweep)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&e.status)
}

func skip(t *pratique.SweepTally, reason string, n int) {
	if n == 0 {
		return
	}
	if t.Skipped == nil {
		t.Skipped = map[string]int{}
	}
	t.Tags += n
	t.Skipped[reason] += n
}
