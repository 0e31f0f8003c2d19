package webhook

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
)

// budget bounds the bytes of all bodies that are in memory at once.
type budget struct {
	most int64
	used atomic.Int64
}

var errBudget = errors.New("too many large requests at once")

func (b *budget) take(n int64) bool {
	if b.used.Add(n) <= b.most {
		return true
	}
	b.used.Add(-n)
	return false
}

func (b *budget) give(n int64) { b.used.Add(-n) }

// firstStep is what a request takes before a byte of its body has come.
const firstStep = 4 << 10

// read reads a body whole. It takes from the budget as the body arrives, not what was announced, so that a sender that
// sends nothing holds next to nothing. held is to be given back in any case.
func (b *budget) read(r io.Reader) (body []byte, held int64, err error) {
	var all bytes.Buffer
	for step := int64(firstStep); ; step = held {
		if !b.take(step) {
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
