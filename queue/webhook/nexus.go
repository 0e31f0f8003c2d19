package webhook

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

// nexus reports neither the digest nor the registry. One push causes up to 26 requests.
func nexus() Format {
	return Format{
		Name: "nexus", Sender: "Sonatype Nexus Repository 3", Methods: []Method{MethodHMACSHA1},
		signature:  signatureFormat{header: "X-Nexus-Webhook-Signature"},
		unsigned:   []string{"X-Nexus-Webhook-Delivery"},
		Digestless: true, contentTypes: []string{"application/json"}, parse: parseNexus,
		Answers: Answers{
			Retries: "nothing that is documented",
			Loses:   "whatever is not answered with 2xx",
		},
	}
}

// nexusEvent has a component or an asset, as the webhook is configured. Webhooks about repositories
// and the audit log have the same form.
type nexusEvent struct {
	Timestamp  string          `json:"timestamp"`
	Initiator  string          `json:"initiator"`
	Repository string          `json:"repositoryName"`
	Action     string          `json:"action"`
	Component  *nexusComponent `json:"component"`
	Asset      *nexusAsset     `json:"asset"`
	Whole      *struct{}       `json:"repository"`
	Audit      *struct{}       `json:"audit"`
}

type nexusComponent struct {
	Format  string `json:"format"`
	Name    string `json:"name"`
	Version string `json:"version"`
}

type nexusAsset struct {
	Format string `json:"format"`
	Name   string `json:"name"`
}

func parseNexus(h http.Header, body []byte) ([]Notification, error) {
	var e nexusEvent
	if err := unmarshalStrict(body, &e); err != nil {
		return nil, err
	}
	n := Notification{
		ID: h.Get("X-Nexus-Webhook-Delivery"), Action: nexusAction(e.Action), Key: e.Repository,
		Actor: nexusActor(e.Initiator),
		At:    nexusTime(e.Timestamp),
	}
	var err error
	switch {
	case e.Component != nil:
		err = n.readComponent(*e.Component)
	case e.Asset != nil:
		err = n.readAsset(*e.Asset)
	case e.Whole != nil || e.Audit != nil:
		n.Action = ActionOther
	default:
		err = errors.New(`neither "component" nor "asset"`)
	}
	if err == nil && n.Action == ActionPush && n.Key == "" {
		err = errors.New(`no "repositoryName"`)
	}
	if err != nil {
		return nil, err
	}
	return []Notification{n}, nil
}

// nexusAction maps the action: a tag that is pushed again is an update. In some versions so is a
// pull; then the registry is asked for the digest, which is known.
func nexusAction(word string) Action {
	switch word {
	case "CREATED", "UPDATED":
		return ActionPush
	case "DELETED":
		return ActionDelete
	}
	return ActionOther
}

func (n *Notification) readComponent(c nexusComponent) error {
	if c.Format != "docker" {
		n.Action = ActionNotImage
		return nil
	}
	n.Repository = c.Name
	n.setReference(c.Version)
	switch {
	case n.Action != ActionPush:
	case c.Name == "":
		return errors.New(`no "component.name"`)
	case c.Version == "":
		return errors.New(`no "component.version"`)
	}
	return nil
}

// readAsset reads a name such as v2/team/app/manifests/1.4.2.
func (n *Notification) readAsset(a nexusAsset) error {
	if a.Format != "docker" {
		n.Action = ActionNotImage
		return nil
	}
	if a.Name == "" {
		return errors.New(`no "asset.name"`)
	}
	path, versioned := strings.CutPrefix(strings.TrimPrefix(a.Name, "/"), "v2/")
	slash := max(strings.LastIndexByte(path, '/'), 0)
	repository, isManifest := strings.CutSuffix(path[:slash], "/manifests")
	switch {
	case strings.Contains("/"+path, "/blobs/") && !isManifest:
		n.Action = actionBlob
	case !versioned || !isManifest:
		n.Action = ActionOther
	default:
		n.Repository = repository
		n.setReference(path[slash+1:])
	}
	return nil
}

// setReference sets a tag or a digest: no tag has a colon.
func (n *Notification) setReference(text string) {
	if strings.Contains(text, ":") {
		n.Digest = text
		return
	}
	n.Tag = text
}

// nexusActor removes the address from USER/ADDRESS.
func nexusActor(initiator string) string {
	if i := strings.LastIndexByte(initiator, '/'); i >= 0 {
		return initiator[:i]
	}
	return initiator
}

// nexusTime reads RFC 3339 without the colon in its zone.
func nexusTime(text string) time.Time {
	at, err := time.Parse("2006-01-02T15:04:05.999999999Z0700", text)
	if err != nil {
		return parseTime(text)
	}
	return representable(at)
}
