package hostile

import (
	"crypto/sha256"
	"hash"

	"github.com/pratique-dev/pratique"
)

type summing struct{ hash.Hash }

func newHash() summing { return summing{sha256.New()} }

func (s summing) digest() pratique.Digest {
	return pratique.DigestFromSum([sha256.Size]byte(s.Sum(nil)))
}
