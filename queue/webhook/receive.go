package webhook

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/pratique-dev/pratique"
)

// Outcome is the result of one request. It is the body of a 2xx, for people: senders only read the
// status.
type Outcome struct {
	Accepted int            `json:"accepted"`
	Ignored  map[string]int `json:"ignored,omitempty"`
	Dropped  []Dropped      `json:"dropped,omitempty"`
}

// Dropped is one event that was refused.
type Dropped struct {
	Reason string `json:"reason"`
	Detail string `json:"detail,omitempty"`
}

// refused reports whether something was wrong. A repository that is not allowed is not: one hook
// often serves several users.
func (o Outcome) refused() bool {
	for _, d := range o.Dropped {
		if d.Reason != ReasonRepository {
			return true
		}
	}
	return false
}

// ReasonRepeat is the reason of ignored pushes that are duplicates.
const ReasonRepeat = "duplicate"

// Receive receives one body by another transport than HTTP, which has authenticated the sender. If
// the error is nil, every wanted event is stored durably; if it is Unavailable, the body has to be
// sent again. A receiver that does not exist is NotFound.
func (h *Handler) Receive(ctx context.Context, name string, header http.Header,
	body []byte) (Outcome, error) {
	rec, known := h.receivers[name]
	if !known {
		return Outcome{}, pratique.Errorf(pratique.NotFound, "receive", "there is no receiver %q",
			pratique.Clip(name))
	}
	if most := h.config.bodyLimit(rec.format); int64(len(body)) > most {
		return h.record(ctx, rec, nil, nil, []Drop{tooLarge(most)})
	}
	return h.receive(ctx, rec, Sender{}, header, body)
}

func tooLarge(most int64) Drop {
	return Drop{Reason: "body-too-large", Detail: fmt.Sprintf("more than %d bytes", most)}
}

func (h *Handler) receive(ctx context.Context, rec *receiver, from Sender, header http.Header,
	body []byte) (Outcome, error) {
	// What has arrived is stored even if the sender hangs up or the server stops. Both cancel the
	// request's context, and the sender would have to send it again for nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.config.Limits.Publish)
	defer cancel()
	notifications, err := rec.read(header, body)
	if err != nil {
		return h.record(ctx, rec, body, nil,
			[]Drop{{Reason: "unreadable", Detail: pratique.Clip(err.Error())}})
	}
	if n := len(notifications); n > h.config.Limits.Events {
		return h.record(ctx, rec, body, nil, []Drop{{
			Reason: "too-many-events", Detail: fmt.Sprintf("%d events, at most %d", n,
				h.config.Limits.Events),
		}})
	}
	events, drops, ignored := rec.sort(notifications, h.config.Now(), func(i Ignored) {
		i.Sender = from
		h.config.OnIgnored(i)
	})
	stored := 0
	if len(events) > 0 {
		if stored, err = h.config.Publisher.Publish(ctx, events); err != nil {
			return Outcome{}, pratique.Wrap(pratique.Unavailable, "store events", rec.Name, err)
		}
		if again := len(events) - stored; again > 0 {
			ignored[ReasonRepeat] += again
			h.config.OnIgnored(Ignored{Receiver: rec.Name, Sender: from, Reason: ReasonRepeat,
				Image: events[0].Ref.String(), N: again})
		}
	}
	out, err := h.record(ctx, rec, body, ignored, drops)
	if out.Accepted = stored; stored > 0 {
		h.config.Count(rec.Name, "accepted", stored)
	}
	return out, err
}

// read parses a body. A panic is a bug of a parser, and must neither end the process nor make the
// sender repeat the body for ever.
func (r *receiver) read(header http.Header, body []byte) (all []Notification, err error) {
	defer func() {
		if v := recover(); v != nil {
			all, err = nil, fmt.Errorf("the parser of %s failed: %v", r.Format, v)
		}
	}()
	if r.bodyOnly && r.format.parse != nil { // the expressions of the generic format were compiled for it
		header = r.format.covered(header)
	}
	return r.parse(header, body)
}

// uncovered returns why a request with a signed body cannot be read, or "": type, id, source and
// time of a binary CloudEvent are in the header, and someone who saw one request could replay its
// body with others.
func (r *receiver) uncovered(header http.Header) string {
	if !r.bodyOnly || !r.format.binaryMode || !isBinary(header) {
		return ""
	}
	return "the signature covers the body alone, and a CloudEvent in binary mode has its type, id and time in the header: " +
		"send it in structured mode (" + structuredType + "), or in a batch"
}

// record records the drops of one request, and counts.
func (h *Handler) record(ctx context.Context, rec *receiver, body []byte, ignored map[string]int,
	drops []Drop) (Outcome, error) {
	out := Outcome{Ignored: ignored}
	if len(drops) > 0 {
		if err := h.config.OnDropped(ctx, Refusal{Receiver: rec.Name, Drops: drops,
			Body: body}); err != nil {
			return out, pratique.Wrap(pratique.Unavailable, "record a dropped event", rec.Name, err)
		}
	}
	for why, n := range ignored {
		h.config.Count(rec.Name, "ignored:"+why, n)
	}
	for _, d := range drops {
		out.Dropped = append(out.Dropped, Dropped{Reason: d.Reason, Detail: d.Detail})
		h.config.Count(rec.Name, "dropped:"+d.Reason, 1)
	}
	return out, nil
}

// handshake returns the answer to a handshake, nil if the body is none.
func (r *receiver) handshake(header http.Header, body []byte) (g *handshake) {
	if r.format.handshake == nil {
		return nil
	}
	defer func() {
		if recover() != nil { // as in read, which comes next
			g = nil
		}
	}()
	return r.format.handshake(header, body)
}

// sort divides an envelope into events to store, drops, and counts of what to ignore. It reports
// ignored pushes, once for each reason, but not signatures, since each image of ours has some.
func (r *receiver) sort(all []Notification, now time.Time,
	report func(Ignored)) (events []pratique.Event, drops []Drop, ignored map[string]int) {
	ignored = map[string]int{}
	reported := map[string]*Ignored{}
	defer func() {
		for _, i := range reported {
			report(*i)
		}
	}()
	for _, n := range all {
		if why := r.ignore(n); why != "" {
			ignored[why]++
			switch {
			case n.Action != ActionPush || why == signatureTag:
			case reported[why] == nil:
				reported[why] = &Ignored{Receiver: r.Name, Reason: why, Image: named(n), N: 1}
			default:
				reported[why].N++
			}
			continue
		}
		reason, event, err := r.event(n, now)
		if err != nil {
			drops = append(drops, Drop{Reason: reason, Detail: pratique.Clip(err.Error()),
				SenderID: plain(n.ID)})
			continue
		}
		events = append(events, event)
	}
	return events, drops, ignored
}

// named returns the image as the sender names it, for people.
func named(n Notification) string {
	text := n.Repository
	if n.Tag != "" {
		text += ":" + n.Tag
	}
	if n.Digest != "" {
		text += "@" + n.Digest
	}
	return plain(text)
}
