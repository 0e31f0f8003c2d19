package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/pratique-dev/pratique"
)

const jfrogHeader = "X-JFrog-Event-Auth"

// artifactory sends either the secret itself or a signature, in the same header, as its webhook is
// configured. The receiver accepts only the configured one: a signature that somebody has seen must
// not pass for the secret.
func artifactory() Format {
	return Format{
		Name: "artifactory", Sender: "JFrog Artifactory", Methods: []Method{MethodHMACSHA256,
			MethodHeader},
		signature: signatureFormat{header: jfrogHeader}, header: jfrogHeader,
		KeyIsPrefix: true, contentTypes: []string{"application/json"}, parse: parseArtifactory,
		Answers: Answers{
			Retries: "a few times; how often and when is not documented",
			Loses:   "what still fails then",
		},
	}
}

// artifactoryEvent has its fields in data, or in older versions at the top.
type artifactoryEvent struct {
	Domain    string           `json:"domain"`
	EventType string           `json:"event_type"`
	Origin    string           `json:"jpd_origin"`
	Data      *artifactoryData `json:"data"`
	artifactoryData
}

type artifactoryData struct {
	RepoKey string `json:"repo_key"`
	Path    string `json:"path"`
	SHA256  string `json:"sha256"`
	Tag     string `json:"tag"`
	// Image only shows that the fields are those of an image: it has just the last part of the path.
	Image string `json:"image_name"`
}

// sampleChecksum is sent by the button "Test".
const sampleChecksum = "sample_checksum"

func parseArtifactory(_ http.Header, body []byte) ([]Notification, error) {
	var e artifactoryEvent
	if err := unmarshalStrict(body, &e); err != nil {
		return nil, err
	}
	data := e.artifactoryData
	if e.Data != nil {
		data = *e.Data
	}
	if e.EventType == "" {
		return nil, errors.New(`no "event_type"`)
	}
	n := Notification{Action: artifactoryAction(e.EventType)}
	switch {
	case e.Domain != "docker" && (e.Domain != "" || data.Image == ""):
		n.Action = ActionNotImage
	case data.SHA256 == sampleChecksum:
		n.Action = ActionPing
	case n.Action == ActionPush:
		if err := n.readArtifactory(data); err != nil {
			return nil, err
		}
		n.Host = hostOf(e.Origin)
	}
	return []Notification{n}, nil
}

// artifactoryAction: a promotion names the repository that the image was taken from.
func artifactoryAction(eventType string) Action {
	switch eventType {
	case "pushed":
		return ActionPush
	case "pulled":
		return ActionPull
	case "deleted":
		return ActionDelete
	}
	return ActionOther
}

// readArtifactory takes the image from the path of its manifest, IMAGE/TAG/manifest.json or
// list.manifest.json, whose checksum is the digest. What was pushed by digest has the digest where
// the tag is.
func (n *Notification) readArtifactory(data artifactoryData) error {
	switch {
	case data.RepoKey == "":
		return errors.New(`no "repo_key"`)
	case data.Path == "":
		return errors.New(`no "path"`)
	case data.SHA256 == "":
		return errors.New(`no "sha256"`)
	}
	parts := strings.Split(data.Path, "/")
	last := len(parts) - 1
	if last < 2 || parts[last] != "manifest.json" && parts[last] != "list.manifest.json" {
		return fmt.Errorf(`path %q: want IMAGE/TAG/manifest.json or IMAGE/TAG/list.manifest.json`,
			pratique.Clip(data.Path))
	}
	n.Key, n.Repository, n.Digest = data.RepoKey, strings.Join(parts[:last-1], "/"), "sha256:"+data.SHA256
	folder := parts[last-1]
	switch {
	case data.Tag != "" && data.Tag != folder:
		return fmt.Errorf("tag %q is not that of path %q", pratique.Clip(data.Tag),
			pratique.Clip(data.Path))
	case folder == n.Digest || folder == "sha256__"+data.SHA256:
	default:
		n.Tag = folder
	}
	return nil
}

// hostOf returns the host of a URL that a sender names as its own. It returns other text unchanged,
// which matches no host.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return address
	}
	return u.Host
}
