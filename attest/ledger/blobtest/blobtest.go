// Package blobtest has what a bucket of documents has to do. A [ledger.Bucket] for another object
// store is accepted if [Run] passes:
//
//   - What was written is read back byte for byte, whatever the bytes are, and the last write counts.
//   - A digest that nothing was written for is NotFound, and bytes beyond the reader's bound are Corrupt.
//   - A reader that meets a writer gets all of the old bytes or all of the new ones.
//   - Many may write the same digest at once, from one process or several.
//   - A write whose context has ended leaves nothing behind.
//   - What was written and persisted is there when the bucket is opened again. That it outlasts a loss of power cannot be
//     shown here: sync files before they get their names, and names before Persist returns, or rely on a store that
//     promises as much.
//   - Damaged bytes are found by [ledger.Blobs], which then replaces them; so a bucket need not check what it reads.
//
// Nothing lists or removes documents, so a bucket has no methods for that.
//
// An author writes one test:
//
//	func TestBucket(t *testing.T) {
//		blobtest.Run(t, func(t *testing.T) func(*testing.T) ledger.Bucket {
//			place := newEmptyPlace(t)
//			return func(t *testing.T) ledger.Bucket { return openPlace(t, place) }
//		})
//	}
//
// The outer function makes an empty place. The inner one opens it, and may be called several times
// for one place: two open buckets stand for two processes. The suite closes no bucket: use
// [testing.T.Cleanup].
package blobtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"sync"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/ledger"
)

// world is an empty place for one case.
type world struct {
	*testing.T
	open func(*testing.T) ledger.Bucket
	ledger.Bucket
}

// Run runs the suite.
func Run(t *testing.T, create func(*testing.T) (open func(*testing.T) ledger.Bucket)) {
	t.Helper()
	for name, run := range map[string]func(*world){
		"what was written is read back":      readsBack,
		"the last write counts":              lastWrite,
		"nothing is there":                   absent,
		"more than the reader takes":         tooLarge,
		"the context has ended":              canceled,
		"readers meet a writer":              atomic,
		"many write the same":                concurrent,
		"it is there when opened again":      reopened,
		"documents are put and got":          documents,
		"damaged documents are replaced":     damaged,
		"documents that are too large":       tooLargeDocument,
		"many put the same document at once": manyPut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open := create(t)
			run(&world{T: t, open: open, Bucket: open(t)})
		})
	}
}

func (w *world) write(b ledger.Bucket, d pratique.Digest, content []byte) {
	w.Helper()
	if err := b.Write(w.Context(), d, content); err != nil {
		w.Errorf("write %d bytes: %v", len(content), err)
	}
	if err := b.Persist(w.Context(), d); err != nil {
		w.Errorf("persist: %v", err)
	}
}

// reads checks what is read for a digest.
func (w *world) reads(b ledger.Bucket, d pratique.Digest, want []byte) {
	w.Helper()
	got, err := b.Read(w.Context(), d, int64(len(want)))
	if err != nil || !bytes.Equal(got, want) {
		w.Errorf("read %d bytes, want %d: %v", len(got), len(want), err)
	}
}

func (w *world) missing(d pratique.Digest) {
	w.Helper()
	if got, err := w.Read(w.Context(), d, 1<<20); pratique.KindOf(err) != pratique.NotFound {
		w.Errorf("read %d bytes, %v; want NotFound", len(got), err)
	}
}

func digest(name string) pratique.Digest { return pratique.DigestOf([]byte(name)) }

// noise does not compress.
func noise(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	return b
}

func readsBack(w *world) {
	for name, content := range map[string][]byte{
		"nothing": nil, "one byte": []byte("x"), "zeros": make([]byte, 100),
		"lines": []byte("a\r\nb\n"), "much": noise(3 << 20),
	} {
		w.write(w, digest(name), content)
		w.reads(w, digest(name), content)
	}
}

func lastWrite(w *world) {
	d := digest("app")
	for _, content := range [][]byte{[]byte("a long first one"), []byte("short"), nil,
		[]byte("a long last one")} {
		w.write(w, d, content)
		w.reads(w, d, content)
	}
}

func absent(w *world) {
	w.missing(digest("never written"))
	w.write(w, digest("app"), []byte("x"))
	w.missing(digest("never written"))
}

func tooLarge(w *world) {
	d, content := digest("app"), noise(1000)
	w.write(w, d, content)
	if got, err := w.Read(w.Context(), d, 999); pratique.KindOf(err) != pratique.Corrupt {
		w.Errorf("read %d bytes, %v; want Corrupt", len(got), err)
	}
	w.reads(w, d, content) // just fits
}

func canceled(w *world) {
	ended, cancel := context.WithCancel(w.Context())
	cancel()
	d := digest("app")
	if err := w.Write(ended, d, []byte("late")); err == nil || pratique.KindOf(err).Permanent() {
		w.Errorf("write: %v; want an error that may pass", err)
	}
	w.missing(d)
	w.write(w, d, []byte("in time"))
	if err := w.Write(ended, d, []byte("late")); err == nil {
		w.Error("written again without an error")
	}
	if got, err := w.Read(ended, d, 100); err == nil && string(got) != "in time" ||
		pratique.KindOf(err).Permanent() {
		w.Errorf("read %q, %v; want an error that may pass, if any", got, err)
	}
	w.reads(w, d, []byte("in time"))
}

func atomic(w *world) {
	d := digest("app")
	old, next := bytes.Repeat([]byte("old "), 50_000), bytes.Repeat([]byte("new one "), 60_000)
	w.write(w, d, old)
	reader := w.open(w.T)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20 {
			w.write(w, d, [][]byte{next, old}[i%2])
		}
	}()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		got, err := reader.Read(w.Context(), d, 1<<20)
		if err != nil || !bytes.Equal(got, old) && !bytes.Equal(got, next) {
			w.Errorf("read %d bytes, %v; want %d or %d", len(got), err, len(old), len(next))
			<-done
			return
		}
	}
}

func concurrent(w *world) {
	d, content := digest("app"), noise(100_000)
	var all sync.WaitGroup
	for i := range 8 {
		b := w.Bucket
		if i%2 == 0 {
			b = w.open(w.T)
		}
		all.Go(func() {
			w.write(b, d, content)
			w.reads(b, d, content)
		})
	}
	all.Wait()
}

func reopened(w *world) {
	d, content := digest("app"), noise(1000)
	w.write(w, d, content)
	again := w.open(w.T)
	w.reads(again, d, content)
	if err := again.Persist(w.Context(), d); err != nil { // what another process wrote
		w.Errorf("persist: %v", err)
	}
}
