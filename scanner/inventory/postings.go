package inventory

import (
	"bytes"
	"encoding/binary"

	"go.etcd.io/bbolt"
)

// A posting is a key with ascending numbers, kept in chunks: the chunk's key is the key and its first number, its value
// the last number and the differences in between. So adding a number writes one small value, and a million pairs are
// a few megabytes.

// mostChunk bounds the value of a chunk, in bytes.
const mostChunk = 512

func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func numbered(key []byte, n uint32) []byte { return append(bytes.Clone(key), number(n)...) }

func numberOf(raw []byte) uint32 { return binary.BigEndian.Uint32(raw) }

// post adds n, which is larger than every number of the key so far, or the last of them.
func post(b *bbolt.Bucket, key []byte, n uint32) error {
	k, v := lastChunk(b, key)
	if k == nil || len(v) >= mostChunk {
		if k != nil && numberOf(v) >= n {
			return nil
		}
		return b.Put(numbered(key, n), number(n))
	}
	last := numberOf(v)
	if last >= n {
		return nil
	}
	chunk := binary.AppendUvarint(bytes.Clone(v), uint64(n-last))
	copy(chunk, number(n))
	return b.Put(bytes.Clone(k), chunk)
}

func lastChunk(b *bbolt.Bucket, key []byte) (k, v []byte) {
	c := b.Cursor()
	if k, v = c.Seek(numbered(key, 0xffffffff)); k == nil {
		k, v = c.Last()
	} else if !bytes.Equal(k, numbered(key, 0xffffffff)) {
		k, v = c.Prev()
	}
	if len(k) != len(key)+4 || !bytes.HasPrefix(k, key) {
		return nil, nil
	}
	return k, v
}

// posted calls fn with every number of a key, in order.
func posted(b *bbolt.Bucket, key []byte, fn func(n uint32) error) error {
	c := b.Cursor()
	for k, v := c.Seek(key); len(k) == len(key)+4 && bytes.HasPrefix(k, key); k, v = c.Next() {
		n := numberOf(k[len(key):])
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
