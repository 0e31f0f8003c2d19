package inventory

import "bytes"

// siblings calls fn with the other platforms of the indexes that contain an image.
func (w writer) siblings(id uint32, fn func(id uint32) error) error {
	parents := w.tx.Bucket(bucketParents).Cursor()
	for k, _ := parents.Seek(encodeNumber(id)); bytes.HasPrefix(k, encodeNumber(id)); k,
		_ = parents.Next() {
		err := w.children(decodeNumber(k[4:]), func(child uint32) error {
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
	for k, _ := c.Seek(encodeNumber(index)); bytes.HasPrefix(k, encodeNumber(index)); k, _ = c.Next() {
		if err := fn(decodeNumber(k[4:])); err != nil {
			return err
		}
	}
	return nil
}

// markChildIfOutdated is markIfOutdated for a platform of an index, which matters once the index
// was evaluated.
func (w writer) markChildIfOutdated(id uint32) error {
	s, err := w.subject(id)
	if err != nil {
		return err
	}
	return w.markIfOutdated(id, &s)
}
