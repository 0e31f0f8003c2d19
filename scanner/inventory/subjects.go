package inventory

import (
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

// subject is what is kept of an image, or of an index of images.
type subject struct {
	Subject pratique.Subject `json:"subject"`
	// Inventory is the id of the newest, 0 if there is none. Report is the newest, about Inventory against Database;
	// Findings are its documents, by the inventory's lists. Event is the work that made it, Previous the work before.
	Inventory uint32            `json:"inventory,omitempty"`
	Report    pratique.Digest   `json:"report,omitzero"`
	Findings  []pratique.Digest `json:"findings,omitempty"`
	Database  pratique.Digest   `json:"database,omitzero"`
	Event     string            `json:"event,omitempty"`
	Previous  string            `json:"previous,omitempty"`
	Evaluated bool              `json:"evaluated,omitempty"`
	// Ref and PushedAt are those of the newest push; zero for an image that was seen as a list of an index only.
	Ref      pratique.ImageRef `json:"ref,omitzero"`
	PushedAt time.Time         `json:"pushedAt,omitzero"`
	// RefreshOnly says that only sweeps told of it.
	RefreshOnly bool `json:"refreshOnly,omitempty"`
}

// reported notes which work made the newest report, with which database. It may be told twice.
func (s *subject) reported(event string, database pratique.Digest) {
	if event != s.Event {
		s.Previous, s.Event = s.Event, event
	}
	s.Database = database
}

// subjectID returns the id of a subject, and makes one if it is new.
func (w writer) subjectID(s pratique.Subject) (uint32, error) {
	b, key := w.tx.Bucket(bucketSubjects), append(boltfile.DigestKey(s.Digest), s.Repository.String()...)
	if id := b.Get(key); id != nil {
		return decodeNumber(id), nil
	}
	id, err := nextID(b)
	if err != nil {
		return 0, err
	}
	if err := boltfile.PutJSON(w.tx.Bucket(bucketSubject), encodeNumber(id), subject{Subject: s}); err != nil {
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

// updateSubject reads a subject, has fn change it and writes it back, even after fn did not find a document.
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
