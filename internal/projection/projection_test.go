package projection_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/projection"
)

// stream is a ledger in memory: what each entry says, and of which stream it is.
type stream struct {
	id      string
	entries []string
	err     error
}

func (s *stream) mark(seq uint64) string { return fmt.Sprint(s.id, s.entries[seq-1]) }

func (s *stream) End(context.Context) (uint64, error) { return uint64(len(s.entries)), s.err }

func (s *stream) Mark(_ context.Context, seq uint64) (string, bool, error) {
	if seq > uint64(len(s.entries)) {
		return "", false, s.err
	}
	return s.mark(seq), true, s.err
}

var errEnd = errors.New("the end")

// Follow ends when there is nothing left.
func (s *stream) Follow(_ context.Context, after uint64, fn func([]pratique.Entry) error) error {
	for seq := after + 1; seq <= uint64(len(s.entries)); seq++ {
		e := pratique.Entry{Seq: seq, Mark: s.mark(seq), Fact: pratique.Fact{By: s.entries[seq-1]}}
		if err := fn([]pratique.Entry{e}); err != nil {
			return err
		}
	}
	return errEnd
}

// store keeps what it was given.
type store struct {
	seq  uint64
	mark string
	has  []string
	live int
}

// see counts what is live.
func (s *store) see(_ pratique.Entry, live bool) {
	if live {
		s.live++
	}
}

func (s *store) At() (uint64, string, error) { return s.seq, s.mark, nil }

func (s *store) Apply(_ context.Context, entries []pratique.Entry) error {
	for _, e := range entries {
		s.seq, s.mark, s.has = e.Seq, e.Mark, append(s.has, e.Fact.By)
	}
	return nil
}

func (s *store) Reset() error {
	*s = store{live: s.live}
	return nil
}

// TestAnotherLedger: whatever became of the ledger, the store holds in the end what it holds, and
// says so if that took a new beginning.
func TestAnotherLedger(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		now      stream
		rebuilds uint64
	}{
		"the same":                      {stream{id: "a", entries: []string{"1", "2", "3"}}, 0},
		"longer":                        {stream{id: "a", entries: []string{"1", "2", "3", "4"}}, 0},
		"it lost its tail":              {stream{id: "a", entries: []string{"1", "2"}}, 1},
		"it lost its tail, and grew":    {stream{id: "a", entries: []string{"1", "2", "x", "y", "z"}}, 1},
		"another one, shorter":          {stream{id: "b", entries: []string{"1"}}, 1},
		"another one that says as much": {stream{id: "b", entries: []string{"1", "2", "3"}}, 1},
		"an empty one":                  {stream{id: "b"}, 1},
	} {
		before := stream{id: "a", entries: []string{"1", "2", "3"}}
		kept := &store{}
		if err := projection.New(&before, kept, nil).Follow(t.Context(), nil); !errors.Is(err, errEnd) {
			t.Fatal(err)
		}
		said := 0
		p := projection.New(&c.now, kept, func(have, end uint64) {
			if said++; have != 3 || end != uint64(len(c.now.entries)) {
				t.Errorf("%s: rebuilt from %d of %d", what, have, end)
			}
		})
		if ready, err := p.Ready(t.Context()); err != nil ||
			ready != (c.rebuilds == 0 && len(c.now.entries) == 3 || len(c.now.entries) == 0) {
			t.Errorf("%s: ready is %t, %v", what, ready, err)
		}
		if err := p.Follow(t.Context(), nil); !errors.Is(err, errEnd) {
			t.Fatal(err)
		}
		if !slices.Equal(kept.has, c.now.entries) {
			t.Errorf("%s: it holds %v, the ledger %v", what, kept.has, c.now.entries)
		}
		if ready, err := p.Ready(t.Context()); err != nil || !ready {
			t.Errorf("%s: not ready afterwards, %v", what, err)
		}
		if p.Rebuilds() != c.rebuilds || uint64(said) != c.rebuilds {
			t.Errorf("%s: rebuilt %d times, said so %d times", what, p.Rebuilds(), said)
		}
	}
}

// TestReadyAfterAnError: a ledger that did not answer once is asked again.
func TestReadyAfterAnError(t *testing.T) {
	t.Parallel()
	s := &stream{id: "a", err: pratique.Errorf(pratique.Unavailable, "ask", "away")}
	p := projection.New(s, &store{}, nil)
	if ready, err := p.Ready(t.Context()); ready || err == nil {
		t.Fatalf("ready %t, %v", ready, err)
	}
	s.err = nil
	if ready, err := p.Ready(t.Context()); !ready || err != nil {
		t.Errorf("ready %t, %v", ready, err)
	}
}

// TestOnlyNewsIsLive: a replay is told from what happens now.
func TestOnlyNewsIsLive(t *testing.T) {
	t.Parallel()
	s, kept := &stream{id: "a", entries: []string{"1", "2"}}, &store{}
	p := projection.New(s, kept, nil)
	if _, err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.entries = append(s.entries, "3")
	if err := p.Follow(t.Context(), kept.see); !errors.Is(err, errEnd) {
		t.Fatal(err)
	}
	if kept.live != 1 || len(kept.has) != 3 {
		t.Errorf("%d of %v are live", kept.live, kept.has)
	}
}

// TestAnotherLedgerMeanwhile: a ledger that is replaced by a shorter one while the process runs is
// not waited for, and what it holds already is no news.
func TestAnotherLedgerMeanwhile(t *testing.T) {
	t.Parallel()
	s, kept := &stream{id: "a", entries: []string{"1", "2", "3"}}, &store{}
	p := projection.New(s, kept, func(uint64, uint64) {})
	follow := func() {
		t.Helper()
		if err := p.Follow(t.Context(), kept.see); !errors.Is(err, errEnd) {
			t.Fatal(err)
		}
		if ready, err := p.Ready(t.Context()); err != nil || !ready {
			t.Errorf("not ready, %v", err)
		}
	}
	follow()
	*s = stream{id: "b", entries: []string{"1"}}
	follow()
	if kept.live != 0 || !slices.Equal(kept.has, s.entries) {
		t.Errorf("%d of %v are live", kept.live, kept.has)
	}
	s.entries = append(s.entries, "2")
	follow()
	if kept.live != 1 {
		t.Errorf("%d of %v are live", kept.live, kept.has)
	}
}
