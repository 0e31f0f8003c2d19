// Package webhook receives the notifications of registries, and hands the pushes in them on as
// events.
//
// One receiver is one URL, one sender format, one registry and one set of secrets. What a payload
// says about the registry is compared with the receiver's configuration and never used: an event
// always carries the configured registry, so a forged body cannot make a later stage contact
// another host. No URL in a payload is ever called.
//
// A format is one file and one row of the table in format.go: a pure function from header and body
// to notifications, how the sender can show who it is, and which statuses it understands. The
// answer depends on what went wrong:
//
//   - Method, credentials, content type and content encoding are matters of set-up. They are answered with an
//     honest 4xx, also to CNCF Distribution, which repeats such a request for ever and keeps all later events
//     behind it: that is noticed, and nothing is lost until the set-up is fixed. A wrong secret in a URL is 404.
//   - What may be wrong with a single event (a body that is too large or not readable, a forged host, a name
//     outside the grammar) is answered with the status in the sender's row, see [Answers], and handed to
//     [Config.OnDropped] first. If that fails the sender is asked to try again. The valid events of the request are
//     stored all the same, and then the answer is 202.
//   - A repository that is not allowed is answered with 200: one hook often serves several users.
//   - Nothing could be stored, or too many requests at once: 503 with Retry-After, 429 where the sender wants that.
//   - 202 means that every wanted event of the request is stored. 200 means that there was none, or that all were
//     duplicates.
//
// Ignored without a record but counted: pulls, mounts, deletes, blobs, scans, signatures and
// attestations by tag or by what is in them, and manifests pushed without a tag. The last are the
// children of an index, which comes with its own tag, and referrers; nothing is evaluated or
// deployed because of them unless the receiver says so.
//
// The handler bounds the time to read a body itself. The server around it has to bound the rest:
// ReadHeaderTimeout 10 s, IdleTimeout 2 min, MaxHeaderBytes 64 KiB, and no ReadTimeout shorter than
// [Limits.Read].
package webhook

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// Receiver is one configured webhook.
type Receiver struct {
	// Name is the last part of the URL and the source of its events: lower-case letters, digits,
	// dashes.
	Name string
	// Format is the sender's format, a name from [Formats].
	Format string
	// Registry is the host, with its port if it has one, under which images are pulled and named.
	Registry string
	// Aliases are further hosts by which pushing clients may know the same registry.
	Aliases []string
	// Repositories are the paths to accept: "team/*", "apps/**". None means every repository of the
	// registry.
	Repositories []pratique.Glob
	// Prefixes says which path the sender's own key for a repository of repositories stands for
	// (Artifactory's repo_key, Nexus's repositoryName); the empty path is the registry's root.
	// Other keys are refused. Without any, the format's own rule counts.
	Prefixes map[string]string
	// Untagged accepts manifests pushed by digest only.
	Untagged bool
	// Subscription is what the sender must name; empty takes any. Only Pub/Sub names one:
	// projects/PROJECT/subscriptions/NAME.
	Subscription string
	// Closed serves no HTTP: the events arrive by [Handler.Receive]. Auth is not used.
	Closed bool
	Auth   Auth
	// Parse reads bodies of the generic format, and must be nil for all others.
	Parse func(h http.Header, body []byte) ([]Notification, error)
}

// Publisher stores the events of one request durably, all or none, and gives each its id. It
// returns how many were new; the others are duplicates.
type Publisher interface {
	Publish(ctx context.Context, events []pratique.Event) (stored int, err error)
}

// Drop is a notification that is not stored although its sender may not send it again.
type Drop struct {
	// Reason is one of a closed list: body-too-large, unreadable, too-many-events, host,
	// repository, reference, subscription.
	Reason string
	// Detail is for people; it may quote the payload, in part.
	Detail string
	// SenderID is the sender's id of the event, where there is one.
	SenderID string
}

// ReasonRepository is the reason of drops that are no error: one hook often serves several users.
const ReasonRepository = "repository"

// Refusal is what was dropped of one request, and its body unless that was too large.
type Refusal struct {
	Receiver string
	Drops    []Drop
	Body     []byte
}

// Sender is where an HTTP request came from.
type Sender struct {
	// Remote is the address of the connection; Forwarded is what a proxy in front says of it, which
	// anybody can forge.
	Remote, Forwarded string
}

// Refused is a request that was refused as a whole. Its texts come from the sender; they are
// printable and short.
type Refused struct {
	// Receiver is empty if the URL names none.
	Receiver string
	Sender
	Status int
	// Detail is what the answer says; for a missing or wrong secret it names the header.
	Detail string
}

// Ignored is a push, or several of one request, that had no effect.
type Ignored struct {
	Receiver, Reason string
	Sender
	// Image is the first of them as the sender named it, N their number.
	Image string
	N     int
}

// Limits bounds what a request may cost. Every zero value means its default.
type Limits struct {
	Body int64 // bytes, default 2 MiB; some senders need more and have it
	// bytes of all bodies at once, default 64 MiB; as much again before authentication
	Memory     int64
	Events     int           // per envelope, default 1000
	Concurrent int           // requests per receiver whose events are being stored, default 512
	Read       time.Duration // to read a body, default 10 s
	Publish    time.Duration // to store the events of a request and record its drops, default 5 s
}

// Config is what [New] needs.
type Config struct {
	Receivers []Receiver
	Publisher Publisher
	Limits    Limits
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
	// Count is called with how many events, or requests, of a receiver had an outcome: "accepted",
	// "ignored:<why>", "dropped:<reason>", "refused:<status>". The values are a closed list. It may
	// be nil.
	Count func(receiver, outcome string, n int)
	// Observe is called for each answered request. It may be nil.
	Observe func(receiver string, status int, took time.Duration)
	// OnRefused is called for each request that was refused as a whole. It may be nil.
	OnRefused func(r Refused)
	// OnIgnored is called for pushes without effect: duplicates, and those that are not of an image
	// under a tag. It may be nil.
	OnIgnored func(i Ignored)
	// OnDropped records what was dropped of a request. If it fails the sender is asked to try
	// again. It may be nil.
	OnDropped func(ctx context.Context, r Refusal) error
	// OnError is called with errors that a sender is not told: why something could not be stored,
	// what was wrong with a token. It may be nil.
	OnError func(receiver string, err error)
}

func (c Config) withDefaults() Config {
	if c.Limits.Body <= 0 {
		c.Limits.Body = 2 << 20
	}
	if c.Limits.Events <= 0 {
		c.Limits.Events = 1000
	}
	if c.Limits.Memory <= 0 {
		c.Limits.Memory = 64 << 20
	}
	if c.Limits.Concurrent <= 0 {
		c.Limits.Concurrent = 512
	}
	if c.Limits.Read <= 0 {
		c.Limits.Read = 10 * time.Second
	}
	if c.Limits.Publish <= 0 {
		c.Limits.Publish = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Count == nil {
		c.Count = func(string, string, int) {}
	}
	if c.Observe == nil {
		c.Observe = func(string, int, time.Duration) {}
	}
	if c.OnRefused == nil {
		c.OnRefused = func(Refused) {}
	}
	if c.OnIgnored == nil {
		c.OnIgnored = func(Ignored) {}
	}
	if c.OnDropped == nil {
		c.OnDropped = func(context.Context, Refusal) error { return nil }
	}
	if c.OnError == nil {
		c.OnError = func(string, error) {}
	}
	return c
}

// bodyLimit returns how large a body of the format may be.
func (c Config) bodyLimit(f Format) int64 { return max(c.Limits.Body, f.maxBody) }

// receiver is a checked Receiver.
type receiver struct {
	Receiver
	format Format
	parse  func(h http.Header, body []byte) ([]Notification, error)
	hosts  map[string]bool
	auth   *authenticator
	slots  chan struct{}
	// bodyOnly is set if the sender's signature covers the body, and no header.
	bodyOnly bool
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func newReceiver(r Receiver, concurrent int) (*receiver, error) {
	if !namePattern.MatchString(r.Name) {
		return nil, fmt.Errorf("name %q: want up to 63 lower-case letters, digits and dashes", r.Name)
	}
	f, ok := formatsByName()[r.Format]
	if !ok {
		return nil, fmt.Errorf("format %q: want one of %s", r.Format, strings.Join(FormatNames(), ", "))
	}
	f.Answers = f.Answers.withDefaults()
	out := &receiver{Receiver: r, format: f, parse: f.parse, hosts: map[string]bool{},
		slots: make(chan struct{}, concurrent)}
	switch {
	case (f.parse == nil) != (r.Parse != nil):
		return nil, fmt.Errorf("format %s: only generic, and always generic, needs expressions", r.Format)
	case f.parse == nil:
		out.parse = r.Parse
	}
	if err := out.checkNames(); err != nil {
		return nil, err
	}
	if r.Closed {
		r.Auth = Auth{Insecure: true}
	}
	var err error
	if out.auth, err = newAuthenticator(r.Auth, f); err != nil {
		return nil, err
	}
	out.bodyOnly = out.auth.signs() && !out.auth.insecure
	return out, nil
}

func (r *receiver) checkNames() error {
	for _, host := range append([]string{r.Registry}, r.Aliases...) {
		if err := (pratique.Repository{Registry: host, Path: "x"}).Validate(); err != nil {
			return err
		}
		r.hosts[strings.ToLower(host)] = true
	}
	for _, g := range r.Repositories {
		if err := g.Validate(); err != nil {
			return fmt.Errorf("repositories: %w", err)
		}
	}
	for key, prefix := range r.Prefixes {
		if prefix == "" {
			continue
		}
		if err := (pratique.Repository{Registry: r.Registry, Path: prefix}).Validate(); err != nil {
			return fmt.Errorf("prefixes: %s: %w", key, err)
		}
	}
	return nil
}

func (r *receiver) secretInURL() bool { return r.auth.method == MethodURL && !r.auth.insecure }
