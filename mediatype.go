package pratique

import "strings"

// The media types of what a registry calls a manifest, and of the configurations that make one a
// container image.
const (
	TypeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	TypeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	TypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	TypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	TypeOCIConfig      = "application/vnd.oci.image.config.v1+json"
	TypeDockerConfig   = "application/vnd.docker.container.image.v1+json"
)

// IsIndexType reports whether a manifest of that type lists the images of several platforms.
func IsIndexType(t string) bool { return t == TypeOCIIndex || t == TypeDockerList }

// IsManifestType reports whether a manifest of that type is one image, or an artifact that uses the
// type of an image.
func IsManifestType(t string) bool { return t == TypeOCIManifest || t == TypeDockerManifest }

// IsImageConfigType reports whether a configuration of that type makes its manifest a container
// image.
func IsImageConfigType(t string) bool { return t == TypeOCIConfig || t == TypeDockerConfig }

// OnlyEvidence reports whether layers of these types hold signatures, attestations or SBOMs and
// nothing else. cosign's signatures and BuildKit's attestations have the manifest and configuration
// types of images, so only their layers differ. No layers are no evidence.
func OnlyEvidence(layerTypes []string) bool {
	for _, t := range layerTypes {
		if !isEvidenceType(t) {
			return false
		}
	}
	return len(layerTypes) > 0
}

func isEvidenceType(t string) bool {
	switch t {
	case "application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.dsse.envelope.v1+json",
		"application/spdx+json", "application/vnd.in-toto+json", "application/vnd.syft+json":
		return true
	}
	for _, prefix := range []string{"application/vnd.dev.sigstore.bundle",
		"application/vnd.cyclonedx", "text/spdx"} {
		if strings.HasPrefix(t, prefix) {
			return true
		}
	}
	return false
}
