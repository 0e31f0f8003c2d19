// Package webhook receives the notifications of registries and publishes them as events.
//
// One receiver is one URL, one sender format, one registry and one set of secrets. What a payload says about
// the registry is compared with the receiver's configuration and never used: an event always carries the
// configured registry, so a forged body cannot make a later stage contact another host.
//
// The answer depends on what went wrong, and for what happens after authentication on the sender, because
// senders treat the same status differently:
//
//   - Method, credentials, content type and content encoding are matters of set-up. They are answered with an
//     honest 4xx. CNCF Distribution repeats such a request for ever and keeps all later events behind it:
//     loud, and nothing is lost while somebody mends the set-up.
//   - What may be wrong with a single event (a body that is too large or not readable, a forged host, a
//     repository that is not allowed, a name outside the grammar) is answered to Distribution with 200, since
//     anybody who may push could otherwise stop the queue with one event. Each is handed to
//     [Config.OnDropped] first, and the answer's body says so; if that record fails the answer is 503.
//     Other senders will have other rows in the table of formats.
//   - No acknowledgement from the queue, or too many requests at once: 503 with Retry-After.
//   - 202 means that every wanted event of the envelope is stored. 200 means that there was none.
//
// Ignored without a record but counted: pulls, mounts, deletes, blobs, signatures and attestations by tag,
// and manifests pushed without a tag. The last are the children of an index, which comes with its own tag, and
// referrers; nothing is judged or deployed because of them unless the receiver says so.
//
// The handler bounds the time to read a body itself. The server around it has to bound the rest:
// ReadHeaderTimeout 10 s, IdleTimeout 2 min, MaxHeaderBytes 64 KiB, and no ReadTimeout shorter than
// [Limits.Read].
package webhook

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// Receiver is one configured webhook.
type Receiver struct {
	// Name is the last part of the URL and the source of its events: lower-case letters, digits, dashes.
	Name string
	// Format is the sender's format, a name from [Formats].
	Format string
	// Registry is the host, with its port if it has one, under which images are pulled and named.
	Registry string
	// Aliases are further hosts by which pushing clients may know the same registry.
	Aliases []string
	// Repositories are the paths to accept: "team/*", "apps/**". None means every repository of the registry.
	Repositories []pratique.Glob
	// Untagged accepts manifests pushed by digest only.
	Untagged bool
	Auth     Auth
}

// Auth says what a request must carry.
type Auth struct {
	// Header is the name of the header; default Authorization.
	Header string
	// Values are all full values that are valid now, such as "Bearer <token>"; two while a secret changes.
	// A secret shorter than 16 characters is refused.
	Values []string
	// Insecure accepts every request. It must be asked for, and excludes Values.
	Insecure bool
}

// Publisher stores an event durably. *queue.Broker is behind it.
type Publisher interface {
	Publish(ctx context.Context, event pratique.Event) error
}

// Drop is something that was refused after authentication although its sender will not send it again.
type Drop struct {
	Receiver string
	// Reason is one of a closed list: body-too-large, unreadable, too-many-events, host, repository,
	// reference, no-id, unpublishable.
	Reason string
	// Detail is for people; it may quote the payload, clipped.
	Detail string
	// SenderID is the sender's id of the event, where there is one; BodyDigest that of the whole body.
	SenderID   string
	BodyDigest pratique.Digest
}

// Limits bounds what a request may cost. Every zero value means its default.
type Limits struct {
	Body       int64         // bytes, default 2 MiB
	Events     int           // per envelope, default 1000
	Concurrent int           // requests per receiver, default 16
	Read       time.Duration // to read a body, default 10 s
	Publish    time.Duration // to publish all events of an envelope and record its drops, default 5 s
}

// Config is what [New] needs.
type Config struct {
	Receivers []Receiver
	Publisher Publisher
	Limits    Limits
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
	// Count hears how many events, or requests, of a receiver had an outcome: "accepted", "ignored:<why>",
	// "dropped:<reason>", "refused:<status>". The values are a closed list. It may be nil.
	Count func(receiver, outcome string, n int)
	// OnDropped records a drop. When it fails the sender is asked to come again. It may be nil.
	OnDropped func(ctx context.Context, d Drop) error
}

func (c Config) withDefaults() Config {
	if c.Limits.Body <= 0 {
		c.Limits.Body = 2 << 20
	}
	if c.Limits.Events <= 0 {
		c.Limits.Events = 1000
	}
	if c.Limits.Concurrent <= 0 {
		c.Limits.Concurrent = 16
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
	if c.OnDropped == nil {
		c.OnDropped = func(context.Context, Drop) error { return nil }
	}
	return c
}

// receiver is a checked Receiver.
type receiver struct {
	Receiver
	format format
	hosts  map[string]bool
	auth   authenticator
	slots  chan struct{}
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func newReceiver(r Receiver, concurrent int) (*receiver, error) {
	if !namePattern.MatchString(r.Name) {
		return nil, fmt.Errorf("name %q: want up to 63 lower-case letters, digits and dashes", r.Name)
	}
	f, ok := formats[r.Format]
	if !ok {
		return nil, fmt.Errorf("format %q: want one of %s", r.Format, strings.Join(Formats(), ", "))
	}
	hosts := map[string]bool{}
	for _, host := range append([]string{r.Registry}, r.Aliases...) {
		if err := (pratique.Repository{Registry: host, Path: "x"}).Validate(); err != nil {
			return nil, err
		}
		hosts[strings.ToLower(host)] = true
	}
	for _, g := range r.Repositories {
		if err := g.Validate(); err != nil {
			return nil, fmt.Errorf("repositories: %w", err)
		}
	}
	auth, err := newAuthenticator(r.Auth)
	if err != nil {
		return nil, err
	}
	return &receiver{Receiver: r, format: f, hosts: hosts, auth: auth, slots: make(chan struct{}, concurrent)}, nil
}
