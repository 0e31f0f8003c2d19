package webhook

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

func quay() Format {
	return Format{
		Name: "quay", Sender: "Quay", Methods: []Method{MethodURL}, Digestless: true,
		contentTypes: []string{"application/json"}, parse: parseQuay,
		Answers: Answers{
			Refused:  http.StatusOK,
			Retries:  "every answer but 2xx, and none within 10 seconds: five times, 30 seconds apart",
			Loses:    "what still fails then, and what is queued when the hook is switched off",
			Disables: "three failures without a success between them, also of different pushes, until somebody resets it",
		},
	}
}

// quayEvent has the fields of a push, and those that identify other events. The payload has no type.
type quayEvent struct {
	Repository    string         `json:"repository"`
	DockerURL     string         `json:"docker_url"`
	Homepage      string         `json:"homepage"`
	Tags          jsontext.Value `json:"updated_tags"`
	Vulnerability jsontext.Value `json:"vulnerability"`
}

func parseQuay(_ http.Header, body []byte) ([]Notification, error) {
	var e quayEvent
	if err := unmarshalStrict(body, &e); err != nil {
		return nil, err
	}
	switch {
	case len(e.Tags) > 0:
		return e.pushes()
	case e.Repository == "" && e.DockerURL == "" && e.Homepage == "":
		return nil, errors.New(`neither "updated_tags" nor "repository": if the notification has a payload template, take it away`)
	case e.Vulnerability.Kind() == '{':
		return []Notification{{Action: ActionScan}}, nil
	default:
		return []Notification{{Action: ActionOther}}, nil
	}
}

func (e quayEvent) pushes() ([]Notification, error) {
	tags, err := quayTags(e.Tags)
	if err != nil {
		return nil, err
	}
	n := Notification{Action: ActionPush, Repository: e.Repository}
	if e.DockerURL != "" {
		ref, err := splitReference(e.DockerURL)
		if err != nil {
			return nil, fmt.Errorf("docker_url: %w", err)
		}
		n.Host = ref.host
		if n.Repository == "" {
			n.Repository = ref.path
		}
	}
	if n.Repository == "" {
		return nil, errors.New(`no "repository"`)
	}
	out := make([]Notification, 0, len(tags))
	for i, tag := range tags {
		pushed := n
		if err := json.Unmarshal(tag, &pushed.Tag); err != nil {
			pushed = Notification{Err: fmt.Errorf("tag %d: %w", i+1, err)}
		}
		out = append(out, pushed)
	}
	return out, nil
}

// quayTags reads a list of tags, or its old form: the tags with the ids of their images.
func quayTags(value jsontext.Value) ([]jsontext.Value, error) {
	switch value.Kind() {
	case '[':
		return splitArray(value)
	case '{':
		var ids map[string]jsontext.Value
		if err := unmarshalStrict(value, &ids); err != nil {
			return nil, err
		}
		var tags []jsontext.Value
		for _, tag := range slices.Sorted(maps.Keys(ids)) {
			quoted, err := jsontext.AppendQuote(nil, tag)
			if err != nil {
				return nil, err
			}
			tags = append(tags, quoted)
		}
		return tags, nil
	default:
		return nil, errors.New(`"updated_tags" is no list`)
	}
}
