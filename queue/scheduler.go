package queue

import (
	"sync"

	"github.com/pratique-dev/pratique"
)

// fairnessInterval is how often a less urgent priority comes first: once in so many jobs. Otherwise
// a priority that is never empty would starve those behind it.
const fairnessInterval = 16

// scheduler decides which priorities may supply the next message, and in which order. Priorities are
// numbered from 0, the most urgent.
type scheduler struct {
	limits []int

	mu      sync.Mutex
	running []int
	total   int // jobs started so far
}

// newScheduler fills in missing limits. Each is at least one worker, and at most all.
func newScheduler(workers int, limits map[pratique.Priority]int) *scheduler {
	s := &scheduler{running: make([]int, len(pratique.Priorities()))}
	for _, priority := range pratique.Priorities() {
		limit := limits[priority]
		if limit <= 0 {
			limit = defaultLimit(priority, workers)
		}
		s.limits = append(s.limits, min(max(1, limit), max(1, workers)))
	}
	return s
}

// defaultLimit reserves one worker for pushes, and half of them for pushes and submissions.
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

// order returns the priorities below their limits, the one to ask first at the front.
func (s *scheduler) order() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := 0
	if others := len(s.limits) - 1; others > 0 && s.total%fairnessInterval == fairnessInterval-1 {
		first = 1 + s.total/fairnessInterval%others
	}
	var priorities []int
	add := func(priority int) {
		if s.running[priority] < s.limits[priority] {
			priorities = append(priorities, priority)
		}
	}
	add(first)
	for priority := range s.limits {
		if priority != first {
			add(priority)
		}
	}
	return priorities
}

// started records that a worker has started a job of the priority.
func (s *scheduler) started(priority int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[priority]++
	s.total++
}

func (s *scheduler) finished(priority int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[priority]--
}
