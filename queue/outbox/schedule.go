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
	due      time.Time // zero means now
}

// registry is the part of the key before the first slash.
func (t task) registry() string {
	host, _, _ := strings.Cut(t.key, "/")
	return host
}

// schedule says which tag to resolve next. Each tag that waits in the file is in it exactly once, or under way.
type schedule struct {
	changed chan struct{} // there may be something to do

	mu     sync.Mutex
	tasks  taskHeap
	parked map[string][]task // due, but their registry is busy
	busy   map[string]int    // by registry
	total  int               // tasks under way
}

func newSchedule() *schedule {
	return &schedule{changed: make(chan struct{}, 1), parked: map[string][]task{}, busy: map[string]int{}}
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

// next returns a task that is due, which is under way then. If there is none it returns how long to wait for
// one unless the schedule changes.
func (s *schedule) next(now time.Time) (t task, wait time.Duration, ok bool) {
	const long = time.Hour
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= resolvers {
		return task{}, long, false
	}
	for len(s.tasks) > 0 {
		if wait := s.tasks[0].due.Sub(now); wait > 0 {
			return task{}, wait, false
		}
		t, _ := heap.Pop(&s.tasks).(task)
		registry := t.registry()
		if s.busy[registry] >= perRegistry {
			s.parked[registry] = append(s.parked[registry], t)
			continue
		}
		s.busy[registry]++
		s.total++
		return t, 0, true
	}
	return task{}, long, false
}

// finished ends a task that is under way; with again set, next takes its place.
func (s *schedule) finished(t, next task, again bool) {
	registry := t.registry()
	s.mu.Lock()
	s.total--
	if s.busy[registry]--; s.busy[registry] == 0 {
		delete(s.busy, registry)
	}
	if parked := s.parked[registry]; len(parked) > 0 {
		heap.Push(&s.tasks, parked[0])
		if s.parked[registry] = parked[1:]; len(parked) == 1 {
			delete(s.parked, registry)
		}
	}
	if again {
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
