package inventory

import (
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

// subject is an image, or an index of images.
type subject struct {
	Subject pratique.Subject `json:"subject"`
	// Inventory is the id of the newest one, 0 if there is none. Report is the newest one, about
	// Inventory against Database; Findings are its documents, by the inventory's lists. Event is
	// the work that made it, Previous the work before.
	Inventory uint32            `json:"inventory,omitempty"`
	Report    pratique.Digest   `json:"report,omitzero"`
	Findings  []pratique.Digest `json:"findings,omitempty"`
	Database  pratique.Digest   `json:"database,omitzero"`
	Event     string            `json:"event,omitempty"`
	Previous  string            `json:"previous,omitempty"`
	Evaluated bool              `json:"evaluated,omitempty"`
	// Ref and PushedAt are those of the newest push; zero for an image that is only known from an
	// index.
	Ref      pratique.ImageRef `json:"ref,omitzero"`
	PushedAt time.Time         `json:"pushedAt,omitzero"`
	// RefreshOnly reports that only sweeps found it.
	RefreshOnly bool `json:"refreshOnly,omitempty"`
}

// reported records the work and the database of the newest report. It can be repeated.
func (s *subject) reported(event string, database pratique.Digest) {
	if event != s.Event {
		s.Previous, s.Event = s.Event, event
	}
	s.Database = database
}

// subjectID returns the id of a subject, and adds it if it is new.
func (w writer) subjectID(s pratique.Subject) (uint32, error) {
	b, key := w.tx.Bucket(bucketSubjects), append(boltfile.DigestKey(s.Digest), s.Repository.String()...)
	if id := b.Get(key); id != nil {
		return decodeNumber(id), nil
	}
	id, err := nextID(b)
	if err != nil {
		return 0, err
	}
	if err := boltfile.PutJSON(w.tx.Bucket(bucketSubject), encodeNumber(id),
		subject{Subject: s}); err != nil {
		return 0, err
	}
	return id, b.Put(key, encodeNumber(id))
}

func (w writer) subject(id uint32) (s subject, err error) {
	raw := w.tx.Bucket(bucketSubject).Get(encodeNumber(id))
	if raw == nil {
		return s, errDamaged
	}
	return s, boltfile.DecodeJSON(raw, &s)
}

// updateSubject reads a subject, calls fn to change it and writes it back, even if fn did not find
// a document.
func (w writer) updateSubject(of pratique.Subject, fn func(id uint32, s *subject) error) error {
	id, err := w.subjectID(of)
	if err != nil {
		return err
	}
	s, err := w.subject(id)
	if err != nil {
		return err
	}
	err = fn(id, &s)
	if err != nil && !lost(err) {
		return err
	}
	return boltfile.PutJSON(w.tx.Bucket(bucketSubject), encodeNumber(id), s)
}
