package keyed

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/pratique-dev/pratique"
)

// TestLockAll: whoever works on an index holds its images, too, in whichever order they are named,
// and a subject that is named twice is held once.
func TestLockAll(t *testing.T) {
	var m Mutex[pratique.Subject]
	one := pratique.Subject{Repository: pratique.Repository{Registry: "r.test", Path: "a"},
		Digest: pratique.DigestOf([]byte("1"))}
	other := one.Sibling(pratique.DigestOf([]byte("2")))
	var beside sync.WaitGroup
	for i := range 100 {
		beside.Go(func() {
			all := []pratique.Subject{one, other, one}
			if i%2 == 0 {
				slices.Reverse(all[:2])
			}
			release, err := m.LockAll(t.Context(), all...)
			if err != nil {
				t.Error(err)
				return
			}
			release()
		})
	}
	beside.Wait()
	release, err := m.Lock(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.LockAll(stopped, one, other); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("one of two is held, and the error is %v", err)
	}
	release()
	if len(m.held) != 0 {
		t.Errorf("%d locks are never forgotten", len(m.held))
	}
}

func TestLock(t *testing.T) {
	var m Mutex[pratique.Subject]
	one := pratique.Subject{Repository: pratique.Repository{Registry: "r.test", Path: "a"},
		Digest: pratique.DigestOf([]byte("1"))}
	other := one.Sibling(pratique.DigestOf([]byte("2")))
	release, err := m.Lock(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Lock(stopped, one); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("waiting did not end with the context: %v", err)
	}
	releaseOther, err := m.Lock(t.Context(), other)
	if err != nil {
		t.Fatalf("one subject holds up another: %v", err)
	}
	release()
	releaseOther()
	if len(m.held) != 0 {
		t.Errorf("%d locks are never forgotten", len(m.held))
	}
}
