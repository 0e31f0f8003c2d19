package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/testenv/natsserver"
	"github.com/pratique-dev/pratique/queue"
)

func TestBatchesOverRestartsOfTheServer(t *testing.T) {
	t.Parallel()
	options := server.Options{JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 16 << 30,
		SyncAlways: true}
	s := natsserver.Start(t, options)
	options.Port = natsserver.Port(s)
	_, js := dial(t, s.ClientURL())
	b := queue.New(js, queue.Config{})
	if err := b.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	const restarts, size = 4, 100
	var sent []string
	var acknowledged, failed atomic.Int32
	stop := make(chan struct{})
	try := func(part []pratique.Message) error {
		// A request that is lost with its connection has no answer.
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		return b.PublishBatch(ctx, pratique.StageInspect, part)
	}
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			part := batch(fmt.Sprint("m", n, "-"), size)
			for try(part) != nil {
				if failed.Add(1); t.Context().Err() != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
			sent = append(sent, idsOf(part)...)
			acknowledged.Add(1)
		}
	})
	for r := range int32(restarts) {
		eventually(t, "batches are acknowledged", func() bool { return acknowledged.Load() >= 3*(r+1) })
		natsserver.Stop(s)
		s = natsserver.Start(t, options)
	}
	before := acknowledged.Load()
	eventually(t, "and after the last restart", func() bool { return acknowledged.Load() > before+1 })
	close(stop)
	publisher.Wait()
	ids, batches := stored(t, js)
	if diff := cmp.Diff(sent, ids); diff != "" {
		t.Errorf("sent %d, stored %d: %s", len(sent), len(ids), diff)
	}
	t.Logf("%d messages in %d batches, %d batches sent again", len(sent), batches, failed.Load())
}

func TestAcknowledgedBatchesSurviveSIGKILL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acked := kill(t, "publish batches", dir, func(lines []string) bool { return len(lines) >= 500 })
	if len(acked) < 500 {
		t.Fatalf("the victim published %d", len(acked))
	}
	_, b, js := start(t, dir, crashConfig)
	ids, _ := stored(t, js)
	if len(ids) < len(acked) || !slices.Equal(ids[:len(acked)], acked) {
		t.Fatalf("acknowledged %d, stored %d: %s", len(acked), len(ids), cmp.Diff(acked, ids))
	}
	// What was under way is sent again, and then it is there once.
	rest := ids[len(acked):]
	next := batch(fmt.Sprint("m", len(acked)/50, "-"), 50)
	if err := b.PublishBatch(t.Context(), pratique.StageInspect, next); err != nil {
		t.Fatal(err)
	}
	again, _ := stored(t, js)
	t.Logf("%d acknowledged, %d more stored at the kill, %d at the end", len(acked), len(rest),
		len(again))
	if len(slices.Compact(slices.Sorted(slices.Values(again)))) != len(again) {
		t.Error("something is stored twice")
	}
}

func BenchmarkPublishBatch(b *testing.B) {
	for _, size := range []int{1, 10, 100, 500} {
		b.Run(fmt.Sprint("size=", size), func(b *testing.B) {
			broker := benchmarkBroker(b, true)
			all := batch("", size)
			n := 0
			for b.Loop() {
				for i := range all {
					n++
					all[i].ID, all[i].Body = fmt.Sprint(n), make([]byte, 900)
				}
				if err := broker.PublishBatch(b.Context(), pratique.StageInspect, all); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

func BenchmarkPublishers(b *testing.B) {
	for _, publishers := range []int{1, 128} {
		b.Run(fmt.Sprint("publishers=", publishers), func(b *testing.B) {
			broker := benchmarkBroker(b, true)
			var next atomic.Int64
			var all sync.WaitGroup
			for range publishers {
				all.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if err := broker.Publish(b.Context(), pratique.StageInspect,
							pratique.PriorityPush, fmt.Sprint(n), make([]byte, 900)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}
