package layers

import (
	"io"

	"github.com/pratique-dev/pratique"
)

// readAheadReader reads from another reader in a goroutine of its own, a few buffers ahead. The
// other reader must not be touched before Close has returned, or before Read has returned an error.
type readAheadReader struct {
	full     chan chunk
	empty    chan []byte
	quit     chan struct{}
	current  chunk
	consumed int64 // bytes returned so far
}

// chunk is the result of one read.
type chunk struct {
	b   []byte
	off int
	err error
}

func newReadAheadReader(from io.Reader) *readAheadReader {
	a := &readAheadReader{full: make(chan chunk, pumpBuffers),
		empty: make(chan []byte, pumpBuffers), quit: make(chan struct{})}
	go a.read(from)
	return a
}

func (a *readAheadReader) read(from io.Reader) {
	defer close(a.full)
	for made := 0; ; {
		var b []byte
		if made < pumpBuffers && len(a.empty) == 0 {
			made++
			b = make([]byte, copyBuffer)
		} else {
			select {
			case b = <-a.empty:
			case <-a.quit:
				return
			}
		}
		n, err := read(from, b)
		select {
		case a.full <- chunk{b: b[:n], err: err}:
		case <-a.quit:
			return
		}
		if err != nil {
			return
		}
	}
}

func read(from io.Reader, b []byte) (n int, err error) {
	defer pratique.Caught(pratique.Corrupt, opExpand, &err)
	return from.Read(b)
}

// Read implements [io.Reader].
func (a *readAheadReader) Read(p []byte) (int, error) {
	for a.current.off == len(a.current.b) {
		if a.current.err != nil {
			return 0, a.current.err
		}
		if a.current.b != nil {
			a.empty <- a.current.b[:cap(a.current.b)]
		}
		a.current = <-a.full
	}
	n := copy(p, a.current.b[a.current.off:])
	a.current.off += n
	a.consumed += int64(n)
	return n, nil
}

// Close stops reading ahead, and waits until that has ended.
func (a *readAheadReader) Close() {
	close(a.quit)
	for range a.full { // until read has closed it
		continue
	}
}
