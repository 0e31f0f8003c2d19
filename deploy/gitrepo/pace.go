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
	// turnTime is how long an update waits for its turn. Whoever waits longer comes again, so that a server that is slow or
	// silent does not hold the workers that others need.
	turnTime = 5 * time.Second
	// busyTime is how long a job stays in the queue that would have to wait for its turn.
	busyTime = 500 * time.Millisecond
)

// pauses are those after an exchange that took too long.
var pauses = backoff.Backoff{Min: 30 * time.Second, Max: 5 * time.Minute, Jitter: 0.25}

// pace keeps a server that does not answer from being waited for by everybody, and holds the turns of the branch.
type pace struct {
	remote   string        // for errors
	turn     chan struct{} // has room for the one who works with local
	patience time.Duration // [turnTime]

	// Of the turn that is on: how many exchanges came to an end in time, and how many did not.
	ended, late int

	mu       sync.Mutex
	waiting  int // for their turn
	failures int // turns in a row in which an exchange took too long
	until    time.Time
}

func newPace(remote string) *pace {
	return &pace{remote: remote, turn: make(chan struct{}, 1), patience: turnTime}
}

// later is an error that says when to come again.
type later struct {
	error
	wait time.Duration
}

// RetryAfter is what the queue looks for.
func (l *later) RetryAfter() time.Duration { return l.wait }

func (l *later) Unwrap() error { return l.error }

// paused returns the error of a pause, nil if there is none.
func (p *pace) paused() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := time.Until(p.until)
	if left <= 0 {
		return nil
	}
	return p.wait(&later{
		fmt.Errorf("its server did not answer in time, %d times in a row, and is asked again in %s", p.failures, left.Round(time.Second)), left,
	})
}

// wait is the error of somebody who would have to wait.
func (p *pace) wait(err error) error {
	return pratique.Wrap(pratique.Unavailable, "wait for the config repository", p.remote, err)
}

// busy returns for how long it makes no sense to begin an update: during a pause, or while others wait already. After a
// failure one tries, and the others wait for what comes of it.
func (p *pace) busy() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if left := time.Until(p.until); left > 0 {
		return left
	}
	if len(p.turn) > 0 && (p.waiting > 0 || p.failures > 0) {
		return busyTime
	}
	return 0
}

// enter waits for a turn, for as long as the context lasts or, if that is to be short, for a little while.
func (p *pace) enter(ctx context.Context, short bool) error {
	p.mu.Lock()
	p.waiting++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.waiting--
		p.mu.Unlock()
	}()
	var over <-chan time.Time
	if short {
		t := time.NewTimer(p.patience)
		defer t.Stop()
		over = t.C
	}
	select {
	case p.turn <- struct{}{}:
		p.ended, p.late = 0, 0
		return nil
	case <-over:
		return p.wait(&later{errors.New("another update has taken long, and this one comes later"), p.patience})
	case <-ctx.Done():
		return p.wait(ctx.Err())
	}
}

// leave ends a turn, and begins a pause if an exchange in it took too long.
func (p *pace) leave() {
	p.mu.Lock()
	switch {
	case p.late > 0:
		p.failures++
		p.until = time.Now().Add(pauses.Delay(p.failures, backoff.Random()))
	case p.ended > 0:
		p.failures = 0
	}
	p.mu.Unlock()
	<-p.turn
}

// enter waits for the turn of the repository. An update does so for a short time only, and not at all while the server is
// left in peace.
func (r *Repo) enter(ctx context.Context, update bool) error {
	if update {
		if err := r.pace.paused(); err != nil {
			return err
		}
	}
	if err := r.pace.enter(ctx, update); err != nil {
		return err
	}
	if err := r.pace.paused(); update && err != nil { // begun meanwhile
		r.pace.leave()
		return err
	}
	return nil
}

// leave lets the next one in. What a server sends goes through parsers of others; if one of them panicked, that is a
// failure of this repository and not the end of the service, and what is here of the branch may be half done.
func (r *Repo) leave(err *error) {
	if pratique.KindOf(*err) == pratique.Internal {
		r.local = nil
	}
	r.pace.leave()
}

// exchange bounds one exchange with the server; end says that it is over. It is called by whoever has the turn.
func (r *Repo) exchange(ctx context.Context) (bounded context.Context, end func()) {
	bounded, cancel := context.WithTimeout(ctx, r.timeout)
	return bounded, func() {
		switch {
		case bounded.Err() == nil:
			r.pace.ended++
		case ctx.Err() == nil:
			r.pace.late++
		}
		cancel()
	}
}

var _ deploy.Busy = (*Repo)(nil)

// Busy implements [deploy.Busy].
func (r *Repo) Busy() time.Duration { return r.pace.busy() }
