package webhook

import (
	"errors"
	"net/http"
	"time"
)

// distributionTypes are those of current and old registries, and of people with curl.
var distributionTypes = []string{
	"application/vnd.docker.distribution.events.v2+json",
	"application/vnd.docker.distribution.events.v1+json",
	"application/json",
}

// distributionEnvelope is the part that is read of a notification of CNCF Distribution, and of registries
// made from it.
type distributionEnvelope struct {
	Events *[]struct {
		ID        string `json:"id"`
		Timestamp string `json:"timestamp"`
		Action    string `json:"action"`
		Target    struct {
			MediaType  string `json:"mediaType"`
			Digest     string `json:"digest"`
			Repository string `json:"repository"`
			Tag        string `json:"tag"`
		} `json:"target"`
		Request struct {
			Host string `json:"host"`
		} `json:"request"`
		Actor struct {
			Name string `json:"name"`
		} `json:"actor"`
	} `json:"events"`
}

func parseDistribution(_ http.Header, body []byte) ([]Notification, error) {
	var envelope distributionEnvelope
	if err := unmarshalStrict(body, &envelope); err != nil {
		return nil, err
	}
	if envelope.Events == nil {
		return nil, errors.New(`no "events"`)
	}
	out := make([]Notification, 0, len(*envelope.Events))
	for _, e := range *envelope.Events {
		at, err := time.Parse(time.RFC3339Nano, e.Timestamp)
		if err != nil {
			at = time.Time{} // the time is a remark; the push is not less real without it
		}
		out = append(out, Notification{
			ID: e.ID, Action: e.Action, Host: e.Request.Host, Repository: e.Target.Repository, Tag: e.Target.Tag,
			Digest: e.Target.Digest, MediaType: e.Target.MediaType, Actor: e.Actor.Name, At: at.UTC(),
		})
	}
	return out, nil
}
