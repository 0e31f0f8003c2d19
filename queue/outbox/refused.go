package outbox

import (
	"encoding/json"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

// maxRefused bounds what is set aside; the oldest goes first.
const maxRefused = 10_000

// Refused is an event that was set aside, since the line behind will never take it.
type Refused struct {
	// Event is zero if the entry could not be read; Raw is the entry then.
	Event pratique.Event `json:"event,omitzero"`
	Raw   []byte         `json:"raw,omitempty"`
	// Reason is the error in words, At when it was set aside, UTC.
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Refused returns the events that were set aside, the oldest first; at most 10,000 are kept.
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

// refuse sets an entry of the log aside.
func (b *batch) refuse(e logged) error {
	refused := b.bucket(bucketRefused)
	r := Refused{Event: e.event, Reason: e.err.Error(), At: b.now.UTC()}
	if e.event.ID == "" {
		r.Event, r.Raw = pratique.Event{}, b.bucket(bucketLog).Get(e.key)
	}
	value, err := json.Marshal(r)
	if err != nil {
		return pratique.Wrap(pratique.Internal, "set event aside", "", err)
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
