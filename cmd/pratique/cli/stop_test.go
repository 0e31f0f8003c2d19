package cli

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pratique-dev/pratique/cmd/pratique/service"
)

// TestServiceThatDoesNotStopIsEnded: the process ends within the grace, whatever does not observe
// its context.
func TestServiceThatDoesNotStopIsEnded(t *testing.T) {
	for name, c := range map[string]struct {
		stopsAfter time.Duration
		ended      bool
	}{
		"in time":       {service.StopGrace - time.Second, false},
		"not in time":   {service.StopGrace + time.Second, true},
		"before a word": {-1, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			done, ended, watched := make(chan struct{}), false, make(chan struct{})
			go func() {
				endAfterGrace(ctx, done, func() { ended = true })
				close(watched)
			}()
			time.Sleep(time.Hour) // it serves
			if c.stopsAfter >= 0 {
				stop()
				time.Sleep(c.stopsAfter)
			}
			close(done)
			<-watched
			stop()
			if ended != c.ended {
				t.Errorf("%s: ended %t, want %t", name, ended, c.ended)
			}
		})
	}
}
