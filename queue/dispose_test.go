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
	c := Config{MaxAttempts: 4, MinDelay: time.Second, MaxDelay: 20 * time.Second}
	of := func(k pratique.Kind) error { return pratique.Errorf(k, "x", "y") }
	for _, test := range []struct {
		name    string
		err     error
		attempt int
		jitter  float64
		want    Disposition
	}{
		{"success", nil, 1, 0, Disposition{Action: Ack}},
		{"late success", nil, 99, 0, Disposition{Action: Ack}},
		{"first", of(pratique.Unavailable), 1, 0, Disposition{Retry, time.Second}},
		{"third", of(pratique.Unavailable), 3, 0, Disposition{Retry, 4 * time.Second}},
		{"last", of(pratique.Unavailable), 4, 0, Disposition{Action: Term}},
		{"rate limited", of(pratique.RateLimited), 1, 0, Disposition{Retry, 8 * time.Second}},
		{"rate limited, bounded", of(pratique.RateLimited), 3, 0, Disposition{Retry, 20 * time.Second}},
		{"jitter", of(pratique.Conflict), 3, 0.5, Disposition{Retry, 3 * time.Second}},
		{"most jitter", of(pratique.Conflict), 3, 1, Disposition{Retry, 2 * time.Second}},
		{"nonsense jitter", of(pratique.Conflict), 1, -7, Disposition{Retry, time.Second}},
		{"no attempt", of(pratique.Conflict), 0, 0, Disposition{Retry, time.Second}},
		{"unknown", errors.New("x"), 1, 0, Disposition{Retry, time.Second}},
		{"denied", of(pratique.Denied), 1, 0, Disposition{Retry, time.Second}},
		{"internal", of(pratique.Internal), 1, 0, Disposition{Retry, time.Second}},
		{"stale", of(pratique.Stale), 1, 0, Disposition{Retry, time.Second}},
		{"wrapped", fmt.Errorf("a: %w", of(pratique.Invalid)), 1, 0, Disposition{Action: Term}},
	} {
		if got := Dispose(test.err, test.attempt, c, test.jitter); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
	for k := pratique.Unknown; k <= pratique.Internal; k++ {
		if got := Dispose(of(k), 1, c, 0).Action == Term; got != k.Permanent() {
			t.Errorf("%s ends at once: %v, permanent: %v", k, got, k.Permanent())
		}
	}
}

func TestDelayIsBounded(t *testing.T) {
	t.Parallel()
	for attempt := range 5000 {
		if d := delay(time.Second, time.Minute, attempt, 0.3); d <= 0 || d > time.Minute {
			t.Fatalf("attempt %d: %s", attempt, d)
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
		cancelled := time.Time{}
		ctx, stop := context.WithCancel(t.Context())
		finished := make(chan struct{})
		begin := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			cancelAfterGrace(ctx, 25*time.Second, func() { cancelled = time.Now() }, finished)
		}()
		time.Sleep(time.Hour)
		stop()
		<-done
		if got := cancelled.Sub(begin); got != time.Hour+25*time.Second {
			t.Errorf("cancelled after %s", got)
		}
	})
}
