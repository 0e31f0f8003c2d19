package pratique

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// Priority orders work: a push goes before a manual submission, and both before re-evaluating.
type Priority string

// The priorities, most urgent first.
const (
	PriorityPush   Priority = "push"
	PriorityManual Priority = "manual"
	PriorityRescan Priority = "rescan"
)

// Priorities returns every priority, most urgent first.
func Priorities() []Priority { return []Priority{PriorityPush, PriorityManual, PriorityRescan} }

// Event is a push that was reported, by a registry's webhook or by a submission.
type Event struct {
	// ID is deterministic: the same report delivered twice has the same ID. See [EventID].
	ID string `json:"id"`
	// Ref is what the sender said was pushed; its registry comes from the receiver's configuration.
	Ref ImageRef `json:"ref"`
	// Source names the receiver ("distribution", "submission"): who told us.
	Source string `json:"source"`
	// Actor is who pushed, as far as the sender said. It is a claim, not an identity.
	Actor string `json:"actor,omitempty"`
	// Delivery is the sender's own id of the report, which survives its retries; empty if it gives none.
	Delivery string `json:"delivery,omitempty"`
	// Requeues is the event whose work is done anew with this one, because it failed or was canceled.
	Requeues string `json:"requeues,omitempty"`
	// RequeuedBy is who asked for that: the name of a token.
	RequeuedBy string `json:"requeuedBy,omitempty"`
	// Priority is the urgency that the receiver gave the event.
	Priority Priority `json:"priority"`
	// RefreshOnly is set for what a sweep found: it is evaluated and attested, and written only where Git names that very tag
	// already, with another digest or none. A sweep orders nothing.
	RefreshOnly bool `json:"refreshOnly,omitempty"`
	// AllowOlder says that whoever asked has the right to go back: the image is written although a newer one stands in
	// Git, or somebody took this one away.
	AllowOlder bool `json:"allowOlder,omitempty"`
	// TagUnknown says that a tag was pushed and the sender named only its digest: the registry is asked which tags name it,
	// and each is an event of its own.
	TagUnknown bool `json:"tagUnknown,omitempty"`
	// OccurredAt is the sender's time, zero if it gave none; ReceivedAt is ours. Both are UTC.
	OccurredAt time.Time `json:"occurredAt,omitzero"`
	ReceivedAt time.Time `json:"receivedAt"`
}

// SourceSubmission is the source of the events that people and programs submit. All other sources are receivers and sweeps.
const SourceSubmission = "submission"

// EventID derives the identity of a report: source, ref, and the sender's own id of the delivery where it
// has one that survives retries. With such an id, pushing A, B and A again to one tag gives three ids, while
// a retried delivery keeps its own.
func EventID(source string, ref ImageRef, senderID string) string {
	h := sha256.New()
	for _, part := range []string{source, ref.String(), senderID} {
		// The length before each part keeps ("ab","c") and ("a","bc") apart.
		fmt.Fprintf(h, "%d:", len(part))
		_, _ = io.WriteString(h, part) // a hash never fails to write
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// PushedAt orders pushes of different tags: it is the sender's time, and ours where the sender's
// clock is ahead or it gave none.
func (e Event) PushedAt() time.Time {
	if e.OccurredAt.IsZero() || e.OccurredAt.After(e.ReceivedAt) {
		return e.ReceivedAt
	}
	return e.OccurredAt
}

// Validate checks an event that came over the wire.
func (e Event) Validate() error {
	if e.ID == "" {
		return fmt.Errorf("event without an id")
	}
	if err := e.Ref.Validate(); err != nil {
		return fmt.Errorf("event %s: %w", e.ID, err)
	}
	return nil
}
