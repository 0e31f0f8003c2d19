package atrest

import (
	"context"
	"runtime"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

func TestRests(t *testing.T) {
	const mib = 1 << 20
	for name, test := range map[string]struct {
		allocations []uint64 // between two looks
		want        int      // the look at which memory is given back; 0 for none
	}{
		"nothing was done":      {[]uint64{0, 0, 0, 0, 0, 0}, 0},
		"a burst, and quiet":    {[]uint64{200 * mib, 0, 1 * mib, 0}, 4},
		"not quiet for long":    {[]uint64{200 * mib, 0, 0, 5 * mib, 0, 0, 1, 0}, 7},
		"never quiet":           {[]uint64{200 * mib, 0, 5 * mib, 0, 5 * mib, 0, 5 * mib}, 0},
		"too little to give":    {[]uint64{15 * mib, 0, 0, 0, 0}, 0},
		"little by little":      {[]uint64{4 * mib, 4 * mib, 4 * mib, 4 * mib, 1}, 5},
		"exactly as long as it": {[]uint64{33 * mib, 0, 0}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var w watch
			total, got := uint64(0), 0
			for look, n := range test.allocations {
				if total += n; w.rests(total) {
					got = look + 1
					break
				}
			}
			if got != test.want {
				t.Errorf("memory is given back at look %d, want %d", got, test.want)
			}
		})
	}
}

// TestGiveBack holds on to memory that nothing needs, and rests.
func TestGiveBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { ReleaseMemory(ctx); close(ended) }()
		synctest.Wait()
		block := make([]byte, 128<<20)
		for i := range block {
			block[i] = 1
		}
		runtime.KeepAlive(block)
		before := held()
		time.Sleep(restAfter + 2*interval)
		synctest.Wait()
		if now := held(); now > before-64<<20 {
			t.Errorf("%d MiB are held, %d MiB before the rest", now>>20, before>>20)
		}
		cancel()
		<-ended
	})
}

// held is what the runtime has from the system.
func held() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}
