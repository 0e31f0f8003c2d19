package layers

import (
	"crypto/sha256"
	hashing "hash"

	"github.com/pratique-dev/pratique"
)

// contentHash hashes content by sha256, and by the algorithm of its name if that is another one.
type contentHash struct {
	id     pratique.ContentID
	sha256 hashing.Hash
	named  hashing.Hash // the same as sha256, unless the name has another algorithm
}

func newContentHash(id pratique.ContentID) *contentHash {
	n := &contentHash{id: id, sha256: sha256.New()}
	n.named = n.sha256
	if _, ok := id.Digest(); !ok {
		n.named = id.Hash()
	}
	return n
}

// Write never fails.
func (n *contentHash) Write(p []byte) (int, error) {
	if n.named != n.sha256 {
		_, _ = n.named.Write(p) // a hash never fails to write
	}
	return n.sha256.Write(p)
}

func (n *contentHash) digest() pratique.Digest { return digestOf(n.sha256) }

func (n *contentHash) matches() bool { return n.id.Sums(n.named) }
