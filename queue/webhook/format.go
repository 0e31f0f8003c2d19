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

// Notification is what a sender said, in one shape for all formats and not yet checked.
type Notification struct {
	// ID is the sender's own id, which survives its retries; empty if it gives none.
	ID string
	// Action is [ActionPush] for what may become an event; others are ignored and counted.
	Action Action
	// Host is the registry as the payload names it: compared, never used. Empty if the payload names none.
	Host string
	// OtherHosts are further names of the same registry, where the payload does not say which was used.
	OtherHosts []string
	// Key is the sender's name for a repository of repositories, where it has such (Artifactory, Nexus); see
	// [Receiver.Prefixes].
	Key        string
	Repository string
	Tag        string
	// Digest is the manifest's, or empty: then the registry is asked what the tag names.
	Digest string
	// TagUnknown says that there is no Tag because the sender does not tell it: then the registry is asked which tags name
	// the digest.
	TagUnknown bool
	// MediaType is the manifest's type, ConfigType its configuration's, Layers those of its layers. Each is empty where the
	// sender does not tell; what is told decides.
	MediaType  string
	ConfigType string
	Layers     []string
	Actor      string
	// At is the sender's time; zero if it gave none that can be read.
	At time.Time
	// Subscription is what the sender says it delivers for (Pub/Sub): compared with [Receiver.Subscription].
	Subscription string
	// Err is why this one cannot be read; the others of the body can. Nothing but the ID may be set beside it.
	Err error
}

// Action is what a sender says has happened.
type Action string

// The actions. Any other word is counted as "action".
const (
	ActionPush   Action = "push"
	ActionPull   Action = "pull"
	ActionMount  Action = "mount"
	ActionDelete Action = "delete"
	ActionScan   Action = "scan"   // the registry's own scanner has finished
	ActionOther  Action = "action" // quota, replication, charts and whatever else comes on the same hook
	ActionPing   Action = "ping"   // the sender tries whether somebody is there
	ActionAlien  Action = "not-a-container"
	actionBlob   Action = "blob"
)

// Format is how to read one kind of sender, and how to answer it: a row of the table.
type Format struct {
	Name string
	// Sender is the product's name, for people.
	Sender string
	// Methods are what the sender can do to show who it is; the first is the default.
	Methods []Method
	// Answers are the statuses that this sender understands.
	Answers Answers
	// HostNamed says that every push names the registry, so that one without is wrong. Otherwise a name is compared
	// if there is one.
	HostNamed bool
	// KeyIsPrefix says that the sender's key is the first part of the path where no prefixes are configured.
	KeyIsPrefix bool
	// Digestless says that the sender does not tell the digest of a tag.
	Digestless bool

	contentTypes []string
	// untyped says that the sender may leave the content type out.
	untyped bool
	maxBody int64 // 0 means [Limits.Body]
	// parse is pure. It returns every notification of the body, wanted or not.
	parse func(h http.Header, body []byte) ([]Notification, error)
	// greet answers a request that asks for more than a status; nil if the sender has none such. It is pure too.
	greet func(h http.Header, body []byte) *greeting
	// binaryMode says that the headers may hold the attributes of a CloudEvent.
	binaryMode bool
	// webhookOptions answers OPTIONS as the CloudEvents specification asks (abuse protection).
	webhookOptions bool
	signature      signatureStyle
	// unsigned are the headers that are read although a signature of the body does not cover them: the sender's id of a
	// delivery, and what at most has a notification ignored. Nothing that is stored follows from others.
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
		return nil, fmt.Errorf("what a %s body means is in the expressions of its receiver", name)
	}
	return f.parse(h, body)
}

// covered are the headers of a request whose signature covers the body alone, as far as they may be read.
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

// takes reports whether a content type is among the format's; "+json" there means every type that ends so.
func (f Format) takes(contentType string) bool {
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
