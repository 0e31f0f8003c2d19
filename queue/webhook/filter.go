package webhook

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/pratique-dev/pratique"
)

var manifestTypes = map[string]bool{
	"application/vnd.oci.image.manifest.v1+json":                true,
	"application/vnd.oci.image.index.v1+json":                   true,
	"application/vnd.docker.distribution.manifest.v2+json":      true,
	"application/vnd.docker.distribution.manifest.list.v2+json": true,
}

// signatureTag matches what cosign calls its signatures, attestations and SBOMs, and the tag of an index of
// referrers. Their media types are those of images, so the tag is all there is to see. It is anchored: a tag that
// an image may well have, such as app-sha256-<commit>, must not be ignored without a record. Signatures that cosign
// was told to give a prefix become events, which the resolver settles as ignored by what is in them.
var signatureTag = regexp.MustCompile(`^sha(256-[0-9a-f]{64}|512-[0-9a-f]{128})(\.(sig|att|sbom))?$`)

// ignore says why a notification is none of our business, or "". The answers are a closed list.
func (r *receiver) ignore(n Notification) string {
	switch n.Action {
	case "push":
	case "pull", "mount", "delete":
		return n.Action
	default:
		return "action"
	}
	switch {
	case n.MediaType == "application/octet-stream":
		return "blob"
	case !manifestTypes[n.MediaType]:
		return "media-type"
	case signatureTag.MatchString(n.Tag):
		return "signature-tag"
	case n.Tag == "" && !r.Untagged:
		return "untagged"
	}
	return ""
}

// event checks a notification and makes its event. The first result is the reason for a drop, or "".
func (r *receiver) event(n Notification, now time.Time) (string, pratique.Event, error) {
	var event pratique.Event
	if !r.hosts[strings.ToLower(n.Host)] {
		return "host", event, fmt.Errorf("registry %q is neither %s nor one of its aliases", clip(n.Host), r.Registry)
	}
	ref := pratique.ImageRef{Repository: pratique.Repository{Registry: r.Registry, Path: n.Repository}, Tag: n.Tag}
	if n.Digest != "" {
		d, err := pratique.ParseDigest(n.Digest)
		if err != nil {
			return "reference", event, err
		}
		ref.Digest = d
	}
	if err := ref.Validate(); err != nil {
		return "reference", event, err
	}
	if !r.allows(n.Repository) {
		return "repository", event, fmt.Errorf("repository %q is not among those allowed", clip(n.Repository))
	}
	if n.ID == "" || len(n.ID) > 256 {
		return "no-id", event, errors.New("the event has no id of at most 256 bytes: its retries could not be told from new pushes")
	}
	return "", pratique.Event{
		ID: pratique.EventID(r.Name, ref, n.ID), Ref: ref, Source: r.Name, Actor: plain(n.Actor),
		Lane: pratique.LanePush, OccurredAt: n.At, ReceivedAt: now.UTC(),
	}, nil
}

func (r *receiver) allows(repository string) bool {
	return len(r.Repositories) == 0 || pratique.MatchAny(r.Repositories, repository)
}

// plain keeps control characters and length out of what ends in commits and pages.
func plain(s string) string {
	return clip(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, s))
}

func clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
