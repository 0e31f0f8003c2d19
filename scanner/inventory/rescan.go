package inventory

import (
	"bytes"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
	"github.com/pratique-dev/pratique/scanner/rescan"
)

// Begin makes db the database in use. The lists that the delta affects become pending, in addition
// to those that still are; the known findings of all others stay valid.
func (p *Projection) Begin(db pratique.Database, d rescan.Delta,
	now time.Time) (r pratique.Rescan, err error) {
	err = p.file.Update("begin rescanning", func(tx *bbolt.Tx) error {
		before, err := getProgress(tx)
		if err != nil {
			return err
		}
		r = pratique.Rescan{
			From: before.To.Digest, To: db, StartedAt: now.UTC(), Everything: d.Everything,
			Names: len(d.Names), Vulnerabilities: len(d.Vulnerabilities),
		}
		todo := tx.Bucket(bucketPending)
		mark := func(list uint32) error { return todo.Put(encodeNumber(list), []byte{}) }
		if err := eachAffected(tx, d, mark); err != nil {
			return err
		}
		c := todo.Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			r.Affected++
		}
		if err := retrySetAside(tx); err != nil {
			return err
		}
		r.Lists = int(tx.Bucket(bucketLists).Sequence()) //nolint:gosec // far below
		return putProgress(tx, r)
	})
	return r, err
}

// retrySetAside marks the images that were set aside as stale.
func retrySetAside(tx *bbolt.Tx) error {
	w := writer{tx: tx}
	c := tx.Bucket(bucketAside).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if err := w.markStale(decodeNumber(k), false); err != nil {
			return err
		}
	}
	for _, name := range [][]byte{bucketAside, bucketUnmatched} {
		if err := tx.DeleteBucket(name); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return nil
}

// eachAffected calls mark with every list that a delta affects, some more than once.
func eachAffected(tx *bbolt.Tx, d rescan.Delta, mark func(list uint32) error) error {
	c := tx.Bucket(bucketList).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if d.Everything == "" && len(v) > boltfile.DigestSize {
			continue
		}
		if err := mark(decodeNumber(k)); err != nil {
			return err
		}
	}
	for _, name := range d.Names {
		if err := eachPosting(tx.Bucket(bucketNames), hashKey(name), mark); err != nil {
			return err
		}
	}
	c = tx.Bucket(bucketVulns).Cursor()
	for _, id := range d.Vulnerabilities {
		prefix := append([]byte(id), 0)
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			if err := mark(decodeNumber(k[len(k)-4:])); err != nil {
				return err
			}
		}
	}
	return nil
}

// Pending returns at most limit lists that have to be matched.
func (p *Projection) Pending(limit int) (lists []rescan.List, err error) {
	err = p.file.View("read inventory", func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketPending).Cursor()
		for k, _ := c.First(); k != nil && len(lists) < limit; k, _ = c.Next() {
			v := tx.Bucket(bucketList).Get(k)
			if len(v) < boltfile.DigestSize {
				return errDamaged
			}
			list := rescan.List{ID: rescan.ListID(decodeNumber(k)), Digest: boltfile.DigestFromKey(v)}
			list.Findings, _ = listFindings(tx, decodeNumber(k))
			lists = append(lists, list)
		}
		return nil
	})
	return lists, err
}

// Matched records the results of matching lists with database, unless another one is in use by now.
// If a list could not be matched, its findings are unknown from then on, and its images become
// stale: they get reports that say so. The next push of one tries again, and so does the next
// database.
func (p *Projection) Matched(database pratique.Digest, all []rescan.ListResult) error {
	return p.file.Update("keep matches", func(tx *bbolt.Tx) error {
		r, err := getProgress(tx)
		if err != nil || r.To.Digest != database {
			return err
		}
		w := writer{tx: tx, database: database}
		for _, m := range all {
			key := encodeNumber(uint32(m.ID))
			if tx.Bucket(bucketPending).Get(key) == nil {
				continue // done by a push
			}
			r.Matched++
			if m.Failed == "" {
				if err := w.recordFindings(uint32(m.ID), m.Findings, m.Vulnerabilities); err != nil {
					return err
				}
				continue
			}
			r.Failed++
			v := bytes.Clone(tx.Bucket(bucketList).Get(key))
			if len(v) < boltfile.DigestSize {
				return errDamaged
			}
			if err := tx.Bucket(bucketList).Put(key, v[:boltfile.DigestSize]); err != nil {
				return err
			}
			if err := tx.Bucket(bucketPending).Delete(key); err != nil {
				return err
			}
			if err := boltfile.PutJSON(tx.Bucket(bucketUnmatched), key,
				unmatched{m.Findings, m.Failed}); err != nil {
				return err
			}
			if err := eachPosting(tx.Bucket(bucketHolders), key, w.markImages); err != nil {
				return err
			}
		}
		return putProgress(tx, r)
	})
}

// unmatched is a list that could not be matched with the database in use: the reason, and the
// document that replaces its findings, if there is one.
type unmatched struct {
	Findings pratique.Digest `json:"findings,omitzero"`
	Why      string          `json:"why"`
}

// Stale returns about limit images whose newest report may be outdated. The platforms of an index
// are returned together, so that it is evaluated when all of them are done.
func (p *Projection) Stale(limit int) (all []rescan.StaleImage, err error) {
	err = p.file.View("read inventory", func(tx *bbolt.Tx) error {
		w, taken := writer{tx: tx}, map[uint32]bool{}
		take := func(id uint32) error {
			v := tx.Bucket(bucketStale).Get(encodeNumber(id))
			if v == nil || taken[id] {
				return nil
			}
			taken[id] = true
			o, err := w.staleImage(id)
			o.Refresh = len(v) > 0
			all = append(all, o)
			return err
		}
		c := tx.Bucket(bucketStale).Cursor()
		for k, _ := c.First(); k != nil && len(all) < limit; k, _ = c.Next() {
			if err := take(decodeNumber(k)); err != nil {
				return err
			}
			if err := w.siblings(decodeNumber(k), take); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

// staleImage describes a stale image.
func (w writer) staleImage(id uint32) (rescan.StaleImage, error) {
	s, err := w.subject(id)
	if err != nil {
		return rescan.StaleImage{}, err
	}
	o := rescan.StaleImage{
		ID: rescan.SubjectID(id), Subject: s.Subject, Report: s.Report, Event: s.Event,
		Previous: s.Previous,
		Before:   s.Findings, Database: s.Database, Evaluated: s.Evaluated,
	}
	if v := w.tx.Bucket(bucketInventory).Get(encodeNumber(s.Inventory)); len(v) >= boltfile.DigestSize {
		o.Inventory = boltfile.DigestFromKey(v)
	}
	for _, list := range w.lists(s.Inventory) {
		now, known := listFindings(w.tx, list)
		if v := w.tx.Bucket(bucketUnmatched).Get(encodeNumber(list)); !known && v != nil {
			var failed unmatched
			if err := boltfile.DecodeJSON(v, &failed); err != nil {
				return o, err
			}
			now, known, o.Unmatched = failed.Findings, !failed.Findings.IsZero(), failed.Why
		}
		if !known {
			o.Now = nil
			break
		}
		o.Now = append(o.Now, now)
	}
	if s.Evaluated && s.Ref != (pratique.ImageRef{}) {
		o.Evaluate = append(o.Evaluate, rescan.Push{Subject: s.Subject, Ref: s.Ref, At: s.PushedAt,
			RefreshOnly: s.RefreshOnly})
	}
	c := w.tx.Bucket(bucketParents).Cursor()
	for k, _ := c.Seek(encodeNumber(id)); bytes.HasPrefix(k, encodeNumber(id)); k, _ = c.Next() {
		parent, err := w.subject(decodeNumber(k[4:]))
		if err != nil {
			return o, err
		}
		if parent.Evaluated {
			o.Evaluate = append(o.Evaluate, rescan.Push{Subject: parent.Subject, Ref: parent.Ref,
				At: parent.PushedAt, RefreshOnly: parent.RefreshOnly})
		}
	}
	return o, nil
}

// Update records the results for stale images and counts them: changed images have other findings,
// affected ones have new findings. An image that became stale again meanwhile, by another database
// or report, stays so.
func (p *Projection) Update(database pratique.Digest, all []rescan.ImageResult, changed,
	affected int) error {
	return p.file.Update("keep reports", func(tx *bbolt.Tx) error {
		r, err := getProgress(tx)
		if err != nil || r.To.Digest != database {
			return err
		}
		w := writer{tx: tx, database: database}
		for _, one := range all {
			s, err := w.subject(uint32(one.ID))
			if err != nil {
				return err
			}
			if one.Event != "" {
				s.Report, s.Findings = one.Report, one.Findings
				s.reported(one.Event, database)
				if err := boltfile.PutJSON(tx.Bucket(bucketSubject), encodeNumber(uint32(one.ID)),
					s); err != nil {
					return err
				}
			} else if s.Report != one.Report {
				continue
			}
			if err := tx.Bucket(bucketStale).Delete(encodeNumber(uint32(one.ID))); err != nil {
				return err
			}
			if err := putSetAside(tx, &r, one); err != nil {
				return err
			}
		}
		r.Touched += len(all)
		r.Changed += changed
		r.NewlyAffected += affected
		return putProgress(tx, r)
	})
}

// putSetAside records whether an image is set aside.
func putSetAside(tx *bbolt.Tx, r *pratique.Rescan, one rescan.ImageResult) error {
	b, key := tx.Bucket(bucketAside), encodeNumber(uint32(one.ID))
	if one.Failed == "" {
		return b.Delete(key)
	}
	if b.Get(key) == nil {
		r.SetAside++
	}
	return b.Put(key, []byte(one.Failed))
}

// Aside returns at most limit of the images that were set aside for the database in use.
func (p *Projection) Aside(limit int) (all []pratique.Aside, err error) {
	err = p.file.View("read inventory", func(tx *bbolt.Tx) error {
		w := writer{tx: tx}
		c := tx.Bucket(bucketAside).Cursor()
		for k, reason := c.First(); k != nil && len(all) < limit; k, reason = c.Next() {
			s, err := w.subject(decodeNumber(k))
			if err != nil {
				return err
			}
			all = append(all, pratique.Aside{Subject: s.Subject, Reason: string(reason)})
		}
		return nil
	})
	return all, err
}

// Finish records that rescanning for database is finished, if nothing is left to do.
func (p *Projection) Finish(database pratique.Digest, now time.Time) (r pratique.Rescan, err error) {
	err = p.file.Update("finish rescanning", func(tx *bbolt.Tx) error {
		if r, err = getProgress(tx); err != nil || r.To.Digest != database || !r.FinishedAt.IsZero() {
			return err
		}
		for _, name := range [][]byte{bucketPending, bucketStale} {
			if k, _ := tx.Bucket(name).Cursor().First(); k != nil {
				return nil
			}
		}
		r.FinishedAt = now.UTC()
		return putProgress(tx, r)
	})
	return r, err
}
