package pipeline

import (
	"context"
	"encoding/json"
	"strings"
	"unicode"

	"github.com/pratique-dev/pratique"
)

// failedUnread ends an event whose message cannot be read any longer, for example since an update reads names more
// strictly: it was accepted, so it has to end with a name. What of it can still be read, its id and its ref, is taken; a
// message without either ends under an id of its own, made from its bytes, which are kept as a document. Like every failed
// event it is in the list of jobs that nobody took up.
func (b *Base) failedUnread(ctx context.Context, stage string, body []byte, attempt int, cause error) error {
	e := legible(body)
	message := pratique.Excerpt(cause.Error(), mostText)
	if e.ID == "" {
		e.ID = "unreadable-" + pratique.DigestOf(body).Hex()[:32]
		kept, err := b.Documents.Put(ctx, body)
		if err != nil {
			return err
		}
		message += "; the message is document " + kept.String()
	}
	w := Work{Event: e}
	if _, over, err := b.Ledger.Completed(ctx, pratique.Subject{}, e.ID); err != nil || over {
		return err // recorded before, and the message came again
	}
	failed := pratique.Failed{
		Stage: stage, Kind: pratique.Invalid, Message: message, Ref: e.Ref, Attempts: attempt, Final: true,
	}
	if err := b.record(ctx, stage, w, pratique.Subject{}, pratique.Fact{Body: &failed}); err != nil {
		return err
	}
	return unlessCanceled(b.complete(ctx, stage, w, pratique.StateFailed, stage+": "+message))
}

// legible is what can still be read of a message: the id of its event, and the ref if that is one.
func legible(body []byte) pratique.Event {
	var id struct {
		Event struct {
			ID string `json:"id"`
		} `json:"event"`
	}
	const longest = 128
	// What has another shape than this has no id.
	if json.Unmarshal(body, &id) != nil || len(id.Event.ID) > longest || strings.ContainsFunc(id.Event.ID, neverInID) {
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

// neverInID reports whether no id of ours has such a character.
func neverInID(r rune) bool {
	return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '_'
}
