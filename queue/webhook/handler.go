package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// Handler serves /webhooks/{name} and /webhooks/{name}/{secret}.
type Handler struct {
	config    Config
	receivers map[string]*receiver
	dummy     *authenticator
	// Bodies of senders that sign are read before their sender is authenticated. They have a budget
	// of their own, so that strangers cannot keep authenticated senders out.
	authenticated, unauthenticated *budget
}

// New checks the configuration. Errors name the receiver and are Invalid.
func New(c Config) (*Handler, error) {
	const op = "configure webhooks"
	c = c.withDefaults()
	if c.Publisher == nil {
		return nil, pratique.Errorf(pratique.Internal, op, "no publisher")
	}
	h := &Handler{config: c, receivers: map[string]*receiver{}, dummy: dummy(),
		authenticated: &budget{most: c.Limits.Memory}, unauthenticated: &budget{most: c.Limits.Memory}}
	for _, r := range c.Receivers {
		checked, err := newReceiver(r, c.Limits.Concurrent)
		if err != nil {
			return nil, pratique.Wrap(pratique.Invalid, op, r.Name, err)
		}
		if h.receivers[r.Name] != nil {
			return nil, pratique.Wrap(pratique.Invalid, op, r.Name,
				errors.New("two receivers have this name"))
		}
		h.receivers[r.Name] = checked
	}
	return h, nil
}

// SetSecrets replaces the secrets of a receiver; all of them are valid. If one is refused nothing
// changes, and the error is Invalid.
func (h *Handler) SetSecrets(name string, all []string) error {
	const op = "change secrets"
	rec, known := h.receivers[name]
	if !known {
		return pratique.Errorf(pratique.Invalid, op, "there is no receiver %q", pratique.Clip(name))
	}
	return pratique.Wrap(pratique.Invalid, op, name, rec.auth.set(all))
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	w.Header().Set("Referrer-Policy", "no-referrer") // the URL may hold a secret
	rec, known := h.receivers[r.PathValue("name")]
	// A secret in the URL of a receiver that expects it elsewhere is a path that does not exist.
	if !known || rec.Closed || (r.PathValue("secret") != "") != rec.secretInURL() {
		_ = h.dummy.match(h.dummy.single(r.Header)) // for constant time
		h.config.OnRefused(refusal(r, "", http.StatusNotFound, noSuchWebhook))
		refuse(w, http.StatusNotFound, noSuchWebhook)
		return
	}
	status := h.serve(w, r, rec)
	h.config.Observe(rec.Name, status, time.Since(started))
}

const noSuchWebhook = "there is no such webhook"

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, rec *receiver) int {
	if err := rec.auth.admits(r); err != nil {
		return h.deny(w, r, rec, err)
	}
	if r.Method == http.MethodOptions && rec.format.webhookOptions {
		if err := rec.auth.signed(r.Header, nil); err != nil { // there is no body that could be signed
			return h.deny(w, r, rec, err)
		}
		return allowOrigin(w, r)
	}
	if status, detail := rec.admit(r); status != 0 {
		return h.refuse(w, r, rec, status, detail)
	}
	budget := h.authenticated
	if rec.auth.signs() {
		budget = h.unauthenticated
	}
	body, held, err := h.read(w, r, rec, budget)
	defer budget.release(held)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		// A signature cannot be checked without the body, so this may come from anybody: it is
		// counted, not recorded.
		if rec.auth.signs() && !rec.auth.insecure {
			return h.refuse(w, r, rec, rec.format.Answers.tooLarge(), tooLarge(large.Limit).Detail)
		}
		out, err := h.record(r.Context(), rec, nil, nil, []Drop{tooLarge(large.Limit)})
		return h.answer(w, r, rec, out, err, rec.format.Answers.tooLarge())
	case errors.Is(err, errBudget):
		return h.busy(w, r, rec, err.Error())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return h.refuse(w, r, rec, http.StatusRequestTimeout, "the body did not arrive")
	case err != nil:
		return h.refuse(w, r, rec, http.StatusBadRequest, "the body did not arrive")
	}
	if err := rec.auth.signed(r.Header, body); err != nil {
		return h.deny(w, r, rec, err)
	}
	if why := rec.uncovered(r.Header); why != "" {
		return h.refuse(w, r, rec, http.StatusBadRequest, why)
	}
	return h.handle(w, r, rec, body)
}

// handle handles a request whose sender is authenticated.
func (h *Handler) handle(w http.ResponseWriter, r *http.Request, rec *receiver, body []byte) int {
	select {
	case rec.slots <- struct{}{}:
		defer func() { <-rec.slots }()
	default:
		return h.busy(w, r, rec, "too many requests at once")
	}
	if g := rec.handshake(r.Header, body); g != nil {
		h.config.Count(rec.Name, "ignored:"+g.reason, 1)
		return reply(w, http.StatusOK, g.body)
	}
	out, err := h.receive(r.Context(), rec, senderOf(r), r.Header, body)
	return h.answer(w, r, rec, out, err, rec.format.Answers.Refused)
}

// deny answers a sender that is not authenticated, or whose token cannot be checked now.
func (h *Handler) deny(w http.ResponseWriter, r *http.Request, rec *receiver, err error) int {
	detail := err.Error()
	if rec.auth.method == MethodOIDC {
		// Someone with another token of the issuer must not learn what a valid one would need.
		h.config.OnError(rec.Name, err)
		detail = "the token is missing, or not one of the configured sender"
	}
	switch {
	case pratique.KindOf(err) != pratique.Denied:
		return h.busy(w, r, rec, "the sender's token cannot be checked now")
	case rec.secretInURL():
		return h.refuse(w, r, rec, http.StatusNotFound, noSuchWebhook)
	case rec.auth.header == "Authorization" && rec.auth.method == MethodBasic:
		w.Header().Set("WWW-Authenticate", `Basic realm="pratique"`)
	case rec.auth.header == "Authorization":
		w.Header().Set("WWW-Authenticate", `Bearer realm="pratique"`)
	}
	return h.refuse(w, r, rec, http.StatusUnauthorized, detail)
}

// admit checks everything but the sender and the body. Status 0 admits the request.
func (r *receiver) admit(req *http.Request) (int, string) {
	switch {
	case req.Method != http.MethodPost:
		return http.StatusMethodNotAllowed, "use POST"
	case req.Header.Get("Content-Encoding") != "":
		return http.StatusUnsupportedMediaType, "send the body without a content encoding"
	case !r.format.accepts(req.Header.Get("Content-Type")):
		return http.StatusUnsupportedMediaType, fmt.Sprintf("the content type is not one of %s: %s",
			r.Format, strings.Join(r.format.contentTypes, ", "))
	}
	return 0, ""
}

// read also returns the bytes held in the budget, which the caller releases in any case.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, rec *receiver,
	budget *budget) (body []byte, held int64, err error) {
	most := h.config.bodyLimit(rec.format)
	if r.ContentLength > most {
		return nil, 0, &http.MaxBytesError{Limit: most} // before any byte is read
	}
	// The server resets the deadline when the body has been read, so it does not bound the storing.
	deadline := time.Now().Add(h.config.Limits.Read) // the connection's clock, not ours
	if err := http.NewResponseController(w).SetReadDeadline(deadline); err != nil &&
		!errors.Is(err, http.ErrNotSupported) {
		return nil, 0, err
	}
	return budget.read(http.MaxBytesReader(w, r.Body, most))
}

// answer answers with the status that the sender understands; refused is the one for a request with
// errors.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, rec *receiver, out Outcome,
	err error, refused int) int {
	status := rec.format.Answers.Ignored
	switch {
	case err != nil:
		h.config.OnError(rec.Name, err)
		return h.busy(w, r, rec, "the events could not be stored now")
	case out.Accepted > 0:
		status = http.StatusAccepted
	// with duplicates it was answered with 202 before
	case out.refused() && out.Ignored[ReasonRepeat] == 0:
		status = refused
	}
	return reply(w, status, out)
}

func reply(w http.ResponseWriter, status int, body any) int {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the sender may be gone; only the status matters
	return status
}

// busy asks the sender to try again.
func (h *Handler) busy(w http.ResponseWriter, r *http.Request, rec *receiver, detail string) int {
	w.Header().Set("Retry-After", "2")
	return h.refuse(w, r, rec, rec.format.Answers.Busy, detail)
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, rec *receiver, status int,
	detail string) int {
	h.config.Count(rec.Name, "refused:"+strconv.Itoa(status), 1)
	h.config.OnRefused(refusal(r, rec.Name, status, detail))
	if status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", http.MethodPost)
	}
	refuse(w, status, detail)
	return status
}

// refusal describes a refused request for the log, without its URL, which may hold a secret.
func refusal(r *http.Request, receiver string, status int, detail string) Refused {
	return Refused{Receiver: receiver, Sender: senderOf(r), Status: status, Detail: detail}
}

func senderOf(r *http.Request) Sender {
	return Sender{Remote: plain(r.RemoteAddr), Forwarded: plain(r.Header.Get("X-Forwarded-For"))}
}

// refuse answers with problem+json (RFC 9457) and closes the connection, so that the rest of the
// body is not read.
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Connection", "close")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status,
		"detail": detail})
}

// allowOrigin answers the handshake of CloudEvents over HTTP (abuse protection): everybody who
// knows the URL may send. A callback that the request names is never called.
func allowOrigin(w http.ResponseWriter, r *http.Request) int {
	if origin := r.Header.Get("WebHook-Request-Origin"); origin != "" {
		w.Header().Set("WebHook-Allowed-Origin", plain(origin))
		w.Header().Set("WebHook-Allowed-Rate", "*")
	}
	w.Header().Set("Allow", http.MethodPost)
	w.WriteHeader(http.StatusOK)
	return http.StatusOK
}
