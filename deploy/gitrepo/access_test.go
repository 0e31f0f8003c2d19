package gitrepo

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/backoff"
)

// silent is a server that takes connections and never answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return "http://" + l.Addr().String() + "/x.git"
}

// comesAgain checks that an error says when to come again.
func comesAgain(t *testing.T, err error, least, most time.Duration) {
	t.Helper()
	if asked := backoff.RetryAfter(err); pratique.KindOf(err) != pratique.Unavailable ||
		asked == 0 || asked < least || asked > most {
		t.Errorf("%v says nothing of %s to %s", err, least, most)
	}
}

// TestSilentServer: nobody waits for long where somebody else waits for a server that does not
// answer, and after that nobody does for a while. What is here of the branch can be looked at.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	r := open(t, Config{URL: silent(t), Timeout: time.Second})
	r.access.lockTime = 100 * time.Millisecond
	if r.Busy() != 0 {
		t.Error("busy from the beginning")
	}
	first := make(chan error)
	go func() {
		_, err := r.Update(t.Context(), set("a", "b"))
		first <- err
	}()
	for len(r.access.lock) == 0 {
		time.Sleep(time.Millisecond)
	}
	before := time.Now()
	_, err := r.Update(t.Context(), set("a", "b"))
	comesAgain(t, err, r.access.lockTime, r.access.lockTime)
	if took := time.Since(before); took > 700*time.Millisecond {
		t.Errorf("waited %s for the lock", took)
	}
	wantKind(t, <-first, pratique.Unavailable, "list branches")
	before = time.Now()
	_, err = r.Update(t.Context(), set("a", "b"))
	comesAgain(t, err, 20*time.Second, 30*time.Second)
	wantKind(t, err, pratique.Unavailable, r.remote)
	if looked, err := r.View(t.Context(), 0, nil); looked.Failed == nil || err == nil {
		t.Errorf("%+v, %v", looked, err)
	}
	if took := time.Since(before); took > 500*time.Millisecond {
		t.Errorf("a server that is left in peace was asked for %s", took)
	}
	if wait := r.Busy(); wait < 20*time.Second || wait > 30*time.Second {
		t.Errorf("busy for %s", wait)
	}
}

// TestPauseShowsWhatIsHere: while a server is left in peace, what it had last is shown, with why it
// is not newer.
func TestPauseShowsWhatIsHere(t *testing.T) {
	t.Parallel()
	s := start(t)
	r := open(t, Config{URL: create(t, s, "r", files)})
	if err := r.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.access.acquire(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r.access.timeouts++
	r.access.release()
	seen := false
	looked, err := r.View(t.Context(), 0, func(context.Context, deploy.Tip) error {
		seen = true
		return nil
	})
	if err != nil || !seen || pratique.KindOf(looked.Failed) != pratique.Unavailable {
		t.Errorf("%+v, %v, seen %t", looked, err, seen)
	}
}

// TestPauses: they grow while the server stays silent, one asks after each, and the first answer
// ends them.
func TestPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newAccess("memory")
		hold := func(ended, late int) {
			t.Helper()
			if err := p.paused(); err != nil {
				t.Fatal(err)
			}
			if err := p.acquire(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			p.answered, p.timeouts = ended, late
			p.release()
		}
		for _, most := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute,
			4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
			hold(1, 1)
			wait := p.busy()
			if wait > most || wait < most*3/4 {
				t.Errorf("a pause of %s, want %s", wait, most)
			}
			comesAgain(t, p.paused(), wait, wait)
			time.Sleep(wait)
		}
		// One tries, and the others do not begin.
		if p.busy() != 0 || p.acquire(t.Context(), true) != nil || p.busy() != busyTime {
			t.Error("more than one tries")
		}
		p.answered = 1
		p.release()
		// All is well: one may wait while another works.
		if p.busy() != 0 || p.acquire(t.Context(), true) != nil || p.busy() != 0 {
			t.Error("busy after an answer")
		}
		second := make(chan error)
		go func() { second <- p.acquire(t.Context(), true) }()
		synctest.Wait()
		if p.busy() != busyTime {
			t.Error("a third one begins")
		}
		before := time.Now()
		if err := <-second; err == nil || time.Since(before) != lockTime {
			t.Errorf("the second one waited %s: %v", time.Since(before), err)
		}
		p.release()
		hold(1, 1)
		if wait := p.busy(); wait > pauses.Min {
			t.Errorf("a pause of %s after an answer", wait)
		}
	})
}
