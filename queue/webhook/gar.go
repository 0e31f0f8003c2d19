package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"

	"github.com/pratique-dev/pratique"
)

func gar() Format {
	return Format{
		Name: "gar", Sender: "Google Artifact Registry through Pub/Sub",
		Methods: []Method{MethodOIDC}, HostNamed: true,
		// An unwrapped message has the content type of its attributes, which is none.
		contentTypes: []string{"application/json", "application/octet-stream"}, untyped: true,
		parse: parseGAR,
		Answers: Answers{
			Refused: http.StatusOK,
			Retries: "every answer but 102, 200, 201, 202 and 204, until the retention ends (7 days), and slows all messages down meanwhile",
			Loses:   "what is older than the retention",
		},
	}
}

// garNotification is the message that the registry publishes.
type garNotification struct {
	Action string `json:"action"`
	Digest string `json:"digest"`
	Tag    string `json:"tag"`
}

// parseGAR reads a wrapped or unwrapped message of Pub/Sub. Each has its own place for id and time.
func parseGAR(h http.Header, body []byte) ([]Notification, error) {
	var p struct {
		Message *struct {
			Data         []byte `json:"data"`
			ID           string `json:"messageId"`
			OldID        string `json:"message_id"`
			Published    string `json:"publishTime"`
			OldPublished string `json:"publish_time"`
		} `json:"message"`
		Subscription string `json:"subscription"`
		garNotification
	}
	if err := unmarshalStrict(body, &p); err != nil {
		return nil, err
	}
	g := p.garNotification
	n := Notification{ID: h.Get("X-Goog-Pubsub-Message-Id"),
		At: parseTime(h.Get("X-Goog-Pubsub-Publish-Time"))}
	if m := p.Message; m != nil {
		if len(m.Data) == 0 {
			return nil, errors.New(`no "message.data"`)
		}
		g = garNotification{}
		if err := unmarshalStrict(m.Data, &g); err != nil {
			return nil, fmt.Errorf("message.data: %w", err)
		}
		n.ID, n.At = cmp.Or(m.ID, m.OldID), parseTime(cmp.Or(m.Published, m.OldPublished))
		n.Subscription = p.Subscription
	}
	// Pub/Sub writes the header, while without a wrapper the whole body is the publisher's. Of two
	// headers one may be an attribute of the message, so they name none.
	switch named := h.Values("X-Goog-Pubsub-Subscription-Name"); len(named) {
	case 0:
	case 1:
		n.Subscription = named[0]
	default:
		n.Subscription = ""
	}
	switch {
	case g.Action == "" && p.Message == nil:
		return nil, errors.New(`neither "message" nor "action"`)
	case g.Action == "":
		return nil, errors.New(`no "action" in "message.data"`)
	}
	switch g.Action {
	case "INSERT":
		n.Action = ActionPush
		if err := g.describe(&n); err != nil {
			return nil, err
		}
	case "DELETE":
		n.Action = ActionDelete
	default:
		n.Action = ActionOther
	}
	return []Notification{n}, nil
}

// describe reads the two references, each of which may be missing. They must have the same
// repository.
func (g garNotification) describe(n *Notification) error {
	for _, text := range []string{g.Digest, g.Tag} {
		if text == "" {
			continue
		}
		ref, err := splitReference(text)
		switch {
		case err != nil:
			return err
		case n.Host != "" && (n.Host != ref.host || n.Repository != ref.path):
			return fmt.Errorf("digest %q and tag %q are not of one repository",
				pratique.Clip(g.Digest), pratique.Clip(g.Tag))
		case ref.digest != "" && n.Digest != "" && ref.digest != n.Digest:
			return fmt.Errorf("digest %q and tag %q are not of one manifest",
				pratique.Clip(g.Digest), pratique.Clip(g.Tag))
		}
		n.Host, n.Repository = ref.host, ref.path
		n.Digest, n.Tag = cmp.Or(ref.digest, n.Digest), cmp.Or(ref.tag, n.Tag)
	}
	if n.Digest == "" && n.Tag == "" {
		return errors.New(`neither "digest" nor "tag" names an image`)
	}
	return nil
}
