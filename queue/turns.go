package queue

import (
	"sync"

	"github.com/pratique-dev/pratique"
)

// fairTurn is how often a less urgent lane is asked first: without it a lane that is always full would stop those
// behind it for ever. One worker in so many takes turns among them; all others go to the most urgent lane.
const fairTurn = 16

// turns decides which lanes may be asked for the next message, and in which order. Lanes are numbered from 0, the
// most urgent.
type turns struct {
	limits []int

	mu      sync.Mutex
	running []int
	taken   int
}

// newTurns fills in the limits that were left out. No lane has less than one worker, or more than there are.
func newTurns(workers int, limits map[pratique.Lane]int) *turns {
	t := &turns{running: make([]int, len(pratique.Lanes()))}
	for _, lane := range pratique.Lanes() {
		limit := limits[lane]
		if limit <= 0 {
			limit = defaultLimit(lane, workers)
		}
		t.limits = append(t.limits, min(max(1, limit), max(1, workers)))
	}
	return t
}

// defaultLimit leaves a worker to pushes whatever people submit, and half of them whatever is judged anew.
func defaultLimit(lane pratique.Lane, workers int) int {
	switch lane {
	case pratique.LaneManual:
		return workers - 1
	case pratique.LaneRescan:
		return workers / 2
	default:
		return workers
	}
}

// order returns the lanes that are below their limits, the one to ask first at the front.
func (t *turns) order() []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := 0
	if behind := len(t.limits) - 1; behind > 0 && t.taken%fairTurn == fairTurn-1 {
		first = 1 + t.taken/fairTurn%behind
	}
	var lanes []int
	add := func(lane int) {
		if t.running[lane] < t.limits[lane] {
			lanes = append(lanes, lane)
		}
	}
	add(first)
	for lane := range t.limits {
		if lane != first {
			add(lane)
		}
	}
	return lanes
}

// take notes that a worker has begun a message of the lane, and done that it has ended.
func (t *turns) take(lane int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running[lane]++
	t.taken++
}

func (t *turns) done(lane int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running[lane]--
}
