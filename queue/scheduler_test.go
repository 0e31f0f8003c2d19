package queue

import (
	"slices"
	"testing"

	"github.com/pratique-dev/pratique"
)

func TestLimitsOfPriorities(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		workers int
		limits  map[pratique.Priority]int
		want    []int
	}{
		{1, nil, []int{1, 1, 1}},
		{2, nil, []int{2, 1, 1}},
		{5, nil, []int{5, 4, 2}},
		{4, map[pratique.Priority]int{pratique.PriorityManual: 1, pratique.PriorityRescan: 9},
			[]int{4, 1, 4}},
		{0, nil, []int{1, 1, 1}},
	} {
		if got := newScheduler(test.workers, test.limits).limits; !slices.Equal(got, test.want) {
			t.Errorf("%d workers, %v: %v, want %v", test.workers, test.limits, got, test.want)
		}
	}
}

// TestScheduler: the most urgent priority goes first, but for one job in 16, for which the others
// alternate.
func TestScheduler(t *testing.T) {
	t.Parallel()
	s := newScheduler(4, nil)
	first := make([]int, 3)
	for range 320 { // all priorities are always full
		priority := s.order()[0]
		first[priority]++
		s.started(priority)
		s.finished(priority)
	}
	if want := []int{300, 10, 10}; !slices.Equal(first, want) {
		t.Errorf("jobs of the priorities %v, want %v", first, want)
	}
	s.started(2)
	s.started(2)
	if got := s.order(); slices.Contains(got, 2) {
		t.Errorf("priority 2 is at its limit and is asked all the same: %v", got)
	}
	s.finished(2)
	if got := s.order(); !slices.Contains(got, 2) {
		t.Errorf("priority 2 is below its limit and is not asked: %v", got)
	}
}
