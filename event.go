package pratique

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// Priority orders work: a push goes before a manual submission, and both before a rescan.
type Priority string

// The priorities, most urgent first.
const (
	PriorityPush   Priority = "push"
	PriorityManual Priority = "manual"
	PriorityRescan Priority = "rescan"
)

// Priorities returns every priority, most urgent first.
func Priorities() []Priority { return []Priority{PriorityPush, PriorityManual, PriorityRescan} }

// Event is a push that was reported by a webhook, or a submission.
type Event struct {
	// ID is deterministic: the same report delivered twice has the same ID. See [EventID].
	ID string `json:"id"`
	// Ref is what the sender said was pushed; its registry comes from the receiver's configuration.
	Ref ImageRef `json:"ref"`
	// Source names the receiver, or says "submission".
	Source string `json:"source"`
	// Actor is who pushed according to the sender. It is a claim, not an identity.
	Actor string `json:"actor,omitempty"`
	// Delivery is the sender's own id of the report, which its retries keep; empty if it gives none.
	Delivery string `json:"delivery,omitempty"`
	// Requeues is the failed or canceled event that this one requeues.
	Requeues string `json:"requeues,omitempty"`
	// RequeuedBy is the name of the token that requeued it.
	RequeuedBy string `json:"requeuedBy,omitempty"`
	// Priority is the urgency that the receiver gave the event.
	Priority Priority `json:"priority"`
	// RefreshOnly is set for pushes that a sweep found. They are evaluated and attested, and written
	// only where Git names that tag already, with another digest or none. A sweep does not know the
	// order of pushes.
	RefreshOnly bool `json:"refreshOnly,omitempty"`
	// AllowOlder allows to deploy the image although Git has a newer one, or somebody removed this
	// one.
	AllowOlder bool `json:"allowOlder,omitempty"`
	// TagUnknown says that a tag was pushed and the sender named only its digest. The registry is
	// asked which tags name it, and each is an event of its own.
	TagUnknown bool `json:"tagUnknown,omitempty"`
	// OccurredAt is the sender's time, zero if it gave none; ReceivedAt is ours. Both are UTC.
	OccurredAt time.Time `json:"occurredAt,omitzero"`
	ReceivedAt time.Time `json:"receivedAt"`
}

// SourceSubmission is the source of submissions. Other sources are receivers, sweeps, and the
// service itself, which has images evaluated again after a rescan or a denial.
const SourceSubmission = "submission"

// EventID derives the id of an event from its source, its ref, and the sender's own id of the
// delivery, if that survives retries. With such an id, pushing A, B and A again to one tag gives
// three ids, while a retried delivery keeps its own.
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

// Validate checks an event that was decoded.
func (e Event) Validate() error {
	if e.ID == "" {
		return fmt.Errorf("event without an id")
	}
	if err := e.Ref.Validate(); err != nil {
		return fmt.Errorf("event %s: %w", e.ID, err)
	}
	return nil
}
