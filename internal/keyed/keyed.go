// Package keyed has a mutex for each subject, within one process. Unlike with a [sync.Mutex], waiting ends with the
// context.
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
	// slot holds one value while the lock is held; users counts the holder and the waiters.
	slot  chan struct{}
	users int
}

// Lock locks a subject and returns the function that unlocks it. If ctx ends first the error is Unavailable.
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
		return nil, pratique.Wrap(pratique.Unavailable, "lock", s.String(), context.Cause(ctx))
	}
}

// Held reports whether the subject is locked. It is a hint: the answer may be outdated at once.
func (m *Mutex) Held(s pratique.Subject) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held[s] != nil
}

// LockAll locks all subjects and returns the function that unlocks them. It locks in a fixed order, so that callers whose
// subjects overlap cannot deadlock. After an error, which is that of [Mutex.Lock], none is locked.
func (m *Mutex) LockAll(ctx context.Context, subjects ...pratique.Subject) (unlock func(), err error) {
	sorted := slices.SortedFunc(slices.Values(subjects), func(a, b pratique.Subject) int { return cmp.Compare(a.String(), b.String()) })
	var unlocks []func()
	unlock = func() {
		for _, unlock := range slices.Backward(unlocks) {
			unlock()
		}
	}
	for _, s := range slices.Compact(sorted) {
		one, err := m.Lock(ctx, s)
		if err != nil {
			unlock()
			return nil, err
		}
		unlocks = append(unlocks, one)
	}
	return unlock, nil
}
