package queue

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pratique-dev/pratique"
)

func TestDispose(t *testing.T) {
	t.Parallel()
	c := Config{MaxAttempts: 4, MinDelay: time.Second, MaxDelay: 20 * time.Second, MaxAge: time.Hour}
	of := func(k pratique.Kind) error { return pratique.Errorf(k, "x", "y") }
	const young, old = time.Minute, time.Hour + 1
	again := func(d time.Duration) Disposition { return Disposition{Action: Retry, Delay: d} }
	wait := func(d time.Duration) Disposition {
		return Disposition{Action: Retry, Delay: d, Uncounted: true}
	}
	end, ended := Disposition{Action: Term}, Disposition{Action: Term, Uncounted: true}
	for _, test := range []struct {
		name    string
		err     error
		history History
		jitter  float64
		want    Disposition
	}{
		{"success", nil, History{1, 1, 0}, 0, Disposition{}},
		{"late success", nil, History{99, 99, old}, 0, Disposition{}},
		{"first", of(pratique.Unavailable), History{1, 1, 0}, 0, wait(time.Second)},
		{"third", of(pratique.Unavailable), History{3, 1, 0}, 0, wait(4 * time.Second)},
		{"hundredth", of(pratique.Unavailable), History{100, 1, young}, 0, wait(20 * time.Second)},
		{"too old", of(pratique.Unavailable), History{100, 1, old}, 0, ended},
		{"as old as allowed", of(pratique.Unavailable), History{100, 1, old - 1}, 0,
			wait(20 * time.Second)},
		{"too old when the service came back", of(pratique.Unavailable), History{3, 1, old}, 0,
			wait(4 * time.Second)},
		{"and its last start", of(pratique.Unavailable), History{4, 1, old}, 0, ended},
		{"clock set back", of(pratique.Unavailable), History{100, 1, -old}, 0, wait(20 * time.Second)},
		{"after crashes", of(pratique.Unavailable), History{9, 4, young}, 0, wait(20 * time.Second)},
		{"rate limited", of(pratique.RateLimited), History{1, 1, 0}, 0, wait(8 * time.Second)},
		{"rate limited, bounded", of(pratique.RateLimited), History{3, 1, 0}, 0, wait(20 * time.Second)},
		{"jitter", of(pratique.Conflict), History{3, 1, 0}, 0.5, wait(3 * time.Second)},
		{"most jitter", of(pratique.Conflict), History{3, 1, 0}, 1, wait(2 * time.Second)},
		{"nonsense jitter", of(pratique.Conflict), History{1, 1, 0}, -7, wait(time.Second)},
		{"no start", of(pratique.Conflict), History{}, 0, wait(time.Second)},
		{"denied", of(pratique.Denied), History{100, 1, young}, 0, wait(20 * time.Second)},
		{"stale", of(pratique.Stale), History{100, 1, young}, 0, wait(20 * time.Second)},
		{"unknown", errors.New("x"), History{1, 1, 0}, 0, again(time.Second)},
		{"unknown after an outage", errors.New("x"), History{100, 3, old}, 0, again(20 * time.Second)},
		{"unknown, last", errors.New("x"), History{4, 4, 0}, 0, end},
		{"internal", of(pratique.Internal), History{1, 1, 0}, 0, again(time.Second)},
		{"internal, last", of(pratique.Internal), History{100, 4, 0}, 0, end},
		{"died", of(pratique.Died), History{2, 2, 0}, 0, again(2 * time.Second)},
		{"died, last", of(pratique.Died), History{4, 4, 0}, 0, end},
		{"told", toldError(7 * time.Second), History{5, 1, 0}, 0, wait(7 * time.Second)},
		{"told, with jitter", toldError(8 * time.Second), History{5, 1, 0}, 1, wait(11 * time.Second)},
		{"told nonsense", toldError(100 * time.Hour), History{5, 1, 0}, 0, wait(15 * time.Minute)},
		{"told nothing", toldError(0), History{1, 1, 0}, 0, wait(8 * time.Second)},
		{"told, and too old", toldError(time.Second), History{4, 1, old}, 0, ended},
		{"wrapped", fmt.Errorf("a: %w", of(pratique.Invalid)), History{1, 1, 0}, 0, end},
	} {
		if got := Dispose(test.err, test.history, c, test.jitter); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
	for k := pratique.Unknown; k <= pratique.Died; k++ {
		if got := Dispose(of(k), History{1, 1, 0}, c, 0).Action == Term; got != k.Permanent() {
			t.Errorf("%s ends at once: %v, permanent: %v", k, got, k.Permanent())
		}
	}
}

func TestCountsAreParsed(t *testing.T) {
	t.Parallel()
	want := attempt{total: 4, counted: 3, crashes: 2, kind: pratique.Died, reason: "it took\ntoo long"}
	var got attempt
	if err := got.parse("4 3 2\ndied\nit took\ntoo long"); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"", "x", "1 x", "x 1", "1 2", "1 2 x"} {
		if err := new(attempt).parse(text); err == nil {
			t.Errorf("%q was parsed", text)
		}
	}
}

func TestDelayIsBounded(t *testing.T) {
	t.Parallel()
	c := Config{MinDelay: time.Second, MaxDelay: time.Minute}
	for attempts := range 5000 {
		d := Dispose(pratique.Errorf(pratique.Unavailable, "x", "y"), History{Attempts: attempts}, c, 0.3)
		if d.Delay <= 0 || d.Delay > time.Minute {
			t.Fatalf("attempt %d: %s", attempts, d.Delay)
		}
	}
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		beats := 0
		withHeartbeat(10*time.Second, func() { beats++ }, func() { time.Sleep(35 * time.Second) })
		if beats != 3 {
			t.Errorf("%d beats in 35 s, want 3", beats)
		}
		time.Sleep(time.Minute)
		if beats != 3 {
			t.Errorf("%d beats after the end", beats-3)
		}
	})
}

func TestGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		canceled := time.Time{}
		ctx, stop := context.WithCancel(t.Context())
		finished := make(chan struct{})
		begin := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			cancelAfterGrace(ctx, 25*time.Second, func() { canceled = time.Now() }, finished)
		}()
		time.Sleep(time.Hour)
		stop()
		<-done
		if got := canceled.Sub(begin); got != time.Hour+25*time.Second {
			t.Errorf("canceled after %s", got)
		}
	})
}

type toldFault time.Duration

func (toldFault) Error() string               { return "not now" }
func (t toldFault) RetryAfter() time.Duration { return time.Duration(t) }

func toldError(d time.Duration) error {
	return fmt.Errorf("a: %w", pratique.Wrap(pratique.RateLimited, "x", "", toldFault(d)))
}
