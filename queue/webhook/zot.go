package webhook

import (
	"errors"
	"net/http"
	"strings"

	"github.com/pratique-dev/pratique"
)

// zot sends CloudEvents: binary over HTTP, structured over NATS. It sends the whole manifest with
// them, as a string in JSON, so signatures and other artifacts are recognized here and a body can
// be large.
func zot() Format {
	return Format{
		Name: "zot", Sender: "zot", Methods: []Method{MethodBearer, MethodBasic, MethodHeader},
		contentTypes: cloudEventTypes, maxBody: 10 << 20, parse: parseZot,
		Answers: Answers{
			Retries: "nothing",
			Loses:   "whatever is not answered with 2xx within its time-out, 30 seconds by default; only its log says so",
		},
	}
}

type zotImage struct {
	Name      string `json:"name"`
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`
	Manifest  string `json:"manifest"`
	Actor     struct {
		Name string `json:"name"`
	} `json:"actor"`
}

func parseZot(h http.Header, body []byte) ([]Notification, error) {
	return readCloudEvents(h, body, func(e cloudEvent) (Notification, error) {
		n := Notification{ID: e.key(), Action: zotAction(e.Type), At: parseTime(e.Time)}
		if n.Action != ActionPush {
			return n, nil
		}
		err := n.readZot(e)
		return n, err
	})
}

// zotAction reads the end of a type: the prefix, zotregistry, can be configured. A manifest that
// failed its lint was not stored.
func zotAction(name string) Action {
	switch {
	case strings.HasSuffix(name, ".image.updated"):
		return ActionPush
	case strings.HasSuffix(name, ".image.deleted"):
		return ActionDelete
	case strings.HasSuffix(name, ".image.scanned"):
		return ActionScan
	}
	return ActionOther
}

func (n *Notification) readZot(e cloudEvent) error {
	var image zotImage
	if err := e.decode(&image); err != nil {
		return err
	}
	switch {
	case image.Name == "":
		return errors.New(`no "name"`)
	case image.Digest == "":
		return errors.New(`no "digest"`)
	case image.Reference == "":
		return errors.New(`no "reference"`)
	case !strings.Contains(image.Reference, ":"):
		n.Tag = image.Reference
	case image.Reference != image.Digest:
		return errors.New(`"reference" and "digest" are two digests`)
	}
	n.Repository, n.Digest, n.MediaType, n.Actor = image.Name, image.Digest, image.MediaType,
		image.Actor.Name
	// The manifest may cause the event to be ignored, so it must have this digest.
	if id, err := pratique.ParseContentID(image.Digest); err == nil && id.Of([]byte(image.Manifest)) {
		n.readManifest([]byte(image.Manifest))
	}
	return nil
}

// manifest has the fields of an OCI manifest that say what it is. An index has none of them.
type manifest struct {
	Config struct {
		MediaType string `json:"mediaType"`
	} `json:"config"`
	Layers []struct {
		MediaType string `json:"mediaType"`
	} `json:"layers"`
}

// readManifest sets the types of a manifest, if it can be read. An image or an index with an
// artifact type or a subject can be run all the same.
func (n *Notification) readManifest(text []byte) {
	var m manifest
	if err := unmarshalStrict(text, &m); err != nil {
		return
	}
	n.ConfigType = m.Config.MediaType
	for _, layer := range m.Layers {
		n.Layers = append(n.Layers, layer.MediaType)
	}
}
