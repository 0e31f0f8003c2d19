package registry

import (
	"encoding/json"
	"fmt"
	"mime"
	"regexp"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
)

// The media types of manifests that are refused or ignored; the others are nouns.
const (
	typeOCIArtifact   = "application/vnd.oci.artifact.manifest.v1+json"
	typeSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	typeSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

const opParse = "read manifest"

// descriptor points to a blob or a manifest.
type descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    string    `json:"digest"`
	Size      int64     `json:"size"`
	URLs      []string  `json:"urls"`
	Platform  *platform `json:"platform"`
}

func (d descriptor) digest() (pratique.Digest, error) {
	digest, err := pratique.ParseDigest(d.Digest)
	if err == nil && d.Size < 0 {
		err = fmt.Errorf("%s has a negative size", digest)
	}
	return digest, pratique.Wrap(pratique.Invalid, opParse, "", err)
}

// platform is what an index says of a child, and what a configuration says of its image.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

var platformPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// text returns "os/architecture[/variant]", empty if nothing is said.
func (p platform) text() (pratique.Platform, error) {
	if p.OS == "" && p.Architecture == "" {
		return "", nil
	}
	parts := []string{p.OS, p.Architecture}
	if p.Variant != "" {
		parts = append(parts, p.Variant)
	}
	for _, part := range parts {
		if !platformPattern.MatchString(part) {
			return "", pratique.Errorf(pratique.Invalid, opParse, "platform %q is not os/architecture", clip(strings.Join(parts, "/")))
		}
	}
	return pratique.Platform(strings.Join(parts, "/")), nil
}

// unknown is what BuildKit gives its attestation manifests, so that no runtime ever chooses them.
func (p platform) unknown() bool { return p.OS == "unknown" && p.Architecture == "unknown" }

// manifest is an image manifest or an index: whichever fields are set.
type manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        *descriptor     `json:"config"`
	Layers        []descriptor    `json:"layers"`
	Manifests     []descriptor    `json:"manifests"`
	Subject       json.RawMessage `json:"subject"`
	FSLayers      json.RawMessage `json:"fsLayers"`
}

// parse reads a manifest whose bytes have the right digest. The media type inside the bytes counts, since the
// digest covers it; a header that says otherwise is refused, and so is a document that is both an index and
// an image: two readers could take it for different things.
func parse(doc document) (manifest, error) {
	var m manifest
	refuse := func(format string, args ...any) (manifest, error) {
		return manifest{}, pratique.Errorf(pratique.Invalid, opParse, format, args...)
	}
	if err := unambiguous(doc.raw); err != nil {
		return refuse("%w", err)
	}
	if err := json.Unmarshal(doc.raw, &m); err != nil {
		return refuse("not a manifest: %w", err)
	}
	header, _, err := mime.ParseMediaType(doc.contentType)
	if err != nil || !knownManifest(header) {
		header = "" // "application/json" and the like say nothing
	}
	if m.SchemaVersion == 1 || m.FSLayers != nil || schema1(header) || schema1(m.MediaType) {
		return refuse("docker schema 1 manifests are not supported: push the image again with a current tool")
	}
	if m.Manifests != nil && (m.Config != nil || m.Layers != nil) {
		return refuse("both an index and an image")
	}
	if m.MediaType == "" {
		m.MediaType = header
	}
	if m.MediaType == "" {
		m.MediaType = pratique.TypeOCIManifest
		if m.Manifests != nil {
			m.MediaType = pratique.TypeOCIIndex
		}
	}
	if header != "" && header != m.MediaType {
		return refuse("the registry calls it %s, the bytes say %s", header, clip(m.MediaType))
	}
	if m.isIndex() && (m.Config != nil || m.Layers != nil) || m.isImageManifest() && m.Manifests != nil {
		return refuse("media type %s does not fit the content", m.MediaType)
	}
	if m.isImageManifest() && m.Config == nil {
		return refuse("an image manifest without a configuration")
	}
	return m, nil
}

func knownManifest(t string) bool {
	return slices.Contains([]string{pratique.TypeOCIIndex, pratique.TypeOCIManifest, typeOCIArtifact, pratique.TypeDockerList, pratique.TypeDockerManifest}, t) || schema1(t)
}

func schema1(t string) bool { return t == typeSchema1 || t == typeSchema1Signed }

func (m manifest) isIndex() bool { return pratique.IsIndexType(m.MediaType) }

func (m manifest) isImageManifest() bool { return pratique.IsManifestType(m.MediaType) }

// notImage says why nobody is meant to run this, or nothing for an image or an index.
func (m manifest) notImage() string {
	switch {
	case !m.isIndex() && !m.isImageManifest():
		return "manifest of type " + clip(m.MediaType)
	case len(m.Subject) > 0 && string(m.Subject) != "null":
		return "refers to another manifest"
	case m.ArtifactType != "":
		return "artifact of type " + clip(m.ArtifactType)
	case m.isIndex():
		return ""
	case !pratique.IsImageConfigType(m.Config.MediaType):
		return "configuration of type " + clip(m.Config.MediaType)
	case m.onlyEvidence():
		return "holds only " + clip(m.Layers[0].MediaType)
	default:
		return ""
	}
}

// runnable reports whether a container runtime could run this manifest. It is the narrower question: a
// "subject" or an artifact type on a real image keeps no runtime from running it.
func (m manifest) runnable() bool {
	return m.isImageManifest() && pratique.IsImageConfigType(m.Config.MediaType) && !m.onlyEvidence()
}

func (m manifest) onlyEvidence() bool {
	types := make([]string, len(m.Layers))
	for i, d := range m.Layers {
		types[i] = d.MediaType
	}
	return pratique.OnlyEvidence(types)
}
