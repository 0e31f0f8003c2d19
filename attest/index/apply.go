package index

import (
	"context"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

// Apply implements [projection.Store]: it folds entries into the index, and moves the position, in
// one transaction. A fact that could not be read, or that contradicts itself, is set aside, counted
// in [Stats], and does not stop the rest; a version of the program that can read it takes it up by
// rebuilding.
func (ix *Index) Apply(_ context.Context, entries []pratique.Entry) error {
	return ix.file.Apply(entries, func(tx *bbolt.Tx, fresh []pratique.Entry) error {
		b := &batch{
			tx: tx, records: map[string]*pratique.Record{}, events: map[string]*EventStatus{},
			evaluated: map[pratique.Subject]bool{}, deployments: map[string]*pratique.Deployment{},
		}
		for _, e := range fresh {
			if err := b.apply(e); err != nil {
				return err
			}
		}
		return b.flush()
	})
}

// batch keeps what one transaction changes, so a record is encoded once however many facts it gets.
type batch struct {
	tx          *bbolt.Tx
	records     map[string]*pratique.Record
	events      map[string]*EventStatus
	evaluated   map[pratique.Subject]bool // those that got a verdict
	deployments map[string]*pratique.Deployment
}

func (b *batch) apply(e pratique.Entry) error {
	f := e.Fact
	if err := f.Validate(); err != nil {
		return b.tx.Bucket(bucketRejected).Put(number(e.Seq), []byte(err.Error()))
	}
	if f.Event != "" {
		status, err := b.applyEvent(f)
		if err != nil {
			return err
		}
		if f.Kind() == pratique.FactCompleted && status.supersededAt(f.Subject) {
			if err := b.supersede(status); err != nil {
				return err
			}
		}
	}
	if f.Subject.IsZero() {
		return nil
	}
	key := subjectKey(f.Subject)
	record, err := b.record(key)
	if err != nil {
		return err
	}
	record.Fold(e.Seq, f)
	if f.Kind() == pratique.FactEvaluated {
		b.evaluated[f.Subject] = true
	}
	if err := b.applyDeployment(e.Seq, f); err != nil {
		return err
	}
	if resolved := pratique.As[pratique.Resolved](f); resolved != nil {
		return b.applyResolved(e.Seq, f, resolved)
	}
	return nil
}

func (b *batch) record(key []byte) (*pratique.Record, error) {
	if r, ok := b.records[string(key)]; ok {
		return r, nil
	}
	r := &pratique.Record{}
	if _, err := boltfile.GetJSON(b.tx.Bucket(bucketRecords), key, r); err != nil {
		return nil, err
	}
	b.records[string(key)] = r
	return r, nil
}

func (b *batch) applyEvent(f pratique.Fact) (*EventStatus, error) {
	s, err := b.event(f.Event)
	if err != nil {
		return nil, err
	}
	var newest *pratique.Evaluated
	if f.Kind() == pratique.FactCompleted && !f.Subject.IsZero() {
		record, err := b.record(subjectKey(f.Subject))
		if err != nil {
			return nil, err
		}
		newest = record.Evaluated
	}
	s.fold(f, newest)
	if s.Requeues == "" || s.Requeues == s.ID {
		return s, nil
	}
	old, err := b.event(s.Requeues)
	if err == nil && old.RequeuedAs == "" {
		old.RequeuedAs = s.ID
	}
	return s, err
}

func (b *batch) event(id string) (*EventStatus, error) {
	if s, ok := b.events[id]; ok {
		return s, nil
	}
	s := &EventStatus{Event: pratique.Event{ID: id}}
	if _, err := boltfile.GetJSON(b.tx.Bucket(bucketEvents), []byte(id), s); err != nil {
		return nil, err
	}
	b.events[id] = s
	return s, nil
}

// applyResolved writes what a resolved reference says about tags and children.
func (b *batch) applyResolved(seq uint64, f pratique.Fact, resolved *pratique.Resolved) error {
	if f.Subject != resolved.Manifest.Subject {
		return nil // a platform child that carries its parent's event: the tag names the parent
	}
	for _, child := range resolved.Manifest.Children {
		key := append(parentPrefix(f.Subject.Sibling(child.Digest)),
			boltfile.DigestKey(f.Subject.Digest)...)
		if err := b.tx.Bucket(bucketParents).Put(key, []byte{}); err != nil {
			return err
		}
	}
	e := resolved.Event
	if !tellsOfTag(e) {
		return nil
	}
	imageTag := join(subjectKey(f.Subject), []byte(e.Ref.Tag))
	if err := b.tx.Bucket(bucketImageTags).Put(imageTag, []byte{}); err != nil {
		return err
	}
	status := b.events[f.Event]
	return b.putStep(stepPrefix(f.Subject.Repository, e.Ref.Tag, e.OccurredAt, e.ReceivedAt), seq,
		f.Subject.Digest,
		status != nil && status.supersededAt(f.Subject))
}

func (b *batch) flush() error {
	for key, r := range b.records {
		if err := boltfile.PutJSON(b.tx.Bucket(bucketRecords), []byte(key), r); err != nil {
			return err
		}
		first := number(r.History[0].Seq)
		if err := boltfile.PutJSON(b.tx.Bucket(bucketList), first, summarise(*r)); err != nil {
			return err
		}
		if err := b.tx.Bucket(bucketByRepo).Put(join([]byte(r.Subject.Repository.String()), first),
			[]byte{}); err != nil {
			return err
		}
	}
	if err := b.markDenials(); err != nil {
		return err
	}
	for key, d := range b.deployments {
		if err := boltfile.PutJSON(b.tx.Bucket(bucketDeployments), []byte(key), d); err != nil {
			return err
		}
	}
	for id, s := range b.events {
		if err := boltfile.PutJSON(b.tx.Bucket(bucketEvents), []byte(id), s); err != nil {
			return err
		}
		dead := b.tx.Bucket(bucketDead)
		mark := dead.Delete
		if s.dead() {
			mark = func(id []byte) error { return dead.Put(id, []byte{}) }
		}
		if err := mark([]byte(id)); err != nil {
			return err
		}
	}
	return nil
}
