package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/pratique-dev/pratique"
)

func harbor() Format {
	return Format{
		Name: "harbor", Sender: "Harbor", Methods: []Method{MethodHeader, MethodBearer,
			MethodBasic}, HostNamed: true,
		contentTypes: []string{"application/json", "application/cloudevents+json"}, parse: parseHarbor,
		Answers: Answers{
			Retries: "every answer but 2xx, and none within 3 seconds: three times",
			Loses:   "what still fails then; it shows under the executions of the policy",
		},
	}
}

// harborEvent is an event in either of the two payload formats of a policy. Both have the same data.
type harborEvent struct {
	SpecVersion string         `json:"specversion"` // of CloudEvents only
	ID          string         `json:"id"`
	Type        string         `json:"type"`
	Time        string         `json:"time"`
	OccurAt     jsontext.Value `json:"occur_at"`
	Operator    string         `json:"operator"`
	Data        jsontext.Value `json:"data"`
	EventData   jsontext.Value `json:"event_data"`
}

type harborData struct {
	Repository struct {
		FullName string `json:"repo_full_name"`
	} `json:"repository"`
}

func parseHarbor(_ http.Header, body []byte) ([]Notification, error) {
	resources, body, err := extractArray(body, "event_data", "resources")
	if err != nil {
		return nil, err
	}
	ofCloudEvent, body, err := extractArray(body, "data", "resources")
	if err != nil {
		return nil, err
	}
	var e harborEvent
	if err := unmarshalStrict(body, &e); err != nil {
		return nil, err
	}
	if e.Type == "" {
		return nil, errors.New(`no "type"`)
	}
	n := Notification{ID: e.ID, Action: harborAction(e.Type), Actor: e.Operator, At: parseUnix(e.OccurAt)}
	name, data := "event_data", e.EventData
	if e.SpecVersion != "" {
		name, data, resources, n.At = "data", e.Data, ofCloudEvent, parseTime(e.Time)
	}
	if n.Action != ActionPush {
		return []Notification{n}, nil
	}
	var d harborData
	if len(data) > 0 {
		if err := unmarshalStrict(data, &d); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(resources) == 0 {
		return nil, fmt.Errorf("no %q", name+".resources")
	}
	out := make([]Notification, 0, len(resources))
	for i, resource := range resources {
		pushed := n
		if err := pushed.readResource(resource, d.Repository.FullName); err != nil {
			pushed = Notification{ID: n.ID, Err: fmt.Errorf("resource %d: %w", i+1, err)}
		}
		out = append(out, pushed)
	}
	return out, nil
}

// harborAction maps the types of both formats.
func harborAction(word string) Action {
	switch word {
	case "PUSH_ARTIFACT", "harbor.artifact.pushed":
		return ActionPush
	case "PULL_ARTIFACT", "harbor.artifact.pulled":
		return ActionPull
	case "DELETE_ARTIFACT", "harbor.artifact.deleted":
		return ActionDelete
	}
	if strings.HasPrefix(word, "SCANNING_") || strings.HasPrefix(word, "harbor.scan.") {
		return ActionScan
	}
	return ActionOther
}

func (n *Notification) readResource(resource jsontext.Value, repository string) error {
	var r struct {
		Digest string `json:"digest"`
		Tag    string `json:"tag"`
		URL    string `json:"resource_url"`
	}
	if err := json.Unmarshal(resource, &r); err != nil {
		return err
	}
	n.Repository, n.Tag, n.Digest = repository, r.Tag, r.Digest
	// A push by digest has the digest as its tag; in some versions so has a push with a tag.
	if strings.Contains(n.Tag, ":") {
		if n.Digest != "" && n.Digest != n.Tag {
			return fmt.Errorf("two digests, %q and %q", pratique.Clip(n.Digest), pratique.Clip(n.Tag))
		}
		n.Tag, n.Digest, n.TagUnknown = "", n.Tag, true
	}
	if r.URL != "" {
		ref, err := splitReference(r.URL)
		if err != nil {
			return fmt.Errorf("resource_url: %w", err)
		}
		n.Host = ref.host
		if n.Repository == "" {
			n.Repository = ref.path
		}
	}
	if n.Repository == "" {
		return errors.New(`no "repository.repo_full_name"`)
	}
	return nil
}
