package layers

import (
	"io"

	"github.com/pratique-dev/pratique"
)

// readAheadReader reads from beside whoever reads it, a few buffers ahead. Close waits until that has ended; until then, or
// until it has given an error, what from keeps must not be looked at.
type readAheadReader struct {
	full     chan chunk
	empty    chan []byte
	quit     chan struct{}
	current  chunk
	consumed int64 // bytes that were read of it
}

// chunk is what one reading gave.
type chunk struct {
	b   []byte
	off int
	err error
}

func newReadAheadReader(from io.Reader) *readAheadReader {
	a := &readAheadReader{full: make(chan chunk, pumpBuffers), empty: make(chan []byte, pumpBuffers), quit: make(chan struct{})}
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

// Close ends the reading. It does not fail.
func (a *readAheadReader) Close() {
	close(a.quit)
	for range a.full { // until the reader has closed it
		continue
	}
}
