package outbox

import (
	"container/heap"
	"strings"
	"sync"
	"time"
)

// task is a tag to be resolved.
type task struct {
	key      string
	failures int
	due      time.Time // zero means at once
}

// registry is the part of the key before the first slash.
func (t task) registry() string {
	host, _, _ := strings.Cut(t.key, "/")
	return host
}

// schedule decides which tag to resolve next. Each unresolved tag is in it exactly once, or running.
type schedule struct {
	changed chan struct{} // a task may be due

	mu      sync.Mutex
	tasks   taskHeap
	parked  map[string][]task // due, by registry, but their registry has maxPerRegistry running
	running map[string]int    // by registry
	total   int               // running
}

func newSchedule() *schedule {
	return &schedule{changed: make(chan struct{}, 1), parked: map[string][]task{},
		running: map[string]int{}}
}

func (s *schedule) add(t task) {
	s.mu.Lock()
	heap.Push(&s.tasks, t)
	s.mu.Unlock()
	s.signal()
}

func (s *schedule) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// next returns a task that is due, and counts it as running. If there is none it returns how long
// to wait for one, unless the schedule changes.
func (s *schedule) next(now time.Time) (t task, wait time.Duration, ok bool) {
	const long = time.Hour
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= maxResolves {
		return task{}, long, false
	}
	for len(s.tasks) > 0 {
		if wait := s.tasks[0].due.Sub(now); wait > 0 {
			return task{}, wait, false
		}
		t, _ := heap.Pop(&s.tasks).(task)
		registry := t.registry()
		if s.running[registry] >= maxPerRegistry {
			s.parked[registry] = append(s.parked[registry], t)
			continue
		}
		s.running[registry]++
		s.total++
		return t, 0, true
	}
	return task{}, long, false
}

// finished ends a running task. If retry is set, next replaces it.
func (s *schedule) finished(t, next task, retry bool) {
	registry := t.registry()
	s.mu.Lock()
	s.total--
	if s.running[registry]--; s.running[registry] == 0 {
		delete(s.running, registry)
	}
	if parked := s.parked[registry]; len(parked) > 0 {
		heap.Push(&s.tasks, parked[0])
		if s.parked[registry] = parked[1:]; len(parked) == 1 {
			delete(s.parked, registry)
		}
	}
	if retry {
		heap.Push(&s.tasks, next)
	}
	s.mu.Unlock()
	s.signal()
}

// taskHeap implements [heap.Interface], the earliest task first.
type taskHeap []task

func (h taskHeap) Len() int           { return len(h) }
func (h taskHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h taskHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *taskHeap) Push(x any) {
	t, _ := x.(task) // only tasks are pushed
	*h = append(*h, t)
}

// Pop implements [heap.Interface].
func (h *taskHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
