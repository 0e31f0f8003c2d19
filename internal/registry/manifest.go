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

// The media types of manifests that are requested and are not images; package pratique has the
// others.
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
	// Annotations are read for layers only.
	Annotations map[string]string `json:"annotations"`
}

func (d descriptor) id() (pratique.ContentID, error) {
	id, err := pratique.ParseContentID(d.Digest)
	if err == nil && d.Size < 0 {
		err = fmt.Errorf("%s has a negative size", id)
	}
	return id, pratique.Wrap(pratique.Invalid, opParse, "", err)
}

// platform is the platform of an index entry, or of an image's configuration.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

var platformPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// text returns "os/architecture[/variant]", or "" if neither is set.
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
			return "", pratique.Errorf(pratique.Invalid, opParse,
				"platform %q is not os/architecture", pratique.Clip(strings.Join(parts, "/")))
		}
	}
	return pratique.Platform(strings.Join(parts, "/")), nil
}

// name is text for a complete and valid platform, "" for any other.
func (p platform) name() pratique.Platform {
	text, err := p.text()
	if err != nil {
		return ""
	}
	return text
}

// raw returns "os/architecture/variant" with empty parts, for comparisons.
func (p platform) raw() pratique.Platform {
	return pratique.Platform(p.OS + "/" + p.Architecture + "/" + p.Variant)
}

// empty reports whether neither operating system nor architecture is set, so that any may be meant.
func (p platform) empty() bool { return p.OS == "" && p.Architecture == "" }

// unknown reports whether this is the platform of BuildKit's attestation manifests, which no
// runtime chooses.
func (p platform) unknown() bool { return p == platform{OS: "unknown", Architecture: "unknown"} }

// manifest is an image manifest or an index, depending on the fields.
type manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        *descriptor     `json:"config"`
	Layers        []descriptor    `json:"layers"`
	Manifests     []descriptor    `json:"manifests"`
	FSLayers      json.RawMessage `json:"fsLayers"`
	// typed is set if the document itself names the media type.
	typed bool
}

// parse reads a manifest whose digest was verified. Only the bytes say what it is, since the digest
// covers them; the registry's content type is used if they do not. A document that is both an index
// and an image is refused, because two readers could interpret it differently.
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
		return refuse("media type %s does not match the content", m.MediaType)
	}
	if m.isImageManifest() && m.Config == nil {
		return refuse("an image manifest without a configuration")
	}
	return m, nil
}

// guessType returns the media type of a manifest that does not name its own: the registry's content
// type if it is plausible.
func (m manifest) guessType(contentType string) string {
	header, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil: // no content type
	case m.Manifests != nil && pratique.IsIndexType(header), m.Manifests == nil &&
		pratique.IsManifestType(header):
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

// notImage says why this is not meant to be run; it is empty for an image or an index. An artifact
// type or a subject does not stop a runtime from running an image, so neither counts.
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

// runnable reports whether this is a regular image manifest.
func (m manifest) runnable() bool { return !m.isIndex() && m.notImage() == "" }

// inert reports whether certainly no runtime can run this, whatever an index says: either it names
// nothing to run; or it is an OCI manifest whose configuration has a type that no runtime accepts,
// and no layer has a type that a runtime unpacks. A Docker manifest, and one without a media type,
// is never inert: containers/image runs those with any configuration.
func (m manifest) inert() bool {
	if m.Config == nil && m.Layers == nil && m.Manifests == nil {
		return true
	}
	if !m.typed || m.MediaType != pratique.TypeOCIManifest || m.Config == nil ||
		mayConfigure(m.Config.MediaType) {
		return false
	}
	return !slices.ContainsFunc(m.Layers, func(d descriptor) bool { return mayUnpack(d.MediaType) })
}

// mayConfigure reports whether some runtime accepts a configuration of that type for an image.
// Docker compares prefixes, and accepts the types that old registries use for everything;
// containerd converts those, and can be configured to accept others, such as WebAssembly's.
func mayConfigure(mediaType string) bool {
	t := strings.ToLower(mediaType)
	return slices.Contains([]string{"", "application/octet-stream", "application/json",
		"text/html"}, t) || runnableFamily(t)
}

// mayUnpack reports whether some runtime unpacks a layer of that type.
func mayUnpack(mediaType string) bool {
	return mediaType == "" || runnableFamily(strings.ToLower(mediaType))
}

func runnableFamily(t string) bool {
	for _, prefix := range []string{"application/vnd.oci.image", "application/vnd.docker",
		"application/vnd.containerd", "application/vnd.erofs"} {
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
