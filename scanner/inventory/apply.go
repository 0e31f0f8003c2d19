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

// Apply implements [projection.Store]: it applies facts and moves the position, in one transaction.
// If a fact names a document that is missing, it is skipped: the image is inspected again at its
// next push. The error is Unavailable for a problem with the store or the file; then nothing was
// applied.
func (p *Projection) Apply(ctx context.Context, entries []pratique.Entry) error {
	docs := newDocuments(p.cfg)
	for {
		err := p.file.Apply(entries, func(tx *bbolt.Tx, fresh []pratique.Entry) error {
			r, err := getProgress(tx)
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

// writer is a write transaction. database is the digest of the one in use, zero before the first.
// docs is set while facts are applied.
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
		return w.updateSubject(f.Subject, func(id uint32, s *subject) error {
			return w.setInventory(id, s, body.Inventory)
		})
	case *pratique.Scanned:
		return w.updateSubject(f.Subject, func(id uint32, s *subject) error {
			return w.scanned(id, s, body, f.Event)
		})
	case *pratique.Evaluated:
		return w.updateSubject(f.Subject, func(id uint32, s *subject) error {
			s.Evaluated = true
			if err := w.markIfOutdated(id, s); err != nil {
				return err
			}
			return w.children(id, w.markChildIfOutdated)
		})
	}
	return nil
}

// pushed records a push, unless it was found by a sweep and a sender reported an earlier one:
// sweeps do not replace pushes.
func (s *subject) pushed(e pratique.Event) {
	if e.RefreshOnly && !s.RefreshOnly && s.Ref != (pratique.ImageRef{}) {
		return
	}
	s.Ref, s.PushedAt, s.RefreshOnly = e.Ref, e.OccurredAt, e.RefreshOnly
	// The sender's clock may be ahead; see pipeline.
	if s.PushedAt.IsZero() || s.PushedAt.After(e.ReceivedAt) {
		s.PushedAt = e.ReceivedAt
	}
}

func (w writer) resolved(about pratique.Subject, r *pratique.Resolved) error {
	if about != r.Manifest.Subject || r.Manifest.NotImage != "" {
		return nil
	}
	return w.updateSubject(about, func(id uint32, s *subject) error {
		s.pushed(r.Event)
		for _, c := range r.Manifest.Children {
			child, err := w.subjectID(about.Sibling(c.Digest))
			if err != nil {
				return err
			}
			if err := w.tx.Bucket(bucketParents).Put(slices.Concat(encodeNumber(child),
				encodeNumber(id)), []byte{}); err != nil {
				return err
			}
			if err := w.tx.Bucket(bucketChildren).Put(slices.Concat(encodeNumber(id),
				encodeNumber(child)), []byte{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// markIfOutdated marks an image as stale if its report was made with another database than the one
// in use.
func (w writer) markIfOutdated(id uint32, s *subject) error {
	if s.Inventory == 0 || s.Database == w.database {
		return nil
	}
	return w.markStale(id, false)
}

// markStale marks an image as stale. An image that needs a refresh keeps that mark.
func (w writer) markStale(id uint32, refresh bool) error {
	b := w.tx.Bucket(bucketStale)
	switch {
	case refresh:
		return b.Put(encodeNumber(id), []byte{1})
	case b.Get(encodeNumber(id)) != nil:
		return nil
	}
	return b.Put(encodeNumber(id), []byte{})
}

// setInventory sets the inventory of an image.
func (w writer) setInventory(id uint32, s *subject, inventory pratique.Digest) error {
	n, err := w.inventory(inventory)
	if err != nil || n == s.Inventory {
		return err
	}
	images := w.tx.Bucket(bucketImages)
	if err := images.Delete(slices.Concat(encodeNumber(s.Inventory), encodeNumber(id))); err != nil {
		return err
	}
	s.Inventory = n
	return images.Put(slices.Concat(encodeNumber(n), encodeNumber(id)), []byte{})
}

// scanned records a report. For lists without known findings it is valid if it was made with the
// database in use; otherwise they have to be matched.
func (w writer) scanned(id uint32, s *subject, m *pratique.Scanned, event string) error {
	s.reported(event, m.Database.Digest)
	// A lost report that is made again is the same, and then an image that was set aside is done.
	if m.Report == s.Report && w.tx.Bucket(bucketAside).Get(encodeNumber(id)) == nil {
		return w.markIfOutdated(id, s)
	}
	found, err := w.docs.reports.get(m.Report)
	if err != nil {
		return err
	}
	if err := w.setInventory(id, s, m.Inventory); err != nil {
		return err
	}
	s.Report, s.Findings = m.Report, found
	if m.Database.Digest == w.database { // a push has processed it
		if err := w.tx.Bucket(bucketAside).Delete(encodeNumber(id)); err != nil {
			return err
		}
	}
	lists, marked := w.lists(s.Inventory), w.tx.Bucket(bucketStale).Get(encodeNumber(id)) != nil
	for i, list := range lists {
		if len(found) != len(lists) {
			break // not a report on this inventory
		}
		if m.Database.Digest == w.database {
			err = w.setFindings(list, found[i])
		} else if _, known := listFindings(w.tx, list); !known {
			err = w.tx.Bucket(bucketPending).Put(encodeNumber(list), []byte{})
		}
		if err != nil && !lost(err) {
			return err
		}
	}
	if m.Database.Digest == w.database && !marked {
		// New findings in this report make other images stale, but not this one.
		return w.tx.Bucket(bucketStale).Delete(encodeNumber(id))
	}
	return w.markIfOutdated(id, s)
}

// setFindings records the findings of a list for the database in use, from their document.
func (w writer) setFindings(list uint32, d pratique.Digest) error {
	if known, ok := listFindings(w.tx, list); ok && known == d {
		return w.tx.Bucket(bucketPending).Delete(encodeNumber(list))
	}
	a, err := w.docs.findings.get(d)
	if err != nil {
		return err
	}
	if a.incomplete {
		if w.tx.Bucket(bucketUnmatched).Get(encodeNumber(list)) != nil {
			return nil // with the database in use
		}
		return w.tx.Bucket(bucketPending).Put(encodeNumber(list), []byte{})
	}
	return w.recordFindings(list, d, slices.Clone(a.vulnerabilities))
}

// recordFindings records the findings of a list. Images whose reports differ become stale. A
// vulnerability that the list no longer has stays in the index; some day that costs a match.
func (w writer) recordFindings(list uint32, d pratique.Digest, vulnerabilities []string) error {
	for _, name := range [][]byte{bucketPending, bucketUnmatched} {
		if err := w.tx.Bucket(name).Delete(encodeNumber(list)); err != nil {
			return err
		}
	}
	before, known := listFindings(w.tx, list)
	if known && before == d {
		return nil
	}
	b := w.tx.Bucket(bucketList)
	digest := b.Get(encodeNumber(list))
	if len(digest) < boltfile.DigestSize {
		return errDamaged
	}
	if err := b.Put(encodeNumber(list), slices.Concat(digest[:boltfile.DigestSize],
		boltfile.DigestKey(d))); err != nil {
		return err
	}
	slices.Sort(vulnerabilities)
	for _, id := range slices.Compact(vulnerabilities) {
		if err := w.tx.Bucket(bucketVulns).Put(appendNumber(append([]byte(id), 0), list),
			[]byte{}); err != nil {
			return err
		}
	}
	return eachPosting(w.tx.Bucket(bucketHolders), encodeNumber(list), w.markImages)
}

// markImages marks all images of an inventory as stale, and the other platforms of their indexes
// for a refresh.
func (w writer) markImages(inventory uint32) error {
	prefix := encodeNumber(inventory)
	c := w.tx.Bucket(bucketImages).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		id := decodeNumber(k[4:])
		if err := w.markStale(id, false); err != nil {
			return err
		}
		if err := w.siblings(id, func(other uint32) error {
			return w.markStale(other, true)
		}); err != nil {
			return err
		}
	}
	return nil
}

// inventory returns the id of an inventory, and adds it with its lists if it is new.
func (w writer) inventory(d pratique.Digest) (uint32, error) {
	known := w.tx.Bucket(bucketInventories)
	if id := known.Get(boltfile.DigestKey(d)); id != nil {
		return decodeNumber(id), nil
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
		value = append(value, encodeNumber(list)...)
	}
	if missing != nil {
		return 0, missing
	}
	id, err := nextID(known)
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		if err := addPosting(w.tx.Bucket(bucketHolders), encodeNumber(list), id); err != nil {
			return 0, err
		}
	}
	if err := w.tx.Bucket(bucketInventory).Put(encodeNumber(id), value); err != nil {
		return 0, err
	}
	return id, known.Put(boltfile.DigestKey(d), encodeNumber(id))
}

// lists returns the lists of an inventory, in order.
func (w writer) lists(inventory uint32) []uint32 {
	var lists []uint32
	v := w.tx.Bucket(bucketInventory).Get(encodeNumber(inventory))
	for ; len(v) >= boltfile.DigestSize+4; v = v[:len(v)-4] {
		lists = append(lists, decodeNumber(v[len(v)-4:]))
	}
	slices.Reverse(lists)
	return lists
}

// list returns the id of a list, and adds it with its names if it is new.
func (w writer) list(d pratique.Digest) (uint32, error) {
	known := w.tx.Bucket(bucketLists)
	if id := known.Get(boltfile.DigestKey(d)); id != nil {
		return decodeNumber(id), nil
	}
	keys, err := w.docs.keys.get(d)
	if err != nil {
		return 0, err
	}
	id, err := nextID(known)
	if err != nil {
		return 0, err
	}
	for _, key := range keys {
		if err := addPosting(w.tx.Bucket(bucketNames), key, id); err != nil {
			return 0, err
		}
	}
	if err := w.tx.Bucket(bucketList).Put(encodeNumber(id), boltfile.DigestKey(d)); err != nil {
		return 0, err
	}
	return id, known.Put(boltfile.DigestKey(d), encodeNumber(id))
}

// hashKey makes keys of one length. A collision costs a match.
func hashKey(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:12]
}

func nextID(b *bbolt.Bucket) (uint32, error) {
	n, err := b.NextSequence()
	if err == nil && n > 1<<31 {
		err = errDamaged
	}
	return uint32(n), err //nolint:gosec // bounded above
}
