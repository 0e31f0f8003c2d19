package webhook

import (
	"errors"
	"net/http"
	"strings"
)

// cloudevents is for custom senders: CloudEvents has no schema for images, so this one is ours.
func cloudevents() Format {
	return Format{
		Name: "cloudevents", Sender: "CloudEvents 1.0",
		Methods:      []Method{MethodBearer, MethodOIDC, MethodHMACSHA256, MethodHeader, MethodBasic},
		contentTypes: cloudEventTypes, parse: parseCloudEvents, binaryMode: true, webhookOptions: true,
		Answers: cloudEventAnswers,
	}
}

var cloudEventAnswers = Answers{
	Ignored: http.StatusAccepted,
	Busy:    http.StatusTooManyRequests,
	Retries: "429 after its Retry-After, and whatever else the sender chooses to",
	Loses:   "400, 413 and 415, and what the sender gives up",
}

// imageData is the data of our events.
type imageData struct {
	RegistryURL string `json:"registryUrl"`
	Repository  string `json:"repository"`
	Tag         string `json:"tag"`
	Digest      string `json:"digest"`
	MediaType   string `json:"mediaType"`
	Actor       string `json:"actor"`
}

func parseCloudEvents(h http.Header, body []byte) ([]Notification, error) {
	return readCloudEvents(h, body, func(e cloudEvent) (Notification, error) {
		n := Notification{ID: e.key(), Action: actionOfType(e.Type), At: parseTime(e.Time)}
		if n.Action != ActionPush {
			return n, nil
		}
		err := n.readImage(e)
		return n, err
	})
}

// actionOfType reads the last word of a type such as container.image.push.
func actionOfType(name string) Action {
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "push", "pushed", "publish", "published":
		return ActionPush
	case "pull", "pulled":
		return ActionPull
	case "delete", "deleted":
		return ActionDelete
	case "scan", "scanned":
		return ActionScan
	case "ping":
		return ActionPing
	}
	return ActionOther
}

func (n *Notification) readImage(e cloudEvent) error {
	var data imageData
	if err := e.decode(&data); err != nil {
		return err
	}
	switch {
	case data.Repository == "":
		return errors.New(`no "repository" in the data`)
	case data.Tag == "" && data.Digest == "":
		return errors.New(`neither "tag" nor "digest" in the data`)
	}
	n.Host, n.Repository, n.Tag, n.Digest = bareHost(data.RegistryURL), data.Repository, data.Tag,
		data.Digest
	n.MediaType, n.Actor = data.MediaType, data.Actor
	return nil
}

// bareHost removes the scheme and a trailing slash from the name of a registry. What else remains
// matches no configured host.
func bareHost(text string) string {
	for _, scheme := range []string{"https://", "http://"} {
		text = strings.TrimPrefix(text, scheme)
	}
	return strings.TrimSuffix(text, "/")
}
