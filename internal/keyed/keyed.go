// Package keyed has a mutex for each subject that somebody works on. It holds within one process. Unlike for a
// [sync.Mutex], waiting ends with the context.
package keyed

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/pratique-dev/pratique"
)

// Mutex is a mutex for each subject. The zero value is ready.
type Mutex struct {
	mu   sync.Mutex
	held map[pratique.Subject]*lock
}

type lock struct {
	// slot holds one value while the lock is taken; users counts the holder and those who wait.
	slot  chan struct{}
	users int
}

// Lock waits for the subject's lock and returns the function that frees it. If ctx ends first the error is Unavailable.
func (m *Mutex) Lock(ctx context.Context, s pratique.Subject) (unlock func(), err error) {
	m.mu.Lock()
	entry := m.held[s]
	if entry == nil {
		entry = &lock{slot: make(chan struct{}, 1)}
		if m.held == nil {
			m.held = map[pratique.Subject]*lock{}
		}
		m.held[s] = entry
	}
	entry.users++
	m.mu.Unlock()

	forget := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if entry.users--; entry.users == 0 {
			delete(m.held, s)
		}
	}
	select {
	case entry.slot <- struct{}{}:
		return func() { <-entry.slot; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, pratique.Wrap(pratique.Unavailable, "wait for other work on", s.String(), context.Cause(ctx))
	}
}

// Held reports whether somebody has the subject's lock now. It is a hint: the answer may be old at once.
func (m *Mutex) Held(s pratique.Subject) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held[s] != nil
}

// LockAll waits for the locks of all subjects, and returns the function that frees them. They are taken in one order, so that
// callers whose subjects overlap do not wait for each other for ever. The error is that of [Mutex.Lock]; then none is held.
func (m *Mutex) LockAll(ctx context.Context, subjects ...pratique.Subject) (unlock func(), err error) {
	sorted := slices.SortedFunc(slices.Values(subjects), func(a, b pratique.Subject) int { return cmp.Compare(a.String(), b.String()) })
	var held []func()
	unlock = func() {
		for _, free := range slices.Backward(held) {
			free()
		}
	}
	for _, s := range slices.Compact(sorted) {
		free, err := m.Lock(ctx, s)
		if err != nil {
			unlock()
			return nil, err
		}
		held = append(held, free)
	}
	return unlock, nil
}
