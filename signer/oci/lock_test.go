package oci

import (
	"context"
	"testing"

	"github.com/pratique-dev/pratique"
)

func TestLockEndsWithTheContext(t *testing.T) {
	l := locks{held: map[pratique.Subject]*lock{}}
	one := pratique.Subject{Repository: pratique.Repository{Registry: "r.test", Path: "a"}, Digest: pratique.DigestOf([]byte("1"))}
	other := one.Sibling(pratique.DigestOf([]byte("2")))
	release, err := l.acquire(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.acquire(stopped, one); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("waiting did not end with the context: %v", err)
	}
	releaseOther, err := l.acquire(t.Context(), other)
	if err != nil {
		t.Fatalf("one subject holds up another: %v", err)
	}
	release()
	releaseOther()
	if len(l.held) != 0 {
		t.Errorf("%d locks are never forgotten", len(l.held))
	}
}
