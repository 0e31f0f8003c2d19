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

// The media types of manifests that are asked for and that are no images; the others are nouns.
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
	// Annotations are looked at for layers only.
	Annotations map[string]string `json:"annotations"`
}

func (d descriptor) id() (pratique.ContentID, error) {
	id, err := pratique.ParseContentID(d.Digest)
	if err == nil && d.Size < 0 {
		err = fmt.Errorf("%s has a negative size", id)
	}
	return id, pratique.Wrap(pratique.Invalid, opParse, "", err)
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
			return "", pratique.Errorf(pratique.Invalid, opParse, "platform %q is not os/architecture", pratique.Clip(strings.Join(parts, "/")))
		}
	}
	return pratique.Platform(strings.Join(parts, "/")), nil
}

// name is the text of a platform that is named in full, and empty for one that is not, or is no platform.
func (p platform) name() pratique.Platform {
	text, err := p.text()
	if err != nil {
		return ""
	}
	return text
}

// raw is "os/architecture/variant"; what is not said is empty. It is for comparing, not for showing.
func (p platform) raw() pratique.Platform {
	return pratique.Platform(p.OS + "/" + p.Architecture + "/" + p.Variant)
}

// empty reports that neither the operating system nor the architecture is named, so that any may be meant.
func (p platform) empty() bool { return p.OS == "" && p.Architecture == "" }

// unknown is what BuildKit gives its attestation manifests, so that no runtime ever chooses them.
func (p platform) unknown() bool { return p == platform{OS: "unknown", Architecture: "unknown"} }

// manifest is an image manifest or an index: whichever fields are set.
type manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        *descriptor     `json:"config"`
	Layers        []descriptor    `json:"layers"`
	Manifests     []descriptor    `json:"manifests"`
	FSLayers      json.RawMessage `json:"fsLayers"`
	// typed says that the bytes have the media type, and that it is no guess.
	typed bool
}

// parse reads a manifest whose bytes have the right digest. The bytes alone say what it is, since the digest covers
// them; what the registry calls it counts only where they say nothing. A document that is both an index and an image
// is refused: two readers could take it for different things.
func parse(doc document) (manifest, error) {
	var m manifest
	refuse := func(format string, args ...any) (manifest, error) {
		return manifest{}, pratique.Errorf(pratique.Invalid, opParse, format, args...)
	}
	if err := checkUnambiguous(doc.raw, shapeManifest); err != nil {
		return refuse("%w", err)
	}
	if err := json.Unmarshal(doc.raw, &m); err != nil {
		return refuse("not a manifest: %w", err)
	}
	if m.SchemaVersion == 1 || m.FSLayers != nil || schema1(m.MediaType) {
		return refuse("docker schema 1 manifests are not supported: push the image again with a current tool")
	}
	if m.Manifests != nil && (m.Config != nil || m.Layers != nil) {
		return refuse("both an index and an image")
	}
	m.typed = m.MediaType != ""
	if !m.typed {
		m.MediaType = m.guessType(doc.contentType)
	}
	if m.isIndex() && (m.Config != nil || m.Layers != nil) || m.isImageManifest() && m.Manifests != nil {
		return refuse("media type %s does not fit the content", m.MediaType)
	}
	if m.isImageManifest() && m.Config == nil {
		return refuse("an image manifest without a configuration")
	}
	return m, nil
}

// guessType is the media type of a manifest that does not say its own: what the registry calls it, if that may be.
func (m manifest) guessType(contentType string) string {
	header, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil: // then it says nothing
	case m.Manifests != nil && pratique.IsIndexType(header), m.Manifests == nil && pratique.IsManifestType(header):
		return header
	}
	if m.Manifests != nil {
		return pratique.TypeOCIIndex
	}
	return pratique.TypeOCIManifest
}

func schema1(t string) bool { return t == typeSchema1 || t == typeSchema1Signed }

func (m manifest) isIndex() bool { return pratique.IsIndexType(m.MediaType) }

func (m manifest) isImageManifest() bool { return pratique.IsManifestType(m.MediaType) }

// notImage says why nobody is meant to run this, or nothing for an image or an index. An artifact type or a "subject"
// keeps no runtime from running an image, and so they do not count.
func (m manifest) notImage() string {
	switch {
	case m.isIndex():
		return ""
	case !m.isImageManifest():
		return "manifest of type " + pratique.Clip(m.MediaType)
	case !pratique.IsImageConfigType(m.Config.MediaType) && m.ArtifactType != "":
		return "artifact of type " + pratique.Clip(m.ArtifactType)
	case !pratique.IsImageConfigType(m.Config.MediaType):
		return "configuration of type " + pratique.Clip(m.Config.MediaType)
	case m.onlyEvidence():
		return "holds only " + pratique.Clip(m.Layers[0].MediaType)
	default:
		return ""
	}
}

// runnable reports whether this is an image manifest as it should be.
func (m manifest) runnable() bool { return !m.isIndex() && m.notImage() == "" }

// inert reports that certainly no runtime can run this, whatever an index says of it: it names nothing to run; or it
// says that it is an OCI manifest, its configuration is of a type that nobody takes for an image's, and none of its
// layers is of a type that somebody unpacks. A Docker manifest, or one that does not say what it is, is never inert:
// containers/image runs those with any configuration.
func (m manifest) inert() bool {
	if m.Config == nil && m.Layers == nil && m.Manifests == nil {
		return true
	}
	if !m.typed || m.MediaType != pratique.TypeOCIManifest || m.Config == nil || mayConfigure(m.Config.MediaType) {
		return false
	}
	return !slices.ContainsFunc(m.Layers, func(d descriptor) bool { return mayUnpack(d.MediaType) })
}

// mayConfigure reports whether some runtime takes a configuration of that type for an image's. Docker goes by
// prefixes, and takes what old registries call everything; containerd converts the latter, and can be told to take
// others, such as those of WebAssembly.
func mayConfigure(mediaType string) bool {
	t := strings.ToLower(mediaType)
	return slices.Contains([]string{"", "application/octet-stream", "application/json", "text/html"}, t) || runnableFamily(t)
}

// mayUnpack reports whether some runtime makes files of a layer of that type.
func mayUnpack(mediaType string) bool {
	return mediaType == "" || runnableFamily(strings.ToLower(mediaType))
}

func runnableFamily(t string) bool {
	for _, prefix := range []string{"application/vnd.oci.image", "application/vnd.docker", "application/vnd.containerd", "application/vnd.erofs"} {
		if strings.HasPrefix(t, prefix) {
			return true
		}
	}
	return strings.Contains(t, "wasm")
}

func (m manifest) onlyEvidence() bool {
	types := make([]string, len(m.Layers))
	for i, d := range m.Layers {
		types[i] = d.MediaType
	}
	return pratique.OnlyEvidence(types)
}
