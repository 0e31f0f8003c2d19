package journal

import (
	"fmt"
	"testing"
	"time"
)

// TestRatedLines: what senders repeat is logged a few times a minute, with how often it was not.
func TestRatedLines(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	r := &rated{most: 2, now: func() time.Time { return at }}
	take := func(key string) (n int, last string) {
		for range 5 {
			if left, ok := r.take(key); ok {
				n++
				last = fmt.Sprint(left)
			}
		}
		return n, last
	}
	if n, left := take("main"); n != 2 || left != "[]" {
		t.Errorf("%d lines, %s", n, left)
	}
	if n, _ := take("other"); n != 2 {
		t.Errorf("%d lines of another one", n)
	}
	at = at.Add(time.Minute)
	if left, ok := r.take("main"); !ok || fmt.Sprint(left) != "[notLogged=3]" {
		t.Errorf("%t, %v", ok, left)
	}
	if n, left := take("main"); n != 1 || left != "[]" {
		t.Errorf("%d lines, %s", n, left)
	}
}
