package pipeline

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/pratique-dev/pratique"
)

// workVersion is the version of messages between stages. It rises when an older process would do something else with a
// message than what it says. Members that an older process may do without need no other version.
const workVersion = 1

// Work is what travels between stages: ids and digests, never documents.
type Work struct {
	// Version is that of the process that wrote the message; see [workVersion].
	Version int            `json:"version"`
	Event   pratique.Event `json:"event"`
	// Subject is what the event's ref was resolved to; zero until the inspect stage has done so.
	Subject pratique.Subject `json:"subject,omitzero"`
	// Verdict is the digest of the verdict's document, once there is one.
	Verdict pratique.Digest `json:"verdict,omitzero"`
	// Unconfirmed says why the tag that was submitted beside the digest was taken off; empty if nothing was.
	Unconfirmed string `json:"unconfirmed,omitempty"`
	// Round counts how often the work was sent back to an earlier stage, which then reuses nothing.
	Round int `json:"round,omitempty"`
	// Target is the one that the deploy stage is to write, one of Targets: all that ask for the image. Both are empty until
	// that stage has found out.
	Target  string   `json:"target,omitempty"`
	Targets []string `json:"targets,omitempty"`
	// Unknown are the members that this version does not know. They are passed on.
	Unknown jsontext.Value `json:",unknown"`
}

// encode returns the message.
func (w Work) encode() ([]byte, error) {
	w.Version = workVersion
	body, err := json.Marshal(w, jsontext.AllowInvalidUTF8(true))
	return body, pratique.Wrap(pratique.Internal, "encode work", w.Event.ID, err)
}

// DecodeWork reads a message. One of a newer version is Unavailable, since another process may understand it; one that
// cannot be read is Invalid.
func DecodeWork(body []byte) (Work, error) {
	const op = "decode work"
	var w Work
	if err := json.Unmarshal(body, &w, jsontext.AllowInvalidUTF8(true)); err != nil {
		return Work{}, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	if w.Version > workVersion {
		return Work{}, pratique.Errorf(pratique.Unavailable, op, "the message is of version %d, this process reads %d: update it", w.Version, workVersion)
	}
	if err := w.Event.Validate(); err != nil {
		return Work{}, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	return w, nil
}
