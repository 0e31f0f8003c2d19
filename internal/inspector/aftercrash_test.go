package inspector

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// TestAfterCrash: a call after a crash has a fresh child, which is not used again. One such call
// runs at a time, and other calls continue.
func TestAfterCrash(t *testing.T) {
	p := startPool(t, Config{Children: 2})
	checkInspect(t, p)
	for _, step := range []struct {
		does string
		want pratique.Kind
	}{{"behave", pratique.Unknown}, {"crash", pratique.Died}} {
		before := p.serial.Load()
		if _, err := p.Inspect(AfterCrash(t.Context()),
			imageThat(t, step.does)); pratique.KindOf(err) != step.want {
			t.Errorf("%s: %v", step.does, err)
		}
		// One number is the call's, one that of the child in the place of its child, which was
		// there and unused.
		if n := p.serial.Load() - before; n != 2 {
			t.Errorf("%s: %d numbers given: the child is not a fresh one, or was kept", step.does, n)
		}
	}
	long, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 2)
	call := func(ctx context.Context, does string) {
		_, err := p.Inspect(AfterCrash(ctx), imageThat(t, does))
		ended <- err
	}
	go call(long, "hang")
	for len(p.afterCrash) == 0 || len(p.idle) == 2 {
		time.Sleep(time.Millisecond)
	}
	go call(t.Context(), "behave")
	for range 5 {
		checkInspect(t, p)
	}
	// Giving up while waiting keeps nothing.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.Inspect(AfterCrash(ctx),
		imageThat(t, "behave")); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("error %v", err)
	}
	if len(ended) != 0 || len(p.idle) != 1 {
		t.Errorf("%d calls ended, %d children are idle", len(ended), len(p.idle))
	}
	stop()
	if err := <-ended; pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("error %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(p.idle) != 2 || len(p.afterCrash) != 0 {
		t.Errorf("%d children left, %d calls are made again", len(p.idle), len(p.afterCrash))
	}
}

// TestAfterCrashAlone: the only child of a pool was used, so it goes.
func TestAfterCrashAlone(t *testing.T) {
	p := startPool(t, Config{})
	checkInspect(t, p)
	before := p.serial.Load()
	if _, err := p.Inspect(AfterCrash(t.Context()), imageThat(t, "behave")); err != nil {
		t.Error(err)
	}
	if n := p.serial.Load() - before; n != 3 { // the call, and the children before and after it
		t.Errorf("%d numbers given: the child is not a fresh one, or was kept", n)
	}
}

// TestFullOfWhatCameBefore: an image is not to blame for the memory that earlier ones left a child
// with.
func TestFullOfWhatCameBefore(t *testing.T) {
	p := startPool(t, Config{MemoryBytes: 256 << 20})
	for _, does := range []string{"need", "keep"} {
		if _, err := p.Inspect(t.Context(), imageThat(t, does)); err != nil {
			t.Fatal(err)
		}
	}
	before := p.serial.Load()
	if _, err := p.Inspect(t.Context(), imageThat(t, "need")); err != nil {
		t.Error(err)
	}
	// the child that was full, a fresh one, and what that was asked
	if n := p.serial.Load() - before; n < 3 {
		t.Errorf("%d numbers given: what was kept was not in the way", n)
	}
}

// TestStoppedBeforeItBegan: a child that never took the request says nothing about the image.
func TestStoppedBeforeItBegan(t *testing.T) {
	p := startPool(t, Config{Timeout: 2 * time.Second})
	checkInspect(t, p)
	c := <-p.idle
	if err := syscall.Kill(c.cmd.Process.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.idle <- c
	checkInspect(t, p)
}
