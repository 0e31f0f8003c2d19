package layers

import (
	"errors"
	"io"

	"github.com/pratique-dev/pratique"
)

// pumpBuffers is the number of buffers between the two sides of pump.
const pumpBuffers = 4

// pump copies from to to, and calls admit before it passes on n bytes. It reads in this goroutine
// and writes in another one; both have ended when it returns. The writer's error comes first, since
// it stops the reader.
func pump(from io.Reader, admit func(n int) error, to io.Writer) error {
	full, empty := make(chan []byte, pumpBuffers), make(chan []byte, pumpBuffers)
	failed := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		var err error
		for b := range full {
			if err != nil {
				continue // drain
			}
			if err = write(to, b); err != nil {
				close(failed)
				continue
			}
			empty <- b[:cap(b)]
		}
		ended <- err
	}()
	err := fill(from, admit, full, empty, failed)
	close(full) // also after a panic of from
	if writeErr := <-ended; writeErr != nil {
		return writeErr
	}
	return err
}

func write(to io.Writer, b []byte) (err error) {
	defer pratique.Caught(pratique.Corrupt, opExpand, &err)
	_, err = to.Write(b)
	return err
}

// fill reads from into buffers and sends them to full. It allocates buffers only as needed.
func fill(from io.Reader, admit func(n int) error, full chan<- []byte, empty <-chan []byte,
	failed <-chan struct{}) (err error) {
	defer pratique.Caught(pratique.Corrupt, opExpand, &err)
	made := 0
	for {
		var b []byte
		select {
		case b = <-empty:
		default:
			if made < pumpBuffers {
				made++
				b = make([]byte, copyBuffer)
				break
			}
			select {
			case b = <-empty:
			case <-failed:
				return nil
			}
		}
		n, err := readFull(from, b)
		if n > 0 {
			if err := admit(n); err != nil {
				return err
			}
			full <- b[:n]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readFull is io.ReadFull, but returns the reader's own errors, which distinguish an end from a
// truncation.
func readFull(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var more int
		more, err = r.Read(b[n:])
		n += more
	}
	return n, err
}
