package inventory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

// Apply implements [projection.Store]: it takes facts over, and moves the position, in one transaction.
// What a fact names and the store does not have is left out: such an image is inspected again at its
// next push. The error is Unavailable if the store or the file is in the way; then nothing was applied.
func (e *Projection) Apply(ctx context.Context, entries []pratique.Entry) error {
	docs := newDocuments(e.cfg)
	for {
		err := e.file.Apply(entries, func(tx *bbolt.Tx, fresh []pratique.Entry) error {
			r, err := progress(tx)
			if err != nil {
				return err
			}
			w := writer{tx: tx, docs: docs, database: r.To.Digest}
			for _, entry := range fresh {
				if err := w.apply(entry.Fact); err != nil && !lost(err) && docs.complete() {
					return err
				}
			}
			if !docs.complete() {
				return errNotLoaded
			}
			return nil
		})
		if !errors.Is(err, errNotLoaded) {
			return err
		}
		if err := docs.load(ctx); err != nil {
			return boltfile.WithKind("apply facts", "", err)
		}
	}
}

// writer is one transaction that writes. database is the digest of the one in use, zero before the first.
// Docs are set where facts are applied.
type writer struct {
	tx       *bbolt.Tx
	docs     *documents
	database pratique.Digest
}

func (w writer) apply(f pratique.Fact) error {
	if f.Subject.IsZero() || f.Validate() != nil {
		return nil
	}
	switch body := f.Body.(type) {
	case *pratique.Resolved:
		return w.resolved(f.Subject, body)
	case *pratique.Inspected:
		if body.Inventory.IsZero() {
			return nil // an index
		}
		return w.change(f.Subject, func(id uint32, s *subject) error { return w.holds(id, s, body.Inventory) })
	case *pratique.Scanned:
		return w.change(f.Subject, func(id uint32, s *subject) error { return w.scanned(id, s, body, f.Event) })
	case *pratique.Evaluated:
		return w.change(f.Subject, func(id uint32, s *subject) error {
			s.Evaluated = true
			if err := w.stale(id, s); err != nil {
				return err
			}
			return w.children(id, w.staleChild)
		})
	}
	return nil
}

// pushed takes over an event, unless it is a sweep's and somebody reported the image before: what sweeps find takes the
// place of no push.
func (s *subject) pushed(e pratique.Event) {
	if e.RefreshOnly && !s.RefreshOnly && s.Ref != (pratique.ImageRef{}) {
		return
	}
	s.Ref, s.PushedAt, s.RefreshOnly = e.Ref, e.OccurredAt, e.RefreshOnly
	// A sender's clock that is ahead does not count; see pipeline.
	if s.PushedAt.IsZero() || s.PushedAt.After(e.ReceivedAt) {
		s.PushedAt = e.ReceivedAt
	}
}

func (w writer) resolved(about pratique.Subject, r *pratique.Resolved) error {
	if about != r.Manifest.Subject || r.Manifest.NotImage != "" {
		return nil
	}
	return w.change(about, func(id uint32, s *subject) error {
		s.pushed(r.Event)
		for _, c := range r.Manifest.Children {
			child, err := w.subjectID(about.Sibling(c.Digest))
			if err != nil {
				return err
			}
			if err := w.tx.Bucket(bucketParents).Put(slices.Concat(number(child), number(id)), []byte{}); err != nil {
				return err
			}
			if err := w.tx.Bucket(bucketChildren).Put(slices.Concat(number(id), number(child)), []byte{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// stale marks an image whose report was made with another database than the one in use.
func (w writer) stale(id uint32, s *subject) error {
	if s.Inventory == 0 || s.Database == w.database {
		return nil
	}
	return w.mark(id, false)
}

// mark has an image looked at. One that is to be refreshed stays so.
func (w writer) mark(id uint32, refresh bool) error {
	b := w.tx.Bucket(bucketStale)
	switch {
	case refresh:
		return b.Put(number(id), []byte{1})
	case b.Get(number(id)) != nil:
		return nil
	}
	return b.Put(number(id), []byte{})
}

// holds notes that an image has an inventory.
func (w writer) holds(id uint32, s *subject, inventory pratique.Digest) error {
	n, err := w.inventory(inventory)
	if err != nil || n == s.Inventory {
		return err
	}
	images := w.tx.Bucket(bucketImages)
	if err := images.Delete(slices.Concat(number(s.Inventory), number(id))); err != nil {
		return err
	}
	s.Inventory = n
	return images.Put(slices.Concat(number(n), number(id)), []byte{})
}

// scanned takes a report over. What it says of lists of which nothing is known holds for the database in use, if it
// was made with that; else they are to be matched.
func (w writer) scanned(id uint32, s *subject, m *pratique.Scanned, event string) error {
	s.reported(event, m.Database.Digest)
	// Making a lost report again gives the same one, and then an image that was set aside is dealt with.
	if m.Report == s.Report && w.tx.Bucket(bucketAside).Get(number(id)) == nil {
		return w.stale(id, s)
	}
	found, err := w.docs.reports.get(m.Report)
	if err != nil {
		return err
	}
	if err := w.holds(id, s, m.Inventory); err != nil {
		return err
	}
	s.Report, s.Findings = m.Report, found
	if m.Database.Digest == w.database { // a push has dealt with it
		if err := w.tx.Bucket(bucketAside).Delete(number(id)); err != nil {
			return err
		}
	}
	lists, marked := w.lists(s.Inventory), w.tx.Bucket(bucketStale).Get(number(id)) != nil
	for i, list := range lists {
		if len(found) != len(lists) {
			break // not a report on this inventory
		}
		if m.Database.Digest == w.database {
			err = w.know(list, found[i])
		} else if _, known := findings(w.tx, list); !known {
			err = w.tx.Bucket(bucketPending).Put(number(list), []byte{})
		}
		if err != nil && !lost(err) {
			return err
		}
	}
	if m.Database.Digest == w.database && !marked {
		// What this report says for the first time makes other images stale, but not this one.
		return w.tx.Bucket(bucketStale).Delete(number(id))
	}
	return w.stale(id, s)
}

// know notes the findings of a list for the database in use, read from their document.
func (w writer) know(list uint32, d pratique.Digest) error {
	if known, ok := findings(w.tx, list); ok && known == d {
		return w.tx.Bucket(bucketPending).Delete(number(list))
	}
	a, err := w.docs.findings.get(d)
	if err != nil {
		return err
	}
	if a.incomplete {
		if w.tx.Bucket(bucketUnmatched).Get(number(list)) != nil {
			return nil // with the database in use
		}
		return w.tx.Bucket(bucketPending).Put(number(list), []byte{})
	}
	return w.answer(list, d, slices.Clone(a.vulnerabilities))
}

// answer notes what was found in a list. Images whose reports say something else become stale. A vulnerability that
// the list had before and has no more stays in the index, where it costs a match one day.
func (w writer) answer(list uint32, d pratique.Digest, vulnerabilities []string) error {
	for _, name := range [][]byte{bucketPending, bucketUnmatched} {
		if err := w.tx.Bucket(name).Delete(number(list)); err != nil {
			return err
		}
	}
	before, known := findings(w.tx, list)
	if known && before == d {
		return nil
	}
	b := w.tx.Bucket(bucketList)
	digest := b.Get(number(list))
	if len(digest) < boltfile.DigestSize {
		return errDamaged
	}
	if err := b.Put(number(list), slices.Concat(digest[:boltfile.DigestSize], boltfile.DigestKey(d))); err != nil {
		return err
	}
	slices.Sort(vulnerabilities)
	for _, id := range slices.Compact(vulnerabilities) {
		if err := w.tx.Bucket(bucketVulns).Put(numbered(append([]byte(id), 0), list), []byte{}); err != nil {
			return err
		}
	}
	return posted(w.tx.Bucket(bucketHolders), number(list), w.markImages)
}

// markImages makes all images of an inventory stale, and has the other platforms of their indexes refreshed.
func (w writer) markImages(inventory uint32) error {
	prefix := number(inventory)
	c := w.tx.Bucket(bucketImages).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		id := numberOf(k[4:])
		if err := w.mark(id, false); err != nil {
			return err
		}
		if err := w.siblings(id, func(other uint32) error { return w.mark(other, true) }); err != nil {
			return err
		}
	}
	return nil
}

// inventory returns the id of an inventory, and takes it and its lists over if they are new.
func (w writer) inventory(d pratique.Digest) (uint32, error) {
	known := w.tx.Bucket(bucketInventories)
	if id := known.Get(boltfile.DigestKey(d)); id != nil {
		return numberOf(id), nil
	}
	digests, err := w.docs.inventories.get(d)
	if err != nil {
		return 0, err
	}
	value := boltfile.DigestKey(d)
	var lists []uint32
	var missing error
	for _, digest := range digests {
		list, err := w.list(digest)
		if errors.Is(err, errNotLoaded) {
			missing = err // there may be more
			continue
		}
		if err != nil {
			return 0, err
		}
		lists = append(lists, list)
		value = append(value, number(list)...)
	}
	if missing != nil {
		return 0, missing
	}
	id, err := next(known)
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		if err := post(w.tx.Bucket(bucketHolders), number(list), id); err != nil {
			return 0, err
		}
	}
	if err := w.tx.Bucket(bucketInventory).Put(number(id), value); err != nil {
		return 0, err
	}
	return id, known.Put(boltfile.DigestKey(d), number(id))
}

// lists returns the lists of an inventory, in its order.
func (w writer) lists(inventory uint32) []uint32 {
	var lists []uint32
	v := w.tx.Bucket(bucketInventory).Get(number(inventory))
	for ; len(v) >= boltfile.DigestSize+4; v = v[:len(v)-4] {
		lists = append(lists, numberOf(v[len(v)-4:]))
	}
	slices.Reverse(lists)
	return lists
}

// list returns the id of a list, and takes it over with its names if it is new.
func (w writer) list(d pratique.Digest) (uint32, error) {
	known := w.tx.Bucket(bucketLists)
	if id := known.Get(boltfile.DigestKey(d)); id != nil {
		return numberOf(id), nil
	}
	keys, err := w.docs.keys.get(d)
	if err != nil {
		return 0, err
	}
	id, err := next(known)
	if err != nil {
		return 0, err
	}
	for _, key := range keys {
		if err := post(w.tx.Bucket(bucketNames), key, id); err != nil {
			return 0, err
		}
	}
	if err := w.tx.Bucket(bucketList).Put(number(id), boltfile.DigestKey(d)); err != nil {
		return 0, err
	}
	return id, known.Put(boltfile.DigestKey(d), number(id))
}

// hashed makes keys of one length. Two that meet cost a match.
func hashed(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:12]
}

func next(b *bbolt.Bucket) (uint32, error) {
	n, err := b.NextSequence()
	if err == nil && n > 1<<31 {
		err = errDamaged
	}
	return uint32(n), err //nolint:gosec // bounded above
}
