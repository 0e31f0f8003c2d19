package outbox

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// BenchmarkPublish publishes events of different tags with a sync of each commit, each writer one
// event after the other, with and without a forwarder that takes all.
func BenchmarkPublish(b *testing.B) {
	for _, forwarding := range []bool{false, true} {
		for _, writers := range []int{1, 128} {
			b.Run(fmt.Sprintf("forwarding=%t/writers=%d", forwarding, writers), func(b *testing.B) {
				benchmarkPublish(b, writers, forwarding)
			})
		}
	}
}

func benchmarkPublish(b *testing.B, writers int, forwarding bool) {
	o := open(b, Config{MaxBytes: 4 << 30})
	ctx, cancel := context.WithCancel(b.Context())
	var runs sync.WaitGroup
	if forwarding {
		runs.Go(func() {
			if err := o.Run(ctx, Downstream{Forward: func(context.Context, []pratique.Event) error {
				return nil
			}}); err != nil {
				b.Error(err)
			}
		})
	}
	var next atomic.Int64
	var all sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range writers {
		all.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if stored, err := o.Publish(b.Context(),
					[]pratique.Event{notification(i)}); err != nil || stored != 1 {
					b.Errorf("stored %d, %v", stored, err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	cancel()
	runs.Wait()
}

// notification is what the notification of a push by CNCF Distribution, of 900 bytes, comes to.
func notification(i int64) pratique.Event {
	return pratique.Event{
		Ref: pratique.ImageRef{
			Repository: pratique.Repository{Registry: "registry.example.com:5000",
				Path: fmt.Sprintf("team-%d/service-%d", i%17, i%331)},
			Tag: fmt.Sprintf("v1.%d", i), Digest: pratique.DigestOf(fmt.Append(nil, i)),
		},
		Source: "distribution", Actor: "ci-robot",
		Delivery: fmt.Sprintf("320678d8-ca14-430f-8bb6-%012d", i),
		Priority: pratique.PriorityPush, OccurredAt: time.Unix(1_700_000_000+i, 0).UTC(),
		ReceivedAt: time.Unix(1_700_000_001+i, 0).UTC(),
	}
}
