package queue

import (
	"sync"

	"github.com/pratique-dev/pratique"
)

// fairTurn is how often a less urgent priority is asked first: without it a priority that is always full would stop those
// behind it for ever. One worker in so many takes turns among them; all others go to the most urgent priority.
const fairTurn = 16

// turns decides which priorities may be asked for the next message, and in which order. Priorities are numbered from 0, the
// most urgent.
type turns struct {
	limits []int

	mu      sync.Mutex
	running []int
	taken   int
}

// newTurns fills in the limits that were left out. No priority has less than one worker, or more than there are.
func newTurns(workers int, limits map[pratique.Priority]int) *turns {
	t := &turns{running: make([]int, len(pratique.Priorities()))}
	for _, priority := range pratique.Priorities() {
		limit := limits[priority]
		if limit <= 0 {
			limit = defaultLimit(priority, workers)
		}
		t.limits = append(t.limits, min(max(1, limit), max(1, workers)))
	}
	return t
}

// defaultLimit leaves a worker to pushes whatever people submit, and half of them whatever is evaluated anew.
func defaultLimit(priority pratique.Priority, workers int) int {
	switch priority {
	case pratique.PriorityManual:
		return workers - 1
	case pratique.PriorityRescan:
		return workers / 2
	default:
		return workers
	}
}

// order returns the priorities that are below their limits, the one to ask first at the front.
func (t *turns) order() []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := 0
	if behind := len(t.limits) - 1; behind > 0 && t.taken%fairTurn == fairTurn-1 {
		first = 1 + t.taken/fairTurn%behind
	}
	var priorities []int
	add := func(priority int) {
		if t.running[priority] < t.limits[priority] {
			priorities = append(priorities, priority)
		}
	}
	add(first)
	for priority := range t.limits {
		if priority != first {
			add(priority)
		}
	}
	return priorities
}

// take notes that a worker has begun a message of the priority, and done that it has ended.
func (t *turns) take(priority int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running[priority]++
	t.taken++
}

func (t *turns) done(priority int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running[priority]--
}
