package powercut_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/testenv/powercut"
	"github.com/pratique-dev/pratique/queue"
)

// startQueue starts the embedded server on dir and sets up the streams.
func startQueue(ctx context.Context, dir string, sync bool) (*queue.Embedded, *queue.Broker,
	jetstream.JetStream, error) {
	e, err := queue.StartEmbedded(queue.EmbeddedConfig{Dir: dir, SyncAlways: sync})
	if err != nil {
		return nil, nil, nil, err
	}
	conn, err := e.Conn()
	if err != nil {
		e.Close()
		return nil, nil, nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		e.Close()
		return nil, nil, nil, err
	}
	b := queue.New(js, queue.Config{AckWait: time.Second})
	if err := b.Setup(ctx); err != nil {
		e.Close()
		return nil, nil, nil, err
	}
	return e, b, js, nil
}

// messages makes messages of less than size bytes.
func messages(prefix string, n int, r *rand.Rand, size int) []pratique.Message {
	all := make([]pratique.Message, n)
	for i := range all {
		all[i] = pratique.Message{Priority: pratique.PriorityPush, ID: fmt.Sprint(prefix, "-", i),
			Body: make([]byte, r.IntN(size))}
	}
	return all
}

// publish puts in single messages and batches, in turns, until the power fails, and returns the ids
// that were acknowledged and those of the last try.
func publish(ctx context.Context, b *queue.Broker, prefix string, r *rand.Rand,
	size int) (acknowledged, tried []string) {
	for i := 0; ; i++ {
		all := messages(fmt.Sprint(prefix, "-", i), 1+i%2*(20+r.IntN(60)), r, size)
		tried = nil
		for _, m := range all {
			tried = append(tried, m.ID)
		}
		if err := b.PublishBatch(ctx, pratique.StageInspect, all); err != nil {
			return acknowledged, tried
		}
		acknowledged = append(acknowledged, tried...)
	}
}

// storedIDs reads the ids of the inspect stage in their order.
func storedIDs(ctx context.Context, js jetstream.JetStream) ([]string, error) {
	stream, err := js.Stream(ctx, "EVENTS")
	if err != nil {
		return nil, err
	}
	var ids []string
	state := stream.CachedInfo().State
	for seq := max(1, state.FirstSeq); seq <= state.LastSeq; seq++ {
		msg, err := stream.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // done, or of a batch that was not acknowledged
		}
		if err != nil {
			return ids, fmt.Errorf("message %d: %w", seq, err)
		}
		ids = append(ids, msg.Header.Get(jetstream.MsgIDHeader))
	}
	return ids, nil
}

// compareStored says what is wrong with stored: everything acknowledged must be there unless it was
// worked on, in its order and once, then perhaps some of what was tried last.
func compareStored(stored, acknowledged, tried []string, worked map[string]bool) error {
	next := 0
	for i, id := range slices.Concat(acknowledged, tried) {
		switch {
		case next < len(stored) && stored[next] == id:
			next++
		case i < len(acknowledged) && !worked[id]:
			return fmt.Errorf("%s is lost: of %d messages acknowledged %d are there", id,
				len(acknowledged), len(stored))
		}
	}
	if next < len(stored) {
		return fmt.Errorf("message %d, %s, is there twice or not in its place", next, stored[next])
	}
	return nil
}

// whilePowered returns a context that ends soon after the power failed, since a server without a
// disk does not answer. The function ends it at once and waits.
func whilePowered(ctx context.Context, root string) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(root); err != nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	})
	return ctx, func() { cancel(); watch.Wait() }
}

// plan is what happens before each cut.
type plan struct {
	sync    bool
	size    int  // of the messages, at most
	changes int  // the power fails in place of one of so many changes of the disk
	start   bool // counted from the start of the server on, not from its being ready
	work    bool // the messages are worked on meanwhile
}

// use starts the server, publishes and works until the power fails.
func (p plan) use(t *testing.T, d *powercut.Disk, root, dir, prefix string,
	r *rand.Rand) (acknowledged, tried []string, worked map[string]bool, err error) {
	t.Helper()
	ctx, end := whilePowered(t.Context(), root)
	defer end()
	after := 1 + r.IntN(p.changes)
	if p.start {
		d.CutAfter(after, r)
	}
	e, b, _, err := startQueue(ctx, dir, p.sync)
	if err != nil && p.start {
		return nil, nil, nil, nil // there was no power
	}
	if err != nil {
		return nil, nil, nil, err
	}
	if !p.start {
		d.CutAfter(after, r)
	}
	worked = map[string]bool{}
	var workers sync.WaitGroup
	defer workers.Wait()
	defer e.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if p.work {
		workers.Go(func() {
			// Its error says that the power failed before it began.
			_ = b.Run(ctx, []queue.Work{{
				Stage: pratique.StageInspect,
				// one worker
				Handle: func(_ context.Context, job queue.Job) error {
					worked[job.ID] = true
					return nil
				},
				Failed: func(context.Context, queue.Job, error, bool) error { return nil },
			}})
		})
	}
	acknowledged, tried = publish(ctx, b, prefix, r, p.size)
	return acknowledged, tried, worked, nil
}

// cutQueue lets the power fail several times under one server's directory, and compares what is
// there each time.
func cutQueue(t *testing.T, d *powercut.Disk, root string, p plan, seed, cuts int) error {
	t.Helper()
	r := chance(seed)
	dir := fmt.Sprint(root, "/", seed)
	must(t, os.Mkdir(dir, 0o700))
	syncDir(t, root)
	var there []string
	for n := range cuts {
		acknowledged, tried, worked, err := p.use(t, d, root, dir, fmt.Sprint(n), r)
		if err != nil {
			return fmt.Errorf("seed %d, start before cut %d: %w", seed, n, err)
		}
		reboot(t, d, seed)
		e, _, js, err := startQueue(t.Context(), dir, p.sync)
		if err != nil {
			return fmt.Errorf("seed %d, start after cut %d: %w", seed, n, err)
		}
		stored, err := storedIDs(t.Context(), js)
		e.Close()
		if err == nil {
			err = compareStored(stored, append(there, acknowledged...), tried, worked)
		}
		if err != nil {
			return fmt.Errorf("seed %d, cut %d: %w", seed, n, err)
		}
		there = stored
	}
	t.Logf("seed %d: %d messages are there after %d cuts", seed, len(there), cuts)
	return nil
}

func TestAcknowledgedMessagesSurvive(t *testing.T) {
	t.Parallel()
	seeds := 3
	if n, err := strconv.Atoi(os.Getenv("PRATIQUE_POWERCUT_SEEDS")); err == nil {
		seeds = n
	}
	for name, p := range map[string]plan{
		"small messages":      {sync: true, size: 2000, changes: 300},
		"many blocks":         {sync: true, size: 60_000, changes: 150},
		"worked on":           {sync: true, size: 2000, changes: 600, work: true},
		"cut while it starts": {sync: true, size: 2000, changes: 200, start: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, root := mount(t)
			for seed := range seeds {
				if err := cutQueue(t, d, root, p, seed, 3); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestMessagesWithoutSyncAreLost(t *testing.T) {
	t.Parallel()
	d, root := mount(t)
	for seed := range 10 {
		if err := cutQueue(t, d, root, plan{size: 2000, changes: 1000}, seed, 3); err != nil {
			t.Log(err)
			return
		}
	}
	t.Error("whatever the server does without sync survives: the disk drops nothing")
}
