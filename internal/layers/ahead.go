package layers

import (
	"io"

	"github.com/pratique-dev/pratique"
)

// ahead reads from beside whoever reads it, a few buffers ahead. Close waits until that has ended; until then, or
// until it has given an error, what from keeps must not be looked at.
type ahead struct {
	full  chan chunk
	empty chan []byte
	quit  chan struct{}
	now   chunk
	given int64 // bytes that were read of it
}

// chunk is what one reading gave.
type chunk struct {
	b   []byte
	off int
	err error
}

func readAhead(from io.Reader) *ahead {
	a := &ahead{full: make(chan chunk, pumpBuffers), empty: make(chan []byte, pumpBuffers), quit: make(chan struct{})}
	go a.read(from)
	return a
}

func (a *ahead) read(from io.Reader) {
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
func (a *ahead) Read(p []byte) (int, error) {
	for a.now.off == len(a.now.b) {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.b != nil {
			a.empty <- a.now.b[:cap(a.now.b)]
		}
		a.now = <-a.full
	}
	n := copy(p, a.now.b[a.now.off:])
	a.now.off += n
	a.given += int64(n)
	return n, nil
}

// Close ends the reading. It does not fail.
func (a *ahead) Close() {
	close(a.quit)
	for range a.full { // until the reader has closed it
		continue
	}
}
