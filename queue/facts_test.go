package queue_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue"
)

func facts(prefix string, n int) []queue.Entry {
	all := make([]queue.Entry, n)
	for i := range all {
		id := fmt.Sprint(prefix, i)
		all[i] = queue.Entry{Subject: "ledger.none.seen." + id, ID: id, Body: []byte(id)}
	}
	return all
}

// held reads the bodies in the ledger, in their order.
func held(t *testing.T, js jetstream.JetStream) string {
	t.Helper()
	stream, err := js.Stream(t.Context(), queue.LedgerStream)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(msg.Data))
	}
	return strings.Join(all, " ")
}

func bodies(all ...queue.Entry) string {
	var out []string
	for _, e := range all {
		out = append(out, string(e.Body))
	}
	return strings.Join(out, " ")
}

// TestFactsInBatches: few or many, they lie in the ledger in their order, and once if they are
// appended again.
func TestFactsInBatches(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{})
	few, many := facts("few", 3), facts("many", 700)
	for _, all := range [][]queue.Entry{few, many, few, many[:600]} {
		if err := b.PublishFacts(t.Context(), all); err != nil {
			t.Fatal(err)
		}
	}
	if have, want := held(t, js), bodies(append(few, many...)...); have != want {
		t.Errorf("the ledger holds %s", have)
	}
	large := []queue.Entry{{Subject: "ledger.none.seen.large", ID: "large", Body: make([]byte, 1<<20)}}
	if err := b.PublishFacts(t.Context(), large); pratique.KindOf(err) != pratique.Exhausted {
		t.Errorf("a fact of 1 MiB: %v", err)
	}
}

// TestFullLedger: the advice is that for the ledger, which no work done makes emptier.
func TestFullLedger(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{LedgerBytes: 8 << 10})
	fits := facts("fits", 15)
	if err := b.PublishFacts(t.Context(), fits); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{2, 40} { // one by one, as a batch
		big := facts("big", n)
		for i := range big {
			big[i].Body = make([]byte, 4<<10)
		}
		err := b.PublishFacts(t.Context(), big)
		if pratique.KindOf(err) != pratique.Unavailable ||
			!strings.Contains(err.Error(), "raise queue.ledgerSize") ||
			strings.Contains(err.Error(), "queue is full") {
			t.Errorf("%d facts: %v", n, err)
		}
	}
	if have := held(t, js); !strings.HasPrefix(have, bodies(fits...)) {
		t.Errorf("the ledger holds %s", have)
	}
}
