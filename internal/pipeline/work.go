package pipeline

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/pratique-dev/pratique"
)

// workVersion is the version of messages between stages. It is raised when an older process would
// misunderstand a message, and not for members that an older process may ignore.
const workVersion = 1

// Work is what travels between stages: ids and digests, never documents.
type Work struct {
	Version int            `json:"version"`
	Event   pratique.Event `json:"event"`
	// Subject is what the inspect stage resolved the event's ref to, zero before.
	Subject pratique.Subject `json:"subject,omitzero"`
	// Verdict is the digest of the verdict's document, zero before there is one.
	Verdict pratique.Digest `json:"verdict,omitzero"`
	// Unconfirmed says why the tag of a submission was dropped, empty if it was not.
	Unconfirmed string `json:"unconfirmed,omitempty"`
	// Round counts how often the work was sent back to an earlier stage. A stage reuses nothing in
	// later rounds.
	Round int `json:"round,omitempty"`
	// Targets are all targets that ask for the image, and Target is the one to write. Both are empty
	// until the deploy stage has found them.
	Target  string   `json:"target,omitempty"`
	Targets []string `json:"targets,omitempty"`
	// Unknown are members that this version does not know. They are passed on.
	Unknown jsontext.Value `json:",unknown"`
}

// Encode returns the message.
func (w Work) Encode() ([]byte, error) {
	w.Version = workVersion
	body, err := json.Marshal(w, jsontext.AllowInvalidUTF8(true))
	return body, pratique.Wrap(pratique.Internal, "encode work", w.Event.ID, err)
}

// Message returns the work as a message of a later stage.
func (w Work) Message(stage pratique.Stage) (pratique.Message, error) {
	body, err := w.Encode()
	return pratique.Message{Priority: w.Event.Priority, ID: w.Event.ID + "." + string(stage),
		Body: body}, err
}

// DecodeWork reads a message. A newer version is Unavailable, because another process may understand
// it. A message that cannot be read is Invalid.
func DecodeWork(body []byte) (Work, error) {
	const op = "decode work"
	var w Work
	if err := json.Unmarshal(body, &w, jsontext.AllowInvalidUTF8(true)); err != nil {
		return Work{}, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	if w.Version > workVersion {
		return Work{}, pratique.Errorf(pratique.Unavailable, op,
			"the message is of version %d, this process reads %d: update it", w.Version, workVersion)
	}
	if err := w.Event.Validate(); err != nil {
		return Work{}, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	return w, nil
}
