package outbox

import (
	"encoding/json"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

// maxRefused bounds the refused events; the oldest is dropped first.
const maxRefused = 10_000

// Refused is an event that could not be forwarded, because of an error of a permanent kind.
type Refused struct {
	// Event is zero if the entry could not be read; Raw is the entry then.
	Event pratique.Event `json:"event,omitzero"`
	Raw   []byte         `json:"raw,omitempty"`
	// Reason is the text of the error, At the time, UTC.
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Refused returns the refused events, the oldest first; at most 10,000 are kept.
func (o *Outbox) Refused() ([]Refused, error) {
	var all []Refused
	err := o.view("read refused events", func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketRefused).ForEach(func(_, v []byte) error {
			var r Refused
			if err := json.Unmarshal(v, &r); err != nil {
				return pratique.Wrap(pratique.Corrupt, "read refused event", "", err)
			}
			all = append(all, r)
			return nil
		})
	})
	return all, err
}

// refuse stores an entry of the log as refused.
func (b *batch) refuse(e logged) error {
	refused := b.bucket(bucketRefused)
	r := Refused{Event: e.event, Reason: e.err.Error(), At: b.now.UTC()}
	if e.event.ID == "" {
		r.Event, r.Raw = pratique.Event{}, b.bucket(bucketLog).Get(e.key)
	}
	value, err := json.Marshal(r)
	if err != nil {
		return pratique.Wrap(pratique.Internal, "refuse event", "", err)
	}
	next, err := refused.NextSequence()
	b.fail(err)
	b.put(refused, number(next), value)
	b.delta.refused++
	if next > maxRefused {
		if old := number(next - maxRefused); refused.Get(old) != nil {
			b.delete(refused, old)
			b.delta.refused--
		}
	}
	return nil
}
