package oci

import (
	"context"
	"sync"

	"github.com/pratique-dev/pratique"
)

// locks is a mutex for each subject that somebody works on. Unlike a [sync.Mutex], waiting ends with the context.
type locks struct {
	mu   sync.Mutex
	held map[pratique.Subject]*lock
}

type lock struct {
	// slot holds one value while the lock is taken; users counts the holder and those who wait.
	slot  chan struct{}
	users int
}

// acquire waits for the subject's lock and returns the function that frees it.
func (l *locks) acquire(ctx context.Context, subject pratique.Subject) (release func(), err error) {
	l.mu.Lock()
	entry := l.held[subject]
	if entry == nil {
		entry = &lock{slot: make(chan struct{}, 1)}
		l.held[subject] = entry
	}
	entry.users++
	l.mu.Unlock()

	forget := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		entry.users--
		if entry.users == 0 {
			delete(l.held, subject)
		}
	}
	select {
	case entry.slot <- struct{}{}:
		return func() { <-entry.slot; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, &pratique.Error{Op: "wait for other attestations of", Subject: subject.String(), Kind: pratique.Unavailable, Err: ctx.Err()}
	}
}
