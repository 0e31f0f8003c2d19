package inventory

import (
	"bytes"
	"encoding/binary"

	"go.etcd.io/bbolt"
)

// A posting list is a key with ascending numbers, stored in chunks: a chunk's key is the key and
// its first number, its value is the last number and the differences in between. So adding a number
// writes one small value, and a million pairs take a few megabytes.

// maxChunk bounds the value of a chunk, in bytes.
const maxChunk = 512

func encodeNumber(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func appendNumber(key []byte, n uint32) []byte { return append(bytes.Clone(key), encodeNumber(n)...) }

func decodeNumber(raw []byte) uint32 { return binary.BigEndian.Uint32(raw) }

// addPosting adds n, which must be the last number of the key, or larger.
func addPosting(b *bbolt.Bucket, key []byte, n uint32) error {
	k, v := lastChunk(b, key)
	if k == nil || len(v) >= maxChunk {
		if k != nil && decodeNumber(v) >= n {
			return nil
		}
		return b.Put(appendNumber(key, n), encodeNumber(n))
	}
	last := decodeNumber(v)
	if last >= n {
		return nil
	}
	chunk := binary.AppendUvarint(bytes.Clone(v), uint64(n-last))
	copy(chunk, encodeNumber(n))
	return b.Put(bytes.Clone(k), chunk)
}

func lastChunk(b *bbolt.Bucket, key []byte) (k, v []byte) {
	c := b.Cursor()
	if k, v = c.Seek(appendNumber(key, 0xffffffff)); k == nil {
		k, v = c.Last()
	} else if !bytes.Equal(k, appendNumber(key, 0xffffffff)) {
		k, v = c.Prev()
	}
	if len(k) != len(key)+4 || !bytes.HasPrefix(k, key) {
		return nil, nil
	}
	return k, v
}

// eachPosting calls fn with each number of a key, in order.
func eachPosting(b *bbolt.Bucket, key []byte, fn func(n uint32) error) error {
	c := b.Cursor()
	for k, v := c.Seek(key); len(k) == len(key)+4 && bytes.HasPrefix(k, key); k, v = c.Next() {
		n := decodeNumber(k[len(key):])
		if err := fn(n); err != nil {
			return err
		}
		for rest := v[4:]; len(rest) > 0; {
			step, size := binary.Uvarint(rest)
			if size <= 0 {
				return errDamaged
			}
			rest = rest[size:]
			n += uint32(step) //nolint:gosec // what post wrote
			if err := fn(n); err != nil {
				return err
			}
		}
	}
	return nil
}
