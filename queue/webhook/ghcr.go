package webhook

import (
	"errors"
	"net/http"
	"strings"

	"github.com/pratique-dev/pratique"
)

func ghcr() Format {
	return Format{
		Name: "ghcr", Sender: "GitHub Container Registry", Methods: []Method{MethodHMACSHA256},
		signature:    signatureFormat{header: "X-Hub-Signature-256", prefix: "sha256="},
		unsigned:     []string{"X-GitHub-Event", "X-GitHub-Delivery"},
		contentTypes: []string{"application/json"}, parse: parseGHCR,
		Answers: Answers{
			Retries: "nothing by itself; a person can redeliver",
			Loses:   "whatever is not answered with 2xx within 10 seconds",
		},
	}
}

// ghcrPackage is a package. Repositories and GitHub Apps send it under different names.
type ghcrPackage struct {
	Name  string `json:"name"`
	Type  string `json:"package_type"`
	Owner struct {
		Login string `json:"login"`
	} `json:"owner"`
	Registry struct {
		Type string `json:"type"`
	} `json:"registry"`
	Version struct {
		Version   string `json:"version"`
		URL       string `json:"package_url"`
		CreatedAt string `json:"created_at"`
		UpdatedAt string `json:"updated_at"`
		Metadata  struct {
			Tag struct {
				Name   string `json:"name"`
				Digest string `json:"digest"`
			} `json:"tag"`
			Manifest struct {
				Digest    string     `json:"digest"`
				MediaType string     `json:"media_type"`
				Config    ghcrBlob   `json:"config"`
				Layers    []ghcrBlob `json:"layers"`
			} `json:"manifest"`
		} `json:"container_metadata"`
	} `json:"package_version"`
}

type ghcrBlob struct {
	MediaType string `json:"media_type"`
}

// parseGHCR reads X-GitHub-Event first: events other than those of packages have other bodies. A
// body from a file has no such header.
func parseGHCR(h http.Header, body []byte) ([]Notification, error) {
	id := h.Get("X-GitHub-Delivery") // the same for a redelivery
	switch event := h.Get("X-GitHub-Event"); event {
	case "", "package", "registry_package":
	case "ping":
		return []Notification{{ID: id, Action: ActionPing}}, nil
	default:
		return []Notification{{ID: id, Action: ActionOther}}, nil
	}
	var p struct {
		Action          string       `json:"action"`
		Package         *ghcrPackage `json:"package"`
		RegistryPackage *ghcrPackage `json:"registry_package"`
		Sender          struct {
			Login string `json:"login"`
		} `json:"sender"`
	}
	if err := unmarshalStrict(body, &p); err != nil {
		return nil, err
	}
	pkg := p.Package
	if pkg == nil {
		pkg = p.RegistryPackage
	}
	if pkg == nil {
		return nil, errors.New(`neither "package" nor "registry_package"`)
	}
	n := Notification{ID: id, Action: ghcrAction(p.Action), Actor: p.Sender.Login}
	if !pkg.container() {
		n.Action = ActionNotImage
	}
	if n.Action != ActionPush {
		return []Notification{n}, nil
	}
	if err := pkg.describe(&n); err != nil {
		return nil, err
	}
	return []Notification{n}, nil
}

func ghcrAction(word string) Action {
	switch word {
	case "published", "updated": // updated is another tag for an existing version
		return ActionPush
	case "deleted":
		return ActionDelete
	default:
		return ActionOther
	}
}

// container also asks the registry's type: GitHub's own example of a container calls its package an
// npm one.
func (p *ghcrPackage) container() bool {
	for _, word := range []string{p.Type, p.Registry.Type} {
		if strings.EqualFold(word, "container") || strings.EqualFold(word, "docker") {
			return true
		}
	}
	return false
}

// describe returns what was pushed. Names in the registry are lower case, GitHub writes owners as
// they spell themselves.
func (p *ghcrPackage) describe(n *Notification) error {
	v := &p.Version
	n.Tag = v.Metadata.Tag.Name
	switch {
	case v.URL != "":
		ref, err := splitReference(strings.TrimSuffix(v.URL, ":")) // it ends so without a tag
		if err != nil {
			return err
		}
		n.Host, n.Repository = ref.host, ref.path
		if n.Tag == "" {
			n.Tag = ref.tag
		}
	case p.Owner.Login != "" && p.Name != "":
		n.Repository = p.Owner.Login + "/" + p.Name
	default:
		return errors.New(`neither "package_version.package_url" nor "owner.login" and "name"`)
	}
	n.Repository = strings.ToLower(n.Repository)
	n.Digest = agreed(v.Version, v.Metadata.Manifest.Digest, v.Metadata.Tag.Digest)
	n.MediaType, n.ConfigType = v.Metadata.Manifest.MediaType, v.Metadata.Manifest.Config.MediaType
	for _, layer := range v.Metadata.Manifest.Layers {
		n.Layers = append(n.Layers, layer.MediaType)
	}
	if n.At = parseTime(v.UpdatedAt); n.At.IsZero() {
		n.At = parseTime(v.CreatedAt)
	}
	return nil
}

// agreed returns the digest if all texts agree on one. Otherwise the registry is asked: GitHub's
// own examples contradict themselves.
func agreed(all ...string) string {
	var out string
	for _, s := range all {
		switch {
		case s == "":
		case out == "":
			out = s
		case out != s:
			return ""
		}
	}
	if _, err := pratique.ParseDigest(out); err != nil {
		return ""
	}
	return out
}
