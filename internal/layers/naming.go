package layers

import (
	"crypto/sha256"
	hashing "hash"

	"github.com/pratique-dev/pratique"
)

// naming hashes content by sha256, and by the algorithm of the name that it is asked for if that is another one.
type naming struct {
	id  pratique.ContentID
	own hashing.Hash
	as  hashing.Hash // own, if the name is of sha256
}

func newNaming(id pratique.ContentID) *naming {
	n := &naming{id: id, own: sha256.New()}
	n.as = n.own
	if _, ok := id.Digest(); !ok {
		n.as = id.Hash()
	}
	return n
}

// Write never fails.
func (n *naming) Write(p []byte) (int, error) {
	if n.as != n.own {
		_, _ = n.as.Write(p) // a hash never fails to write
	}
	return n.own.Write(p)
}

func (n *naming) digest() pratique.Digest { return digestOf(n.own) }

func (n *naming) fits() bool { return n.id.Sums(n.as) }
