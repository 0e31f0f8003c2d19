package pipeline

import (
	"context"
	"encoding/json"
	"strings"
	"unicode"

	"github.com/pratique-dev/pratique"
)

// failUnreadable ends an event whose message cannot be read any more, for example because an update
// is stricter about names. The event was accepted, so it has to end in a state. Its id and its ref
// are taken from the message if they can be read. A message without an id gets one that is made
// from its bytes, which are stored as a document.
func (b *Base) failUnreadable(ctx context.Context, f Failure) error {
	e := readableEvent(f.Body)
	message := Excerpt(f.Cause.Error())
	if e.ID == "" {
		e.ID = "unreadable-" + pratique.DigestOf(f.Body).Hex()[:32]
		stored, err := b.Unreadable.Put(ctx, f.Body)
		if err != nil {
			return err
		}
		message += "; the message is document " + stored.String()
	}
	w := Work{Event: e}
	if _, over, err := b.Facts.Completed(ctx, pratique.Subject{}, e.ID); err != nil || over {
		return err // the message was redelivered
	}
	failed := pratique.Failed{
		Stage: f.Stage, Kind: pratique.Invalid, Message: message, Ref: e.Ref, Attempts: f.Attempt,
		Final: true,
	}
	if err := b.Record(ctx, w, pratique.Subject{}, &failed); err != nil {
		return err
	}
	return IgnoreCanceled(b.Complete(ctx, w, pratique.StateFailed, f.Stage+": "+message))
}

// readableEvent returns the id of a message's event, and its ref if that is valid.
func readableEvent(body []byte) pratique.Event {
	var id struct {
		Event struct {
			ID string `json:"id"`
		} `json:"event"`
	}
	const maxID = 128
	if json.Unmarshal(body, &id) != nil || len(id.Event.ID) > maxID ||
		strings.ContainsFunc(id.Event.ID, invalidInID) {
		return pratique.Event{}
	}
	e := pratique.Event{ID: id.Event.ID}
	var ref struct {
		Event struct {
			Ref pratique.ImageRef `json:"ref"`
		} `json:"event"`
	}
	if json.Unmarshal(body, &ref) == nil && ref.Event.Ref.Validate() == nil {
		e.Ref = ref.Event.Ref
	}
	return e
}

// invalidInID reports whether a character is in none of our ids.
func invalidInID(r rune) bool {
	return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '_'
}
