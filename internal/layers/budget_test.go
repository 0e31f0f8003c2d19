package layers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pratique-dev/pratique"
)

func TestByteBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newByteBudget(100 << 20)
		var running, bytes, most atomic.Int64
		var all sync.WaitGroup
		layer := func(size, expands int64) {
			p, err := f.reserve(t.Context(), size)
			if err != nil {
				t.Error(err)
				return
			}
			defer p.release()
			running.Add(1)
			defer running.Add(-1)
			for written := int64(0); written < expands; written += 1 << 20 {
				if err := p.grow(t.Context(), 1<<20); err != nil {
					t.Error(err)
					return
				}
				now := bytes.Add(1 << 20)
				for {
					old := most.Load()
					if now <= old || most.CompareAndSwap(old, now) {
						break
					}
				}
				time.Sleep(time.Millisecond)
			}
			bytes.Add(-expands)
		}
		// Honest layers: the bound holds.
		for range 40 {
			all.Go(func() { layer(10<<20, 30<<20) })
		}
		time.Sleep(time.Microsecond)
		if n := running.Load(); n != 2 {
			t.Errorf("%d layers of 40 MiB at once in 100 MiB", n)
		}
		all.Wait()
		if most.Load() > 100<<20 {
			t.Errorf("%d MiB at once", most.Load()>>20)
		}
		// Layers that grow beyond what was guessed: one at a time goes beyond the bound, and all
		// end.
		most.Store(0)
		for range 20 {
			all.Go(func() { layer(1<<20, 60<<20) })
		}
		all.Wait()
		if m := most.Load(); m > 170<<20 {
			t.Errorf("%d MiB at once", m>>20)
		}
		// One that is larger than the bound comes alone, and is not overtaken for ever by small
		// ones.
		large := make(chan int64, 1)
		for i := range 30 {
			all.Go(func() { layer(5<<20, 15<<20) })
			if i == 10 {
				all.Go(func() {
					p, err := f.reserve(t.Context(), 1<<40)
					if err != nil {
						t.Error(err)
						return
					}
					defer p.release()
					large <- running.Load()
					time.Sleep(time.Second)
					if running.Load() != 0 {
						t.Error("it is not alone")
					}
				})
			}
		}
		all.Wait()
		if n := <-large; n != 0 {
			t.Errorf("beside %d others", n)
		}
		// Who waits can give up.
		p, err := f.reserve(t.Context(), 1<<40)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.reserve(ctx, 1); pratique.KindOf(err) != pratique.Unavailable {
			t.Errorf("error %v", err)
		}
		p.release()
		p.release()
		if p, err = f.reserve(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		p.release()
	})
}

// TestFewAtOnce asks a store for more than may be on its way.
func TestFewAtOnce(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), 0)
	s.Limits.InFlight = 300 << 10
	var open, most atomic.Int64
	var all sync.WaitGroup
	both := make(chan struct{})
	bothOpen := sync.OnceFunc(func() { close(both) })
	for i := range 12 {
		l := layerOf(t, i, 30<<10) // guessed at 120 KiB: two fit
		all.Go(func() {
			_, release, err := s.Get(t.Context(), l.Descriptor,
				func(context.Context) (io.ReadCloser, error) {
					n := open.Add(1)
					if n > most.Load() {
						most.Store(n)
					}
					if n == 2 {
						bothOpen()
					}
					<-both
					return closing{bytes.NewReader(l.bytes), func() { open.Add(-1) }}, nil
				})
			if err != nil {
				t.Error(err)
			}
			release()
		})
	}
	all.Wait()
	if most.Load() != 2 {
		t.Errorf("%d layers at once", most.Load())
	}
}

type closing struct {
	io.Reader
	close func()
}

func (c closing) Close() error { c.close(); return nil }

// TestEntriesOfAnImage counts over all layers, also over those that were there already.
func TestEntriesOfAnImage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := registryOf{layers: map[pratique.Digest]*remoteLayer{}}
	for i := range 4 {
		l := layerOf(t, i, 1000)
		source.layers[l.Digest] = l
		source.remote.Layers = append(source.remote.Layers, l.Descriptor)
	}
	s := openStore(t, dir, 0)
	_, release, err := s.Image(t.Context(), source, pratique.Subject{})
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, 0)
	s.Limits.Entries = 3
	_, release, err = s.Image(t.Context(), source, pratique.Subject{})
	release()
	wantKind(t, err, pratique.Exhausted)
	if n := inUse(s); n != 0 {
		t.Errorf("%d layers in use after a failure", n)
	}
}

const envKilled = "PRATIQUE_TEST_KILLED_STORE"

// TestKilledStore kills a process that fetches into a store and evicts from it, at random points.
// What the next process is served is right, and nothing else is left.
func TestKilledStore(t *testing.T) {
	if os.Getenv(envKilled) != "" {
		fetchForEver(t, ".")
	}
	t.Parallel()
	dir := t.TempDir()
	for round := range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledStore$")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), envKilled+"=1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 1)); err != nil { // it has begun
			t.Errorf("round %d: %v", round, err)
		}
		time.Sleep(time.Duration(1+round*7%23) * time.Millisecond)
		_ = cmd.Process.Kill() // it runs until then
		_ = cmd.Wait()
		s := openStore(t, dir, killedRoom)
		var sum int64
		stored, rest := files(t, dir)
		for _, name := range stored {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			sum += info.Size()
		}
		if len(rest) > len(stored) || sum > killedRoom || sum != used(s) {
			t.Errorf("round %d: %d bytes on disk, %d accounted; %v beside %v", round, sum, used(s),
				rest, stored)
		}
		for i := range killedLayers {
			_, release := fetch(t, s, layerOf(t, i, 200<<10))
			release()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	killedLayers = 8
	killedRoom   = 1 << 20 // five of them
)

func fetchForEver(t *testing.T, dir string) {
	s := openStore(t, dir, killedRoom)
	fmt.Print("x")
	for i := 0; ; i++ {
		_, release := fetch(t, s, layerOf(t, i%killedLayers, 200<<10))
		release()
	}
}
