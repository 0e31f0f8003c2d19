package queue

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
)

// TestFullDiskEndsTheServer fills a small disk. The server keeps its first error of writing for
// ever, so that somebody has to hear of it; started anew with room, it has all that was
// acknowledged.
func TestFullDiskEndsTheServer(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("no small disk to be had: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	open := func() (*Embedded, jetstream.JetStream, *Broker) {
		e, err := StartEmbedded(EmbeddedConfig{Dir: dir + "/nats", SyncAlways: true})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := e.Conn()
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		broker := New(js, Config{})
		if err := broker.Setup(t.Context()); err != nil {
			t.Fatal(err)
		}
		return e, js, broker
	}
	e, _, broker := open()
	failed := make(chan error, 1)
	go func() { failed <- e.Wait(t.Context()) }()
	acknowledged, body := 0, make([]byte, 32<<10)
	for ; acknowledged < 1000; acknowledged++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := broker.Publish(ctx, pratique.StageInspect, pratique.PriorityPush,
			fmt.Sprint(acknowledged), body)
		cancel()
		if err != nil {
			break
		}
	}
	select {
	case err := <-failed:
		if pratique.KindOf(err) != pratique.Unavailable {
			t.Errorf("it says %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("nobody heard of the full disk after %d messages", acknowledged)
	}
	e.Close()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	again, js, broker := open()
	defer again.Close()
	stream, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if have := stream.CachedInfo().State.Msgs; have < uint64(acknowledged) {
		t.Errorf("%d messages of %d that were acknowledged", have, acknowledged)
	}
	if err := broker.Publish(t.Context(), pratique.StageInspect, pratique.PriorityPush, "after",
		body); err != nil {
		t.Error(err)
	}
}
