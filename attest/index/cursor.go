package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"

	"github.com/pratique-dev/pratique"
)

// A cursor is the version, eight bytes that name the filters, and the key after which to go on.
const cursorVersion = 1

var errForeignCursor = errors.New("the cursor is not one of this list: start again without it")

// filters names what a list was filtered by.
func filters(by ...[]byte) []byte {
	sum := sha256.Sum256(join(by...))
	return sum[:8]
}

func encodeCursor(filters, key []byte) string {
	return base64.RawURLEncoding.EncodeToString(bytes.Join([][]byte{{cursorVersion}, filters, key}, nil))
}

// decodeCursor returns the key; it is empty for the first page.
func decodeCursor(cursor string, filters []byte) ([]byte, error) {
	if cursor == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) < 10 || raw[0] != cursorVersion {
		return nil, errForeignCursor
	}
	if !bytes.Equal(raw[1:9], filters) {
		return nil, errors.New("the cursor belongs to a list with other filters: start again without it")
	}
	return raw[9:], nil
}

// pageLimit is how many items a page has.
func pageLimit(op string, wanted int) (int, error) {
	if wanted == 0 {
		return DefaultLimit, nil
	}
	if wanted < 1 || wanted > MaxLimit {
		return 0, pratique.Errorf(pratique.Invalid, op, "limit %d is not between 1 and %d", wanted,
			MaxLimit)
	}
	return wanted, nil
}
