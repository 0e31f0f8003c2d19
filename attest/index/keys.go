package index

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

// subjectKey is the digest, then the repository: all repositories of a digest lie side by side.
func subjectKey(s pratique.Subject) []byte {
	return append(boltfile.DigestKey(s.Digest), s.Repository.String()...)
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// instant sorts by time; times before 1970 count as 1970.
func instant(t time.Time) []byte {
	if t.Unix() < 0 {
		return number(0)
	}
	return number(uint64(t.UnixNano()))
}

func instantFromKey(raw []byte) time.Time {
	return time.Unix(0,
		int64(binary.BigEndian.Uint64(raw))).UTC() //nolint:gosec // the bits that instant wrote
}

// join puts a zero byte after each part but the last; neither repositories nor tags contain one.
func join(parts ...[]byte) []byte { return bytes.Join(parts, []byte{0}) }

func tagPrefix(repository pratique.Repository, tag string) []byte {
	return join([]byte(repository.String()), []byte(tag), nil)
}

func parentPrefix(child pratique.Subject) []byte { return join(subjectKey(child), nil) }
