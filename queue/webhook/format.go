package webhook

import (
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Notification is what a sender reported, in one form for all formats, unchecked.
type Notification struct {
	// ID is the sender's own id, which survives its retries; empty if it gives none.
	ID string
	// Action is [ActionPush] for what may become an event; others are ignored and counted.
	Action Action
	// Host is the registry as the payload names it: compared, never used. Empty if the payload
	// names none.
	Host string
	// OtherHosts are further names of the same registry, where the payload does not say which was
	// used.
	OtherHosts []string
	// Key is the sender's name for a repository of repositories, where it has such (Artifactory,
	// Nexus); see [Receiver.Prefixes].
	Key        string
	Repository string
	Tag        string
	// Digest is the manifest's, or empty: then the registry is asked what the tag names.
	Digest string
	// TagUnknown is set if the sender does not report tags: then the registry is asked which tags
	// name the digest.
	TagUnknown bool
	// MediaType is the type of the manifest, ConfigType that of its configuration, Layers those of
	// its layers. Each is empty if the sender does not report it.
	MediaType  string
	ConfigType string
	Layers     []string
	Actor      string
	// At is the sender's time, zero if there is none that can be read.
	At time.Time
	// Subscription is the one that the message was delivered for (Pub/Sub): compared with
	// [Receiver.Subscription].
	Subscription string
	// Err is why this notification of the body cannot be read. Only the ID may be set with it.
	Err error
}

// Action is what happened, as the sender reports it.
type Action string

// The actions. Any other word is counted as "action".
const (
	ActionPush     Action = "push"
	ActionPull     Action = "pull"
	ActionMount    Action = "mount"
	ActionDelete   Action = "delete"
	ActionScan     Action = "scan"   // by the registry's own scanner
	ActionOther    Action = "action" // quota, replication, charts and others
	ActionPing     Action = "ping"   // a test by the sender
	ActionNotImage Action = "not-a-container"
	actionBlob     Action = "blob"
)

// Format describes how to read one kind of sender, and how to answer it.
type Format struct {
	Name string
	// Sender is the product's name, for people.
	Sender string
	// Methods are those that the sender supports; the first is the default.
	Methods []Method
	// Answers are the statuses that this sender understands.
	Answers Answers
	// HostNamed is set if every push names the registry, so that one without is invalid. Otherwise
	// a name is compared if there is one.
	HostNamed bool
	// KeyIsPrefix is set if the sender's key is the first part of the path when no prefixes are
	// configured.
	KeyIsPrefix bool
	// Digestless is set if the sender does not report the digest of a tag.
	Digestless bool

	contentTypes []string
	// untyped is set if the sender may omit the content type.
	untyped bool
	maxBody int64 // 0 means [Limits.Body]
	// parse is pure. It returns every notification of the body, wanted or not.
	parse func(h http.Header, body []byte) ([]Notification, error)
	// handshake answers a request that needs more than a status; nil if there is none. It is pure.
	handshake func(h http.Header, body []byte) *handshake
	// binaryMode is set if the headers may hold the attributes of a CloudEvent.
	binaryMode bool
	// webhookOptions answers OPTIONS as the CloudEvents specification asks (abuse protection).
	webhookOptions bool
	signature      signatureFormat
	// unsigned are the headers that are read although a signature of the body does not cover them:
	// the id of a delivery, and those that can at most cause a notification to be ignored.
	unsigned []string
	// header is where [MethodHeader] has the secret; empty means Authorization.
	header string
}

// Formats returns the table, in the order of names.
func Formats() []Format {
	all := []Format{
		distribution(), gitlab(),
		dockerhub(), ghcr(), harbor(), quay(), ecr(), gar(), acr(), eventgrid(),
		artifactory(), cdevents(), cloudevents(), generic(), gitea(), nexus(), zot(),
	}
	slices.SortFunc(all, func(a, b Format) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// FormatNames returns the names of the known formats, sorted.
func FormatNames() []string {
	return slices.Sorted(maps.Keys(formatsByName()))
}

func formatsByName() map[string]Format {
	byName := map[string]Format{}
	for _, f := range Formats() {
		byName[f.Name] = f
	}
	return byName
}

// Parse reads a body in a format. It does no I/O, and returns every notification, wanted or not.
func Parse(name string, h http.Header, body []byte) ([]Notification, error) {
	f, ok := formatsByName()[name]
	if !ok {
		return nil, fmt.Errorf("there is no webhook format %q", name)
	}
	if f.parse == nil {
		return nil, fmt.Errorf("a %s body is read by the expressions of its receiver", name)
	}
	return f.parse(h, body)
}

// covered returns the headers that may be read of a request whose signature covers the body alone.
func (f Format) covered(h http.Header) http.Header {
	kept := http.Header{}
	for _, name := range append([]string{"Content-Type"}, f.unsigned...) {
		name = http.CanonicalHeaderKey(name)
		if values, ok := h[name]; ok {
			kept[name] = values
		}
	}
	return kept
}

// takes reports whether a content type is among the format's; "+json" there means every type that
// ends so.
func (f Format) accepts(contentType string) bool {
	if contentType == "" {
		return f.untyped
	}
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && slices.ContainsFunc(f.contentTypes, func(want string) bool {
		if want == anyJSON {
			return strings.Contains(t, "/") && strings.HasSuffix(t, anyJSON)
		}
		return t == want
	})
}

const anyJSON = "+json"
