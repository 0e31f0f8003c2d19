package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/backoff"
)

const (
	// lockTime is how long an update waits for the lock of its branch. After that it fails and is
	// tried again later, so that a slow or silent server does not occupy the workers that others
	// need.
	lockTime = 5 * time.Second
	// busyTime is how long a job stays in the queue that would have to wait for the lock.
	busyTime = 500 * time.Millisecond
)

// pauses follow an exchange that timed out.
var pauses = backoff.Backoff{Min: 30 * time.Second, Max: 5 * time.Minute, Jitter: 0.25}

// access holds the lock of a branch, and backs off from a server that does not answer.
type access struct {
	remote   string        // for errors
	lock     chan struct{} // has room for the one that works with local
	lockTime time.Duration // [lockTime]

	// How many exchanges of the one that holds the lock ended in time, and how many timed out.
	answered, timeouts int

	mu       sync.Mutex
	waiting  int // for the lock
	failures int // holders in a row with an exchange that timed out
	until    time.Time
}

func newAccess(remote string) *access {
	return &access{remote: remote, lock: make(chan struct{}, 1), lockTime: lockTime}
}

// retryLater is an error that says when to try again.
type retryLater struct {
	error
	wait time.Duration
}

// RetryAfter is what the queue looks for.
func (r *retryLater) RetryAfter() time.Duration { return r.wait }

func (r *retryLater) Unwrap() error { return r.error }

// paused returns an error while the server is not asked; nil otherwise.
func (a *access) paused() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	left := time.Until(a.until)
	if left <= 0 {
		return nil
	}
	return a.wait(&retryLater{
		fmt.Errorf("its server did not answer in time, %d times in a row, and is asked again in %s",
			a.failures, left.Round(time.Second)), left,
	})
}

// wait wraps the error of a caller that would have to wait.
func (a *access) wait(err error) error {
	return pratique.Wrap(pratique.Unavailable, "wait for the config repository", a.remote, err)
}

// busy returns for how long starting an update makes no sense: during a pause, or while others wait
// for the lock. After a failure one update tries, and the others wait for its result.
func (a *access) busy() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if left := time.Until(a.until); left > 0 {
		return left
	}
	if len(a.lock) > 0 && (a.waiting > 0 || a.failures > 0) {
		return busyTime
	}
	return 0
}

// acquire waits for the lock until the context ends or, if short is set, at most lockTime.
func (a *access) acquire(ctx context.Context, short bool) error {
	a.mu.Lock()
	a.waiting++
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.waiting--
		a.mu.Unlock()
	}()
	var over <-chan time.Time
	if short {
		t := time.NewTimer(a.lockTime)
		defer t.Stop()
		over = t.C
	}
	select {
	case a.lock <- struct{}{}:
		a.answered, a.timeouts = 0, 0
		return nil
	case <-over:
		return a.wait(&retryLater{errors.New("another update holds the branch; this one is tried again later"), a.lockTime})
	case <-ctx.Done():
		return a.wait(ctx.Err())
	}
}

// release frees the lock, and starts a pause if an exchange timed out.
func (a *access) release() {
	a.mu.Lock()
	switch {
	case a.timeouts > 0:
		a.failures++
		a.until = time.Now().Add(pauses.Delay(a.failures, backoff.Random()))
	case a.answered > 0:
		a.failures = 0
	}
	a.mu.Unlock()
	<-a.lock
}

// acquire waits for the lock. An update waits for a short time only, and fails at once during a
// pause.
func (r *Repo) acquire(ctx context.Context, update bool) error {
	if update {
		if err := r.access.paused(); err != nil {
			return err
		}
	}
	if err := r.access.acquire(ctx, update); err != nil {
		return err
	}
	if err := r.access.paused(); update && err != nil { // it began while we waited
		r.access.release()
		return err
	}
	return nil
}

// release frees the lock. If a parser of what the server sent has panicked, the local copy of the
// branch may be incomplete, so it is dropped.
func (r *Repo) release(err *error) {
	if pratique.KindOf(*err) == pratique.Internal {
		r.local = nil
	}
	r.access.release()
}

// exchange bounds one exchange with the server; end marks it as over. The caller holds the lock.
func (r *Repo) exchange(ctx context.Context) (bounded context.Context, end func()) {
	bounded, cancel := context.WithTimeout(ctx, r.timeout)
	return bounded, func() {
		switch {
		case bounded.Err() == nil:
			r.access.answered++
		case ctx.Err() == nil:
			r.access.timeouts++
		}
		cancel()
	}
}

var _ deploy.Busy = (*Repo)(nil)

// Busy implements [deploy.Busy].
func (r *Repo) Busy() time.Duration { return r.access.busy() }
