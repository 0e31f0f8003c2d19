package database

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

func TestDue(t *testing.T) {
	t.Parallel()
	cfg := Config{Sources: []string{"a", "b"}, Interval: 6 * time.Hour}
	ago := func(d time.Duration) time.Time { return today.Add(-d) }
	db := func(next time.Time) *stored {
		return &stored{Database: pratique.Database{NextUpdate: next}}
	}
	tests := map[string]struct {
		plan    schedule
		current *stored
		want    time.Duration // from now; negative is "at once"
	}{
		"never looked":          {want: -1},
		"never looked, has one": {current: db(today.Add(time.Hour)), want: -1},
		"looked lately": {schedule{LookedAt: ago(time.Hour), TriedAt: ago(time.Hour)},
			db(ago(time.Hour)), 5 * time.Hour},
		"looked long ago": {schedule{LookedAt: ago(7 * time.Hour),
			TriedAt: ago(7 * time.Hour)}, db(ago(time.Hour)), -1},
		"the next comes later": {schedule{LookedAt: ago(7 * time.Hour),
			TriedAt: ago(7 * time.Hour)}, db(today.Add(3 * time.Hour)), 3 * time.Hour},
		"the next comes in a year": {schedule{LookedAt: ago(7 * time.Hour),
			TriedAt: ago(7 * time.Hour)}, db(today.Add(9000 * time.Hour)), 17 * time.Hour},
		"looked, but it is gone": {schedule{LookedAt: ago(time.Hour), TriedAt: ago(time.Hour)},
			nil, -1},
		"crashed just now": {schedule{TriedAt: ago(time.Second), Failures: 1}, nil,
			29 * time.Second},
		"crashed again and again": {schedule{TriedAt: ago(time.Second), Failures: 40}, nil,
			6*time.Hour - time.Second},
		"failed, the next is due": {schedule{LookedAt: ago(9 * time.Hour),
			TriedAt: ago(time.Minute), Failures: 3}, db(ago(time.Hour)), time.Minute},
		"the clock was set back": {schedule{LookedAt: today.Add(48 * time.Hour),
			TriedAt: today.Add(48 * time.Hour)}, db(ago(time.Hour)), -1},
		"one asked to wait": {schedule{Waits: map[string]time.Time{"a": today.Add(time.Hour)}}, nil, -1},
		"both asked to wait": {schedule{Waits: map[string]time.Time{"a": today.Add(2 * time.Hour),
			"b": today.Add(time.Hour)}}, nil, time.Hour},
		"both asked, failed lately": {schedule{TriedAt: ago(time.Second), Failures: 1,
			Waits: map[string]time.Time{"a": today.Add(time.Second), "b": today.Add(time.Second)}},
			nil, 29 * time.Second},
	}
	for what, test := range tests {
		got := test.plan.due(cfg, test.current, firstRetry, today).Sub(today)
		if (test.want < 0 && got > 0) || (test.want >= 0 && got != test.want) {
			t.Errorf("%s: due in %s, want %s", what, got, test.want)
		}
	}
}

// TestHammering: neither a crash loop nor a script that updates all the time asks a source more
// often than it says.
func TestHammering(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	dir := t.TempDir()
	now := today
	reopen := func() *Store {
		s, err := Open(Config{Sources: []string{src.ref}, Dir: dir}, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	looks := func(n int, step time.Duration) (asked int) {
		for range n {
			s := reopen()
			src.mu.Lock()
			before := src.asked
			src.mu.Unlock()
			_, _ = s.UpdateIfDue(t.Context()) // some fail
			src.mu.Lock()
			if src.asked > before {
				asked++
			}
			src.mu.Unlock()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			now = now.Add(step)
		}
		return asked
	}
	src.set(status(500))
	if n := looks(120, time.Second); n != 3 { // at 0, 30, 90 s
		t.Errorf("asked %d times in two minutes of a crash loop", n)
	}
	now = now.Add(time.Hour)
	src.set(nil)
	src.publish(t, good(t, "CVE-2026-0001", now)) // says that the next comes six hours later
	if n := looks(600, time.Minute); n != 2 {
		t.Errorf("asked %d times in ten hours", n)
	}
	// A crash in the middle is written down before: nothing but the note is left of it.
	now = now.Add(24 * time.Hour)
	s := reopen()
	src.set(func(http.ResponseWriter, *http.Request) bool {
		if p := readSchedule(dir); p.Failures != 1 || !p.TriedAt.Equal(now) {
			t.Errorf("before the source answers: %+v", p)
		}
		return false
	})
	if _, err := s.UpdateIfDue(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, scheduleFile), []byte("{torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	src.set(nil)
	if n := looks(1, 0); n != 1 {
		t.Error("a damaged schedule ends the updates")
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	limited, other := newSource(t), newSource(t)
	asked := func(s *source) int { s.mu.Lock(); defer s.mu.Unlock(); return s.asked }
	now := today
	say := func(code int, wait string) {
		limited.set(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Date", now.Format(http.TimeFormat))
			w.Header().Set("Retry-After", wait)
			w.WriteHeader(code)
			return true
		})
	}
	say(http.StatusTooManyRequests, "600")
	cfg := Config{Sources: []string{limited.ref, other.ref}, Dir: t.TempDir()}
	s, err := Open(cfg, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other.publish(t, good(t, "CVE-2026-0001", today))
	mustUpdate(t, s, true, "CVE-2026-0001")
	before := asked(limited)
	mustUpdate(t, s, false, "CVE-2026-0001") // even when told to, not before that time
	if asked(limited) != before {
		t.Error("asked before the time it had named")
	}
	status, err := ReadStatus(cfg, now)
	if err != nil || !status.Waits[limited.ref].Equal(today.Add(10*time.Minute)) {
		t.Errorf("status %+v, %v", status, err)
	}
	now = now.Add(10 * time.Minute)
	say(http.StatusServiceUnavailable, now.Add(time.Hour).Format(http.TimeFormat))
	mustUpdate(t, s, false, "CVE-2026-0001")
	if got := asked(limited); got != before+1 {
		t.Errorf("asked %d times", got-before)
	}
	now = now.Add(59 * time.Minute)
	mustUpdate(t, s, false, "CVE-2026-0001")
	if got := asked(limited); got != before+1 {
		t.Errorf("asked %d times", got-before)
	}
	now = now.Add(2 * time.Minute)
	limited.set(nil)
	limited.publish(t, good(t, "CVE-2026-0002", now))
	mustUpdate(t, s, true, "CVE-2026-0002")
	for value, want := range map[string]time.Duration{"": 0, "0": 0, "-5": 0, "soon": 0,
		"99999999": maxWait, "Mon, 02 Jan 2006 15:04:05 GMT": 0} {
		if got := retryAfter(http.Header{"Retry-After": {value}},
			today); (want == 0) != got.IsZero() || (want > 0 && !got.Equal(today.Add(want))) {
			t.Errorf("Retry-After %q: %s", value, got)
		}
	}
}

// TestJitter: many instances do not come together, and none comes early.
func TestJitter(t *testing.T) {
	t.Parallel()
	now := today
	s, err := Open(Config{Dir: t.TempDir(), Sources: []string{"r.example/db"}}, func() time.Time {
		return now
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if first := s.next(); first.After(now) {
		t.Errorf("the first look is put off until %s", first)
	}
	s.schedule = schedule{LookedAt: today, TriedAt: today}
	s.current = &stored{}
	seen := map[time.Time]bool{}
	for i := range 50 {
		now = today.Add(time.Duration(i) * 1234567 * time.Nanosecond)
		at := s.next()
		if seen[at] = true; at.Before(today.Add(6*time.Hour)) ||
			at.After(today.Add(6*time.Hour+36*time.Minute)) {
			t.Fatalf("looks at %s", at)
		}
	}
	if len(seen) < 40 {
		t.Errorf("only %d different times", len(seen))
	}
}
