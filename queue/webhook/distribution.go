package webhook

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/pratique-dev/pratique"
)

func distribution() Format {
	return Format{
		Name: "distribution", Sender: "CNCF Distribution", Methods: []Method{MethodHeader,
			MethodBearer, MethodBasic},
		HostNamed: true, contentTypes: distributionTypes, parse: parseDistribution,
		Answers: Answers{
			Refused: http.StatusOK,
			Retries: "every answer but 2xx and 3xx, for ever, and holds all later notifications back meanwhile",
			Loses:   "its whole queue, which is in memory, when it is restarted",
		},
	}
}

// gitlab is the registry of a self-managed GitLab; GitLab's project webhooks do not report images.
func gitlab() Format {
	f := distribution()
	f.Name, f.Sender = "gitlab", "GitLab container registry"
	f.Answers.Retries = "every answer but 2xx and 3xx, with a growing wait, up to maxretries"
	f.Answers.Loses = "what still fails after maxretries, and its queue when it is restarted"
	return f
}

// distributionTypes are those of current and old registries, and of curl.
var distributionTypes = []string{
	"application/vnd.docker.distribution.events.v2+json",
	"application/vnd.docker.distribution.events.v1+json",
	"application/json",
}

// distributionEvent is an event of CNCF Distribution, and of registries based on it.
type distributionEvent struct {
	ID        string `json:"id"`
	Timestamp string `json:"timestamp"`
	Action    string `json:"action"`
	Target    struct {
		MediaType  string `json:"mediaType"`
		Digest     string `json:"digest"`
		Repository string `json:"repository"`
		Tag        string `json:"tag"`
		References []struct {
			MediaType string `json:"mediaType"`
		} `json:"references"`
	} `json:"target"`
	Request struct {
		Host string `json:"host"`
	} `json:"request"`
	Actor struct {
		Name string `json:"name"`
	} `json:"actor"`
}

func parseDistribution(_ http.Header, body []byte) ([]Notification, error) {
	elements, rest, err := extractArray(body, "events")
	if err != nil {
		return nil, err
	}
	var envelope struct{}
	if err := unmarshalStrict(rest, &envelope); err != nil {
		return nil, err
	}
	if elements == nil {
		return nil, errors.New(`no list "events"`)
	}
	out := make([]Notification, 0, len(elements))
	for i, element := range elements {
		var e distributionEvent
		if err := json.Unmarshal(element, &e); err != nil {
			out = append(out, unreadable(element, fmt.Errorf("event %d: %w", i+1, err)))
			continue
		}
		out = append(out, e.notification())
	}
	return out, nil
}

// notification also serves Azure, whose native webhook sends one event without an envelope.
func (e distributionEvent) notification() Notification {
	n := Notification{
		ID: e.ID, Action: Action(e.Action), Host: e.Request.Host, Repository: e.Target.Repository,
		Tag:    e.Target.Tag,
		Digest: e.Target.Digest, MediaType: e.Target.MediaType, Actor: e.Actor.Name,
		At: parseTime(e.Timestamp),
	}
	if n.MediaType == "application/octet-stream" {
		n.Action = actionBlob
	}
	// Only if the registry is configured to include them. Those of an index are its children.
	for _, r := range e.Target.References {
		switch {
		case !pratique.IsManifestType(n.MediaType):
		case pratique.IsImageConfigType(r.MediaType):
			n.ConfigType = r.MediaType
		default:
			n.Layers = append(n.Layers, r.MediaType)
		}
	}
	return n
}
