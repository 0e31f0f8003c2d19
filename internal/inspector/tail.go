package inspector

import (
	"strings"
	"sync"
)

// tail keeps the start and the end of a child's standard error: a Go crash states its reason first,
// and then prints a long trace.
type tail struct {
	mu   sync.Mutex
	head []byte
	last []byte
	lost bool
}

const (
	headBytes = 1 << 10
	lastBytes = 1 << 10
)

// Write implements [io.Writer]; it never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	room := min(headBytes-len(t.head), len(p))
	t.head = append(t.head, p[:room]...)
	t.last = append(t.last, p[room:]...)
	if over := len(t.last) - lastBytes; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
		t.lost = true
	}
	return n, nil
}

// String returns what was kept, in valid UTF-8.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	gap := ""
	if t.lost {
		gap = " … "
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(t.head)+gap+string(t.last)), "�")
}
