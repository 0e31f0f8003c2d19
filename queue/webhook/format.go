package webhook

import (
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"time"
)

// Notification is what a sender said, in one shape for all formats and not yet checked.
type Notification struct {
	// ID is the sender's id, which survives its retries.
	ID string
	// Action is "push" for what may become an event; other words are ignored and counted.
	Action string
	// Host is the registry as the payload names it: compared, never used.
	Host       string
	Repository string
	Tag        string
	Digest     string
	MediaType  string
	Actor      string
	// At is the sender's time; zero if it gave none that can be read.
	At time.Time
}

// format is one row of the table: how to read a sender, and how to answer it.
type format struct {
	contentTypes []string
	// parse is pure. It returns every notification of the body, wanted or not.
	parse func(h http.Header, body []byte) ([]Notification, error)
	// dropStatus answers a request that was understood to be wrong after authentication, or in which every
	// event was dropped.
	dropStatus int
}

var formats = map[string]format{
	"distribution": {contentTypes: distributionTypes, parse: parseDistribution, dropStatus: http.StatusOK},
}

// Formats returns the names of the known formats, sorted.
func Formats() []string { return slices.Sorted(maps.Keys(formats)) }

// Parse reads a body in a format. It does no I/O, and returns every notification, wanted or not.
func Parse(name string, h http.Header, body []byte) ([]Notification, error) {
	f, ok := formats[name]
	if !ok {
		return nil, fmt.Errorf("there is no webhook format %q", name)
	}
	return f.parse(h, body)
}

func (f format) takes(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && slices.Contains(f.contentTypes, t)
}
