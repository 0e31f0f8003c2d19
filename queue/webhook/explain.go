package webhook

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// NoRegistry is the registry in results of [Explain] if neither receiver nor sender names one.
const NoRegistry = "registry.invalid"

// Explained is the result for one notification, or for a request that is refused as a whole:
// exactly one of Event, Ignored and Dropped is set.
type Explained struct {
	Notification Notification
	Event        *pratique.Event
	// Ignored is the reason why it is ignored. Dropped is the reason why it is dropped, or the
	// status of a refused request, and Detail the text for people.
	Ignored, Dropped, Detail string
}

// Explain reads a request as the receiver would, with the default [Limits], without authentication
// and without storing anything. An empty method and a missing content type stand for those of the
// sender. A receiver without a registry accepts every host. greeted reports a handshake. Errors are
// Invalid: the receiver is not valid, or the body cannot be read.
func Explain(r Receiver, method string, h http.Header, body []byte) (all []Explained,
	greeted bool, err error) {
	const op = "read notification"
	signs := !r.Auth.Insecure && r.Auth.signsBody(r.Format)
	r.Auth = Auth{Insecure: true}
	anyHost := r.Registry == ""
	if anyHost {
		r.Registry = NoRegistry
	}
	rec, err := newReceiver(r, 1)
	if err != nil {
		return nil, false, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	rec.bodyOnly = signs
	if method == http.MethodOptions && rec.format.webhookOptions {
		if signs {
			return []Explained{{Dropped: "401",
				Detail: "a sender that signs bodies cannot do this handshake"}}, false, nil
		}
		return nil, true, nil
	}
	if refused := rec.refused(method, h, body); refused != nil {
		return []Explained{*refused}, false, nil
	}
	if rec.handshake(h, body) != nil {
		return nil, true, nil
	}
	if why := rec.uncovered(h); why != "" {
		return []Explained{{Dropped: strconv.Itoa(http.StatusBadRequest), Detail: why}}, false, nil
	}
	notifications, err := rec.read(h, body)
	if err != nil {
		return nil, false, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	if most := (Config{}).withDefaults().Limits.Events; len(notifications) > most {
		return []Explained{{Dropped: "too-many-events", Detail: fmt.Sprintf("%d events, at most %d",
			len(notifications), most)}}, false, nil
	}
	for _, n := range notifications {
		if anyHost && n.Host != "" {
			rec.Registry, rec.hosts = n.Host, map[string]bool{strings.ToLower(n.Host): true}
		}
		all = append(all, rec.explain(n))
	}
	return all, false, nil
}

// refused returns why a request is refused as a whole, or nil. It fills in what is missing.
func (r *receiver) refused(method string, h http.Header, body []byte) *Explained {
	request := &http.Request{Method: cmp.Or(method, http.MethodPost), Header: h.Clone()}
	if request.Header == nil {
		request.Header = http.Header{}
	}
	if request.Header.Get("Content-Type") == "" {
		request.Header.Set("Content-Type", r.format.contentTypes[0])
	}
	if status, detail := r.admit(request); status != 0 {
		return &Explained{Dropped: strconv.Itoa(status), Detail: detail}
	}
	if most := (Config{}).withDefaults().bodyLimit(r.format); int64(len(body)) > most {
		d := tooLarge(most)
		return &Explained{Dropped: d.Reason, Detail: d.Detail}
	}
	return nil
}

func (r *receiver) explain(n Notification) Explained {
	out := Explained{Notification: n, Ignored: r.ignore(n)}
	if out.Ignored != "" {
		return out
	}
	reason, event, err := r.event(n, time.Time{})
	if err != nil {
		out.Dropped, out.Detail = reason, err.Error()
		return out
	}
	out.Event = &event
	return out
}
