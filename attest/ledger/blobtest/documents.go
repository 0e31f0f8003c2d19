package blobtest

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/ledger"
)

// limit bounds documents in these tests.
const limit = 8 << 20

func (w *world) blobs() *ledger.Blobs {
	w.Helper()
	b, err := ledger.NewBlobs(w, limit)
	if err != nil {
		w.Fatal(err)
	}
	return b
}

// putsAndGets puts a document twice, and gets it.
func (w *world) putsAndGets(b *ledger.Blobs, document []byte) {
	w.Helper()
	for range 2 {
		if d, err := b.Put(w.Context(), document); err != nil || d != pratique.DigestOf(document) {
			w.Fatalf("put %d bytes: %s, %v", len(document), d, err)
		}
	}
	if got, err := b.Get(w.Context(), pratique.DigestOf(document)); err != nil ||
		!bytes.Equal(got, document) {
		w.Errorf("got %d bytes, want %d: %v", len(got), len(document), err)
	}
}

func documents(w *world) {
	b := w.blobs()
	for _, document := range [][]byte{nil, []byte("x"), []byte(`{"a":1}`),
		bytes.Repeat([]byte("0123456789"), limit/10)} {
		w.putsAndGets(b, document)
	}
	for _, d := range []pratique.Digest{{}, digest("never put")} {
		if _, err := b.Get(w.Context(), d); pratique.KindOf(err) != pratique.NotFound {
			w.Errorf("digest %q: %v; want NotFound", d, err)
		}
	}
}

func damaged(w *world) {
	b := w.blobs()
	another, err := b.Put(w.Context(), []byte("another document"))
	if err != nil {
		w.Fatal(err)
	}
	other, err := w.Read(w.Context(), another, limit)
	if err != nil {
		w.Fatal(err)
	}
	document := bytes.Repeat([]byte("an SBOM "), 1000)
	for name, damage := range map[string]func([]byte) []byte{
		"empty":    func([]byte) []byte { return nil },
		"cut off":  func(b []byte) []byte { return b[:len(b)/2] },
		"bit flip": func(b []byte) []byte { b[len(b)-8] ^= 1; return b },
		"another":  func([]byte) []byte { return other },
		"no zstd":  func([]byte) []byte { return []byte("plain") },
		"bomb":     func([]byte) []byte { return bomb(limit + 1<<20) },
		"larger":   func([]byte) []byte { return make([]byte, limit+limit/32) },
	} {
		d, err := b.Put(w.Context(), document)
		if err != nil {
			w.Fatal(err)
		}
		packed, err := w.Read(w.Context(), d, limit)
		if err != nil {
			w.Fatal(err)
		}
		w.write(w, d, damage(packed))
		if _, err := b.Get(w.Context(), d); pratique.KindOf(err) != pratique.Corrupt {
			w.Errorf("%s: %v; want Corrupt", name, err)
		}
		w.putsAndGets(b, document)
	}
}

// bomb is a frame that does not say its size: blocks of 128 KiB, each one byte repeated.
func bomb(size int) []byte {
	const block, repeated = 128 << 10, 1 << 1
	out := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3}
	for n := block; n <= size; n += block {
		header := uint32(block<<3 | repeated)
		if n+block > size {
			header |= 1 // the last
		}
		out = append(out, binary.LittleEndian.AppendUint32(nil, header)[:3]...)
		out = append(out, 'x')
	}
	return out
}

func tooLargeDocument(w *world) {
	b, content := w.blobs(), noise(limit+1)
	if _, err := b.Put(w.Context(), content); pratique.KindOf(err) != pratique.Exhausted {
		w.Errorf("put: %v; want Exhausted", err)
	}
	w.missing(pratique.DigestOf(content))
	w.putsAndGets(b, content[1:]) // just fits, and does not compress
}

func manyPut(w *world) {
	b, document := w.blobs(), bytes.Repeat([]byte("many write the same "), 1000)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			d, err := b.Put(w.Context(), document)
			if err != nil {
				w.Error(err)
				return
			}
			if got, err := b.Get(w.Context(), d); err != nil || !bytes.Equal(got, document) {
				w.Errorf("after Put: %d bytes, %v", len(got), err)
			}
		})
	}
	all.Wait()
}
