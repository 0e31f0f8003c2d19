package backoff

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestDelay(t *testing.T) {
	t.Parallel()
	half := Backoff{Min: time.Second, Max: 5 * time.Minute, Jitter: 0.5}
	for _, test := range []struct {
		name     string
		backoff  Backoff
		failures int
		random   float64
		want     time.Duration
	}{
		{"first", half, 1, 0, time.Second},
		{"second", half, 2, 0, 2 * time.Second},
		{"fourth", half, 4, 0, 8 * time.Second},
		{"fiftieth", half, 50, 0, 5 * time.Minute},
		{"beyond what a shift can hold", half, 5000, 0, 5 * time.Minute},
		{"no failure counts as the first", half, 0, 0, time.Second},
		{"negative failures too", half, -7, 0, time.Second},
		{"some jitter", half, 3, 0.5, 3 * time.Second},
		{"the most jitter", half, 3, 1, 2 * time.Second},
		{"the most jitter at the end", half, 99, 1, 150 * time.Second},
		{"random numbers are bounded", half, 3, 12, 2 * time.Second},
		{"on both sides", half, 3, -12, 4 * time.Second},
		{"without jitter", Backoff{Min: time.Second, Max: time.Minute}, 3, 1, 4 * time.Second},
		{"with a little jitter", Backoff{Min: time.Second, Max: time.Minute, Jitter: 0.1}, 1, 1,
			900 * time.Millisecond},
		{"Max below Min", Backoff{Min: time.Minute, Max: time.Second}, 1, 0, time.Second},
		{"nothing set", Backoff{}, 3, 0.5, 0},
	} {
		if got := test.backoff.Delay(test.failures, test.random); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	for failures := range 5000 {
		if d := half.Delay(failures, 0.3); d <= 0 || d > half.Max {
			t.Fatalf("after %d failures: %s", failures, d)
		}
	}
}

func TestLater(t *testing.T) {
	t.Parallel()
	for random, want := range map[float64]time.Duration{
		0: 8 * time.Second, 0.5: 9 * time.Second, 1: 10 * time.Second, -3: 8 * time.Second,
		3: 10 * time.Second,
	} {
		if got := Later(8*time.Second, 2*time.Second, random); got != want {
			t.Errorf("random %v: %s, want %s", random, got, want)
		}
	}
}

func TestRandom(t *testing.T) {
	t.Parallel()
	seen := map[float64]bool{}
	for range 100 {
		r := Random()
		if seen[r] = true; r < 0 || r >= 1 {
			t.Errorf("%v", r)
		}
	}
	if len(seen) < 90 {
		t.Errorf("%d different numbers of 100", len(seen))
	}
}

type asking time.Duration

func (asking) Error() string               { return "not now" }
func (a asking) RetryAfter() time.Duration { return time.Duration(a) }

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want time.Duration
	}{
		{nil, 0},
		{errors.New("x"), 0},
		{asking(time.Minute), time.Minute},
		{fmt.Errorf("a: %w", fmt.Errorf("b: %w", asking(time.Hour))), time.Hour},
		{errors.Join(errors.New("x"), asking(time.Second)), time.Second},
		{asking(0), 0},
		{asking(-time.Hour), 0},
	} {
		if got := RetryAfter(test.err); got != test.want {
			t.Errorf("%v: %s, want %s", test.err, got, test.want)
		}
	}
}

func TestFromHeader(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	date := func(at time.Time) string { return at.Format(http.TimeFormat) }
	for _, test := range []struct {
		name, retryAfter, date string
		want                   time.Duration
	}{
		{"nothing", "", "", 0},
		{"seconds", "90", "", 90 * time.Second},
		{"seconds, whatever the clock", " 90 ", date(now.Add(time.Hour)), 90 * time.Second},
		{"none", "0", "", 0},
		{"negative", "-5", "", 0},
		{"more than a duration holds", "9223372036854775807", "",
			time.Duration(mostSeconds) * time.Second},
		{"more than a number holds", "9223372036854775808", "", 0},
		{"words", "soon", "", 0},
		{"a fraction", "1.5", "", 0},
		{"a date", date(now.Add(time.Minute)), "", time.Minute},
		{"a date by the server's clock", date(now.Add(time.Minute)), date(now.Add(-time.Hour)),
			61 * time.Minute},
		{"a date, and a clock that nobody can read", date(now.Add(time.Minute)), "noon", time.Minute},
		{"a date that is over", date(now.Add(-time.Minute)), "", 0},
	} {
		header := http.Header{"Retry-After": {test.retryAfter}, "Date": {test.date}}
		if got := FromHeader(header, now); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if err := Sleep(t.Context(), time.Hour); err != nil || time.Since(begin) != time.Hour {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin = time.Now()
		if err := Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) ||
			time.Since(begin) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}
