package webhook

import (
	"errors"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/pratique-dev/pratique"
)

func dockerhub() Format {
	return Format{
		Name: "dockerhub", Sender: "Docker Hub", Methods: []Method{MethodURL}, Digestless: true,
		contentTypes: []string{"application/json"}, parse: parseDockerHub,
		Answers: Answers{
			Retries: "nothing that is documented",
			Loses:   "whatever is not answered with 2xx",
		},
	}
}

// parseDockerHub reads a push, the only kind of event. The payload has no registry, digest or id:
// the push of a multi-platform image causes several equal requests. Its callback_url is obsolete,
// and never called.
func parseDockerHub(_ http.Header, body []byte) ([]Notification, error) {
	var p struct {
		Push struct {
			Tag       string         `json:"tag"`
			Pusher    string         `json:"pusher"`
			MediaType string         `json:"media_type"`
			PushedAt  jsontext.Value `json:"pushed_at"`
		} `json:"push_data"`
		Repository struct {
			Name string `json:"repo_name"`
		} `json:"repository"`
	}
	if err := unmarshalStrict(body, &p); err != nil {
		return nil, err
	}
	switch {
	case p.Push.Tag == "":
		return nil, errors.New(`no "push_data.tag"`)
	case p.Repository.Name == "":
		return nil, errors.New(`no "repository.repo_name"`)
	}
	n := Notification{
		Action: ActionPush, Repository: p.Repository.Name, Tag: p.Push.Tag, Actor: p.Push.Pusher,
		At: parseUnix(p.Push.PushedAt),
	}
	// It is the type of the manifest in some requests, and that of its configuration in others.
	if t := p.Push.MediaType; pratique.IsManifestType(t) || pratique.IsIndexType(t) {
		n.MediaType = t
	} else {
		n.ConfigType = t
	}
	return []Notification{n}, nil
}
