package ledger

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// readAll reads r into b, which has the capacity that r says to need, and refuses to read more than maxBlob.
func readAll(r io.Reader, b []byte) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return nil, err
		case len(b) > maxBlob:
			return nil, fmt.Errorf("more than %d bytes", maxBlob)
		}
	}
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
