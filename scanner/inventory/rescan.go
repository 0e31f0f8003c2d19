package inventory

import (
	"bytes"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
	"github.com/pratique-dev/pratique/scanner"
)

// Begin makes db the database in use. The parts that the delta from the one before affects are to be matched again, in
// addition to those that still were; for all others what is known of them goes on to hold. Of parts of which nothing is
// known nothing goes on to hold either.
func (e *Projection) Begin(db pratique.Database, d scanner.Delta, now time.Time) (r pratique.Rescan, err error) {
	err = e.file.Update("begin rescanning", func(tx *bbolt.Tx) error {
		before, err := rescan(tx)
		if err != nil {
			return err
		}
		r = pratique.Rescan{
			From: before.To.Digest, To: db, StartedAt: now.UTC(), Everything: d.Everything,
			Names: len(d.Names), Vulnerabilities: len(d.Vulnerabilities),
		}
		todo := tx.Bucket(bucketTodo)
		mark := func(part uint32) error { return todo.Put(number(part), []byte{}) }
		if err := affected(tx, d, mark); err != nil {
			return err
		}
		c := todo.Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			r.Affected++
		}
		if err := again(tx); err != nil {
			return err
		}
		r.Lists = int(tx.Bucket(bucketParts).Sequence()) //nolint:gosec // far below
		return putRescan(tx, r)
	})
	return r, err
}

// again has the images looked at that could not be dealt with before.
func again(tx *bbolt.Tx) error {
	w := writer{tx: tx}
	c := tx.Bucket(bucketAside).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if err := w.mark(numberOf(k), false); err != nil {
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

// affected calls mark with every part that a delta affects, some more than once.
func affected(tx *bbolt.Tx, d scanner.Delta, mark func(part uint32) error) error {
	c := tx.Bucket(bucketPart).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if d.Everything == "" && len(v) > boltfile.DigestSize {
			continue
		}
		if err := mark(numberOf(k)); err != nil {
			return err
		}
	}
	for _, name := range d.Names {
		if err := posted(tx.Bucket(bucketNames), hashed(name), mark); err != nil {
			return err
		}
	}
	c = tx.Bucket(bucketVulns).Cursor()
	for _, id := range d.Vulnerabilities {
		prefix := append([]byte(id), 0)
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			if err := mark(numberOf(k[len(k)-4:])); err != nil {
				return err
			}
		}
	}
	return nil
}

// Todo returns at most limit parts to be matched again.
func (e *Projection) Todo(limit int) (parts []scanner.Part, err error) {
	err = e.file.View("read inventory", func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketTodo).Cursor()
		for k, _ := c.First(); k != nil && len(parts) < limit; k, _ = c.Next() {
			v := tx.Bucket(bucketPart).Get(k)
			if len(v) < boltfile.DigestSize {
				return errDamaged
			}
			part := scanner.Part{ID: scanner.PartID(numberOf(k)), Digest: boltfile.DigestFromKey(v)}
			part.Findings, _ = findings(tx, numberOf(k))
			parts = append(parts, part)
		}
		return nil
	})
	return parts, err
}

// Matched takes over what was found in parts with database. It does nothing if another one is in use by now. Of a part
// that could not be matched nothing is known from then on, and its images are outdated: they get reports that say so. The
// next push of one tries again, and so does the next database.
func (e *Projection) Matched(database pratique.Digest, all []scanner.Matched) error {
	return e.file.Update("keep matches", func(tx *bbolt.Tx) error {
		r, err := rescan(tx)
		if err != nil || r.To.Digest != database {
			return err
		}
		w := writer{tx: tx, database: database}
		for _, m := range all {
			key := number(uint32(m.ID))
			if tx.Bucket(bucketTodo).Get(key) == nil {
				continue // a push was faster
			}
			r.Matched++
			if m.Failed == "" {
				if err := w.answer(uint32(m.ID), m.Findings, m.Vulnerabilities); err != nil {
					return err
				}
				continue
			}
			r.Failed++
			v := bytes.Clone(tx.Bucket(bucketPart).Get(key))
			if len(v) < boltfile.DigestSize {
				return errDamaged
			}
			if err := tx.Bucket(bucketPart).Put(key, v[:boltfile.DigestSize]); err != nil {
				return err
			}
			if err := tx.Bucket(bucketTodo).Delete(key); err != nil {
				return err
			}
			if err := boltfile.PutJSON(tx.Bucket(bucketUnmatched), key, unmatched{m.Findings, m.Failed}); err != nil {
				return err
			}
			if err := posted(tx.Bucket(bucketHolders), key, w.markImages); err != nil {
				return err
			}
		}
		return putRescan(tx, r)
	})
}

// unmatched is a part that could not be matched with the database in use: why, and the document that says so in place of
// findings, if there is one.
type unmatched struct {
	Findings pratique.Digest `json:"findings,omitzero"`
	Why      string          `json:"why"`
}

// Outdated returns about limit images whose newest report may say something else than the database in use. The platforms
// of an index come together, so that it is evaluated when all of them are dealt with.
func (e *Projection) Outdated(limit int) (all []scanner.Outdated, err error) {
	err = e.file.View("read inventory", func(tx *bbolt.Tx) error {
		w, taken := writer{tx: tx}, map[uint32]bool{}
		take := func(id uint32) error {
			v := tx.Bucket(bucketOutdated).Get(number(id))
			if v == nil || taken[id] {
				return nil
			}
			taken[id] = true
			o, err := w.describe(id)
			o.Refresh = len(v) > 0
			all = append(all, o)
			return err
		}
		c := tx.Bucket(bucketOutdated).Cursor()
		for k, _ := c.First(); k != nil && len(all) < limit; k, _ = c.Next() {
			if err := take(numberOf(k)); err != nil {
				return err
			}
			if err := w.siblings(numberOf(k), take); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

func (w writer) describe(id uint32) (scanner.Outdated, error) {
	s, err := w.subject(id)
	if err != nil {
		return scanner.Outdated{}, err
	}
	o := scanner.Outdated{ID: scanner.SubjectID(id), Subject: s.Subject, Report: s.Report, Event: s.Event, Before: s.Findings, Database: s.Database, Evaluated: s.Evaluated}
	if v := w.tx.Bucket(bucketInventory).Get(number(s.Inventory)); len(v) >= boltfile.DigestSize {
		o.Inventory = boltfile.DigestFromKey(v)
	}
	for _, part := range w.parts(s.Inventory) {
		now, known := findings(w.tx, part)
		if v := w.tx.Bucket(bucketUnmatched).Get(number(part)); !known && v != nil {
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
		o.Evaluate = append(o.Evaluate, scanner.Pushed{Subject: s.Subject, Ref: s.Ref, At: s.PushedAt, RefreshOnly: s.RefreshOnly})
	}
	c := w.tx.Bucket(bucketParents).Cursor()
	for k, _ := c.Seek(number(id)); bytes.HasPrefix(k, number(id)); k, _ = c.Next() {
		parent, err := w.subject(numberOf(k[4:]))
		if err != nil {
			return o, err
		}
		if parent.Evaluated {
			o.Evaluate = append(o.Evaluate, scanner.Pushed{Subject: parent.Subject, Ref: parent.Ref, At: parent.PushedAt, RefreshOnly: parent.RefreshOnly})
		}
	}
	return o, nil
}

// Update takes over what became of outdated images, and counts: changed had other findings, worse had new ones. An
// image that became outdated again meanwhile, by another database or report, stays so.
func (e *Projection) Update(database pratique.Digest, all []scanner.Updated, changed, worse int) error {
	return e.file.Update("keep reports", func(tx *bbolt.Tx) error {
		r, err := rescan(tx)
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
				s.Report, s.Findings, s.Event, s.Database = one.Report, one.Findings, one.Event, database
				if err := boltfile.PutJSON(tx.Bucket(bucketSubject), number(uint32(one.ID)), s); err != nil {
					return err
				}
			} else if s.Report != one.Report {
				continue
			}
			if err := tx.Bucket(bucketOutdated).Delete(number(uint32(one.ID))); err != nil {
				return err
			}
			if err := putAside(tx, &r, one); err != nil {
				return err
			}
		}
		r.Touched, r.Changed, r.NewlyAffected = r.Touched+len(all), r.Changed+changed, r.NewlyAffected+worse
		return putRescan(tx, r)
	})
}

// putAside notes that an image could not be dealt with, or that it was.
func putAside(tx *bbolt.Tx, r *pratique.Rescan, one scanner.Updated) error {
	b, key := tx.Bucket(bucketAside), number(uint32(one.ID))
	if one.Failed == "" {
		return b.Delete(key)
	}
	if b.Get(key) == nil {
		r.SetAside++
	}
	return b.Put(key, []byte(one.Failed))
}

// Aside returns at most limit of the images that could not be dealt with since the database in use came.
func (e *Projection) Aside(limit int) (all []pratique.Aside, err error) {
	err = e.file.View("read inventory", func(tx *bbolt.Tx) error {
		w := writer{tx: tx}
		c := tx.Bucket(bucketAside).Cursor()
		for k, reason := c.First(); k != nil && len(all) < limit; k, reason = c.Next() {
			s, err := w.subject(numberOf(k))
			if err != nil {
				return err
			}
			all = append(all, pratique.Aside{Subject: s.Subject, Reason: string(reason)})
		}
		return nil
	})
	return all, err
}

// Finish notes that nothing is left to do for database, if that is so.
func (e *Projection) Finish(database pratique.Digest, now time.Time) (r pratique.Rescan, err error) {
	err = e.file.Update("finish rescanning", func(tx *bbolt.Tx) error {
		if r, err = rescan(tx); err != nil || r.To.Digest != database || !r.FinishedAt.IsZero() {
			return err
		}
		for _, name := range [][]byte{bucketTodo, bucketOutdated} {
			if k, _ := tx.Bucket(name).Cursor().First(); k != nil {
				return nil
			}
		}
		r.FinishedAt = now.UTC()
		return putRescan(tx, r)
	})
	return r, err
}
