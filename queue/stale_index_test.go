package queue_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue"
)

// What a power cut may leave: a block with zeros at its end, for it was longer already but the
// bytes of its last message were not written, beside an index from when the stream was empty.
func TestBlockWithZerosAtItsEndBesideAnOldIndex(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	messages := filepath.Join(dir, "jetstream", "$G", "streams", "EVENTS", "msgs")
	index, block := filepath.Join(messages, "index.db"), filepath.Join(messages, "1.blk")
	e, _, _ := start(t, dir, queue.Config{})
	e.Close()
	old, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	e, b, _ := start(t, dir, queue.Config{})
	publish(t, b, pratique.PriorityPush, "a", "b", "c")
	e.Close()
	written, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{index: old,
		block: append(written, make([]byte, 300)...)} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, b, js := start(t, dir, queue.Config{})
	publish(t, b, pratique.PriorityPush, "c", "d")
	ids, _ := stored(t, js)
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, ids); diff != "" {
		t.Error(diff)
	}
}
