package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/pratique-dev/pratique"
)

// Handler serves /webhooks/{name}.
type Handler struct {
	config    Config
	receivers map[string]*receiver
	decoy     authenticator
}

// New checks the configuration. Errors name the receiver and are Invalid.
func New(c Config) (*Handler, error) {
	const op = "configure webhooks"
	c = c.withDefaults()
	if c.Publisher == nil {
		return nil, pratique.Errorf(pratique.Internal, op, "no publisher")
	}
	h := &Handler{config: c, receivers: map[string]*receiver{}, decoy: decoy()}
	for _, r := range c.Receivers {
		checked, err := newReceiver(r, c.Limits.Concurrent)
		if err != nil {
			return nil, pratique.Wrap(pratique.Invalid, op, r.Name, err)
		}
		if h.receivers[r.Name] != nil {
			return nil, pratique.Wrap(pratique.Invalid, op, r.Name, errors.New("two receivers have this name"))
		}
		h.receivers[r.Name] = checked
	}
	return h, nil
}

// ServeHTTP answers one notification. Mount it at "/webhooks/{name}".
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec, known := h.receivers[r.PathValue("name")]
	if !known {
		h.decoy.accepts(r.Header)
		refuse(w, http.StatusNotFound, "there is no such webhook")
		return
	}
	if status, detail := rec.admit(r); status != 0 {
		h.config.Count(rec.Name, "refused:"+strconv.Itoa(status), 1)
		rec.explain(w, status)
		refuse(w, status, detail)
		return
	}
	select {
	case rec.slots <- struct{}{}:
		defer func() { <-rec.slots }()
	default:
		h.unavailable(w, rec, "too many requests at once")
		return
	}
	body, err := h.read(w, r)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		h.dropAll(w, r, rec, Drop{Reason: "body-too-large", Detail: fmt.Sprintf("more than %d bytes", tooLarge.Limit)})
	case err != nil:
		status := http.StatusBadRequest
		if errors.Is(err, os.ErrDeadlineExceeded) {
			status = http.StatusRequestTimeout
		}
		h.config.Count(rec.Name, "refused:"+strconv.Itoa(status), 1)
		refuse(w, status, "the body did not arrive")
	default:
		h.receive(w, r, rec, body)
	}
}

// admit looks at everything but the body. Status 0 admits.
func (r *receiver) admit(req *http.Request) (int, string) {
	switch {
	case !r.auth.accepts(req.Header):
		return http.StatusUnauthorized, "the header " + r.auth.header + ` is missing or wrong: it must hold the whole configured value, for example "Bearer …"`
	case req.Method != http.MethodPost:
		return http.StatusMethodNotAllowed, "use POST"
	case req.Header.Get("Content-Encoding") != "":
		return http.StatusUnsupportedMediaType, "send the body without a content encoding"
	case !r.format.takes(req.Header.Get("Content-Type")):
		return http.StatusUnsupportedMediaType, "content type is not one of " + r.Format
	}
	return 0, ""
}

// explain adds the headers that a status calls for.
func (r *receiver) explain(w http.ResponseWriter, status int) {
	switch {
	case status == http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case status == http.StatusUnauthorized && r.auth.header == "Authorization":
		w.Header().Set("WWW-Authenticate", `Bearer realm="pratique"`)
	}
}

func (h *Handler) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > h.config.Limits.Body {
		return nil, &http.MaxBytesError{Limit: h.config.Limits.Body} // before a byte of it is read
	}
	// The server takes the deadline away when the body has been read: it does not bound the publishing.
	deadline := time.Now().Add(h.config.Limits.Read) // the connection's clock, not ours
	if err := http.NewResponseController(w).SetReadDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, h.config.Limits.Body))
}

// answer is the body of a 2xx, for people: senders look at the status only.
type answer struct {
	Accepted int            `json:"accepted"`
	Ignored  map[string]int `json:"ignored,omitempty"`
	Dropped  []dropped      `json:"dropped,omitempty"`
}

type dropped struct {
	Reason string `json:"reason"`
	Detail string `json:"detail,omitempty"`
}

func (h *Handler) receive(w http.ResponseWriter, r *http.Request, rec *receiver, body []byte) {
	digest := pratique.DigestOf(body)
	notifications, err := rec.format.parse(r.Header, body)
	if err != nil {
		h.dropAll(w, r, rec, Drop{Reason: "unreadable", Detail: clip(err.Error()), BodyDigest: digest})
		return
	}
	if n := len(notifications); n > h.config.Limits.Events {
		h.dropAll(w, r, rec, Drop{
			Reason: "too-many-events", Detail: fmt.Sprintf("%d events, at most %d", n, h.config.Limits.Events), BodyDigest: digest,
		})
		return
	}
	events, drops, ignored := rec.sort(notifications, h.config.Now())
	// What has arrived is published although the sender may hang up, or the server stop: both end the
	// request's context, and the sender would have to come again for nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), h.config.Limits.Publish)
	defer cancel()
	accepted := 0
	for _, e := range events {
		err := h.config.Publisher.Publish(ctx, e)
		switch {
		case err == nil:
			accepted++
		case pratique.KindOf(err).Permanent():
			drops = append(drops, Drop{Reason: "unpublishable", Detail: clip(err.Error())})
		default:
			h.unavailable(w, rec, "the queue did not acknowledge")
			return
		}
	}
	for i := range drops {
		drops[i].BodyDigest = digest
	}
	h.finish(ctx, w, rec, accepted, ignored, drops)
}

// sort divides an envelope into events to publish, each once, what to drop, and counts of what to ignore.
func (r *receiver) sort(all []Notification, now time.Time) (events []pratique.Event, drops []Drop, ignored map[string]int) {
	ignored = map[string]int{}
	seen := map[string]bool{}
	for _, n := range all {
		if why := r.ignore(n); why != "" {
			ignored[why]++
			continue
		}
		reason, event, err := r.event(n, now)
		switch {
		case err != nil:
			drops = append(drops, Drop{Reason: reason, Detail: clip(err.Error()), SenderID: plain(n.ID)})
		case !seen[event.ID]:
			seen[event.ID] = true
			events = append(events, event)
		}
	}
	return events, drops, ignored
}

func (h *Handler) dropAll(w http.ResponseWriter, r *http.Request, rec *receiver, d Drop) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), h.config.Limits.Publish) // as in receive
	defer cancel()
	h.finish(ctx, w, rec, 0, nil, []Drop{d})
}

// finish records the drops, counts, and answers.
func (h *Handler) finish(ctx context.Context, w http.ResponseWriter, rec *receiver, accepted int, ignored map[string]int, drops []Drop) {
	out := answer{Accepted: accepted, Ignored: ignored}
	for _, d := range drops {
		d.Receiver = rec.Name
		if err := h.config.OnDropped(ctx, d); err != nil {
			h.unavailable(w, rec, "a dropped event could not be recorded")
			return
		}
		out.Dropped = append(out.Dropped, dropped{Reason: d.Reason, Detail: d.Detail})
	}
	status := http.StatusOK
	switch {
	case accepted > 0:
		status = http.StatusAccepted
	case len(drops) > 0:
		status = rec.format.dropStatus
	}
	h.count(rec.Name, out)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // the sender may be gone; the status was what mattered
}

func (h *Handler) count(name string, a answer) {
	if a.Accepted > 0 {
		h.config.Count(name, "accepted", a.Accepted)
	}
	for why, n := range a.Ignored {
		h.config.Count(name, "ignored:"+why, n)
	}
	for _, d := range a.Dropped {
		h.config.Count(name, "dropped:"+d.Reason, 1)
	}
}

func (h *Handler) unavailable(w http.ResponseWriter, rec *receiver, detail string) {
	h.config.Count(rec.Name, "refused:503", 1)
	w.Header().Set("Retry-After", "2")
	refuse(w, http.StatusServiceUnavailable, detail)
}

// refuse answers with problem+json (RFC 9457) and closes the connection, so that an unread body is not read.
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Connection", "close")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}
