package webhook

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
)

// budget bounds the bytes of all bodies in memory.
type budget struct {
	most int64
	used atomic.Int64
}

var errBudget = errors.New("too many large requests at once")

func (b *budget) acquire(n int64) bool {
	if b.used.Add(n) <= b.most {
		return true
	}
	b.used.Add(-n)
	return false
}

func (b *budget) release(n int64) { b.used.Add(-n) }

// initialStep is acquired before the first byte of a body arrives.
const initialStep = 4 << 10

// read reads a whole body. It acquires bytes as they arrive, not what was announced, so that a
// sender that sends nothing holds next to nothing. The caller releases held in any case.
func (b *budget) read(r io.Reader) (body []byte, held int64, err error) {
	var all bytes.Buffer
	for step := int64(initialStep); ; step = held {
		if !b.acquire(step) {
			return nil, held, errBudget
		}
		held += step
		switch _, err := io.CopyN(&all, r, step); {
		case errors.Is(err, io.EOF):
			return all.Bytes(), held, nil
		case err != nil:
			return nil, held, err
		}
	}
}
