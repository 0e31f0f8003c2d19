package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// The states of a repository.
const (
	// Idle is between sweeps, the last of which, if any, went well.
	Idle = "idle"
	// Waiting is for the turn, or, with RetryAt, for the time when a sweep under way goes on.
	Waiting = "waiting"
	// Sweeping is under way.
	Sweeping = "sweeping"
	// Failed is between sweeps, the last of which ended early; the error says why.
	Failed = "failed"
)

// The reasons for which tags are skipped.
const (
	// SkippedSignature is the tag of a signature or of referrers.
	SkippedSignature = "signature-tag"
	// SkippedFilter is a tag that the repository's patterns do not choose.
	SkippedFilter = "filter"
	// SkippedWaiting is a tag with a push that was reported and whose digest is being looked for.
	SkippedWaiting = "waiting"
	// SkippedOvertaken is a tag of which a report came while it was looked at.
	SkippedOvertaken = "overtaken"
	// SkippedVanished is a tag that was gone when it was looked at.
	SkippedVanished = "vanished"
	// SkippedInvalid is a name in the list that is no tag.
	SkippedInvalid = "not-a-tag"
	// SkippedUnreadable is a tag for which the registry gives no digest that could be used.
	SkippedUnreadable = "unreadable"
)

// Tally is what a sweep met. Tags is the sum of Unchanged, News and those skipped.
type Tally struct {
	Tags      int `json:"tags"`
	Unchanged int `json:"unchanged"`
	// News were handed to the intake.
	News int `json:"news"`
	// Skipped is by reason.
	Skipped map[string]int `json:"skipped,omitempty"`
	// Requests is how often the registry was asked.
	Requests int `json:"requests"`
	// Restored are images that are attested again, since the registry has lost their attestations.
	Restored int `json:"restored,omitempty"`
}

// Status is how far the sweeps of a repository have come. A zero time means never, or not now.
type Status struct {
	Repository pratique.Repository
	State      string
	// Started is of the sweep under way, else of the last. Finished is when the last one ended, well or not.
	Started, Finished time.Time
	// Next is when the next begins, or, if others of the registry are under way then, waits for its turn.
	Next time.Time
	// Tally is of the sweep under way, else of the last.
	Tally
	// Error is why the last sweep failed, or what the one under way waits after.
	Error string
	// RetryAt is when a sweep that waits goes on.
	RetryAt time.Time
	// Totals only rise while the process runs.
	Totals
}

// Totals sum up what the sweeps of a repository have come to since the process began.
type Totals struct {
	// LastSuccess is when a sweep last ended well, also before the process began; zero if none has.
	LastSuccess time.Time
	// AllNews counts what was handed to the intake, Failures the sweeps that ended with an error.
	AllNews, Failures uint64
}

// entry is a configured repository.
type entry struct {
	Repository
	// mark is its host's alone.
	mark bookmark
	// The rest is guarded by the reconciler's mutex.
	status Status
	wanted bool // asked for, and not begun since
}

// Status returns the state of every configured repository, in the order of the configuration.
func (r *Reconciler) Status() []Status {
	now := r.config.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Status, 0, len(r.entries))
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

// Request asks for sweeps now, of the repositories named or else of all, and returns which these are. They begin when
// the registry's sweep under way, if any, has ended; one of the same repository is followed by another, since what it
// has passed may be what is looked for. A request is forgotten when the process ends. A repository that is not
// configured is Invalid, and then nothing is asked for.
func (r *Reconciler) Request(repos []pratique.Repository) ([]pratique.Repository, error) {
	const op = "request reconciliation"
	if len(r.entries) == 0 {
		return nil, pratique.Errorf(pratique.Invalid, op, "no repository is configured to be reconciled: name them under reconcile.repositories")
	}
	var chosen []*entry
	for _, repo := range repos {
		e := r.find(repo)
		if e == nil {
			return nil, pratique.Errorf(pratique.Invalid, op, "%s is not configured to be reconciled: add it to reconcile.repositories; these are there: %s", repo, r.names())
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
		default: // it is going to look anyway
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
func (r *Reconciler) update(e *entry, change func(s *Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&e.status)
}

func (t *Tally) skip(reason string, n int) {
	if n == 0 {
		return
	}
	if t.Skipped == nil {
		t.Skipped = map[string]int{}
	}
	t.Tags += n
	t.Skipped[reason] += n
}
