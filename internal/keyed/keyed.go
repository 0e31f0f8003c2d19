// Package keyed has a mutex for each key, such as a subject. It holds within one process. Unlike
// for a [sync.Mutex], waiting ends with the context.
package keyed

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/pratique-dev/pratique"
)

// Key is the type of a key.
type Key interface {
	comparable
	fmt.Stringer
}

// Mutex is a mutex for each key. The zero value is ready.
type Mutex[K Key] struct {
	mu   sync.Mutex
	held map[K]*lock
}

type lock struct {
	// slot holds one value while the lock is taken; users counts the holder and those who wait.
	slot  chan struct{}
	users int
}

// Lock waits for the key's lock and returns the function that frees it. If ctx ends first the error
// is Unavailable.
func (m *Mutex[K]) Lock(ctx context.Context, key K) (unlock func(), err error) {
	m.mu.Lock()
	entry := m.held[key]
	if entry == nil {
		entry = &lock{slot: make(chan struct{}, 1)}
		if m.held == nil {
			m.held = map[K]*lock{}
		}
		m.held[key] = entry
	}
	entry.users++
	m.mu.Unlock()

	forget := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if entry.users--; entry.users == 0 {
			delete(m.held, key)
		}
	}
	select {
	case entry.slot <- struct{}{}:
		return func() { <-entry.slot; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, pratique.Wrap(pratique.Unavailable, "wait for other work on", key.String(),
			context.Cause(ctx))
	}
}

// Held reports whether somebody has the key's lock now. It is a hint: the answer may be old at once.
func (m *Mutex[K]) Held(key K) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held[key] != nil
}

// LockAll waits for the locks of all keys, and returns the function that frees them. They are taken
// in one order, so that callers whose keys overlap do not wait for each other for ever. The error
// is that of [Mutex.Lock]; then none is held.
func (m *Mutex[K]) LockAll(ctx context.Context, keys ...K) (unlock func(), err error) {
	sorted := slices.SortedFunc(slices.Values(keys), func(a, b K) int {
		return cmp.Compare(a.String(), b.String())
	})
	var held []func()
	unlock = func() {
		for _, free := range slices.Backward(held) {
			free()
		}
	}
	for _, key := range slices.Compact(sorted) {
		free, err := m.Lock(ctx, key)
		if err != nil {
			unlock()
			return nil, err
		}
		held = append(held, free)
	}
	return unlock, nil
}
