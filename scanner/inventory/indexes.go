package inventory

import "bytes"

// siblings calls fn with the other platforms of the indexes that list an image.
func (w writer) siblings(id uint32, fn func(id uint32) error) error {
	parents := w.tx.Bucket(bucketParents).Cursor()
	for k, _ := parents.Seek(number(id)); bytes.HasPrefix(k, number(id)); k, _ = parents.Next() {
		err := w.children(numberOf(k[4:]), func(child uint32) error {
			if child == id {
				return nil
			}
			return fn(child)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// children calls fn with the platforms of an index.
func (w writer) children(index uint32, fn func(id uint32) error) error {
	c := w.tx.Bucket(bucketChildren).Cursor()
	for k, _ := c.Seek(number(index)); bytes.HasPrefix(k, number(index)); k, _ = c.Next() {
		if err := fn(numberOf(k[4:])); err != nil {
			return err
		}
	}
	return nil
}

// staleChild is stale for a platform of an index: before the index was evaluated nobody was to be evaluated again.
func (w writer) staleChild(id uint32) error {
	s, err := w.subject(id)
	if err != nil {
		return err
	}
	return w.stale(id, &s)
}
