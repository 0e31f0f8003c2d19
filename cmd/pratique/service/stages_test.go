package service

import (
	"context"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue"
)

// TestOneAgain: of the jobs that a process died of one runs at a time. The others of these keep no
// worker, and all other jobs go on.
func TestOneAgain(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}, 1), make(chan struct{})
	handle := oneAgain(func(_ context.Context, body []byte) error {
		if string(body) == "long" {
			begun <- struct{}{}
			<-end
		}
		return nil
	})
	long := make(chan error, 1)
	go func() { long <- handle(t.Context(), queue.Job{Body: []byte("long"), Crashes: 1}) }()
	select {
	case <-begun:
	case <-time.After(10 * time.Second):
		t.Fatal("it does not begin")
	}
	if err := handle(t.Context(), queue.Job{Crashes: 1}); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("another that a process died of: %v", err)
	}
	if err := handle(t.Context(), queue.Job{}); err != nil {
		t.Errorf("any other: %v", err)
	}
	close(end)
	if err := <-long; err != nil {
		t.Error(err)
	}
	if err := handle(t.Context(), queue.Job{Crashes: 1}); err != nil {
		t.Errorf("the next: %v", err)
	}
}
