package webhook

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/pratique-dev/pratique"
)

// signatureTag is the reason of signatures, by their tag.
const signatureTag = "signature-tag"

// ignore returns why a notification is ignored, or "", from a closed list. By the reported types of
// a manifest it ignores only what the resolver would ignore too.
func (r *receiver) ignore(n Notification) string {
	if n.Err != nil {
		return "" // it is recorded as a drop
	}
	switch n.Action {
	case ActionPush:
	case ActionPull, ActionMount, ActionDelete, ActionScan, ActionPing, ActionNotImage, actionBlob:
		return string(n.Action)
	default:
		return string(ActionOther)
	}
	switch {
	case n.MediaType != "" && !pratique.IsManifestType(n.MediaType) && !pratique.IsIndexType(n.MediaType):
		return "media-type"
	case pratique.IsSignatureTag(n.Tag):
		return signatureTag
	case n.ConfigType != "" && !pratique.IsImageConfigType(n.ConfigType):
		return "artifact-type"
	case pratique.OnlyEvidence(n.Layers):
		return "attestation"
	case n.Tag == "" && !n.TagUnknown && !r.Untagged:
		return "untagged"
	}
	return ""
}

// event checks a notification and returns its event, without an id. The first result is the reason
// for a drop, or "".
func (r *receiver) event(n Notification, now time.Time) (string, pratique.Event, error) {
	var event pratique.Event
	if n.Err != nil {
		return "unreadable", event, n.Err
	}
	if r.Subscription != "" && n.Subscription != r.Subscription {
		return "subscription", event, fmt.Errorf("subscription %q is not %s",
			pratique.Clip(n.Subscription), r.Subscription)
	}
	if !r.named(n.Host) && !slices.ContainsFunc(n.OtherHosts, r.named) {
		return "host", event, fmt.Errorf("registry %q is neither %s nor one of its aliases",
			pratique.Clip(n.Host), r.Registry)
	}
	path, known := r.path(n)
	if !known {
		return "repository", event, fmt.Errorf("%q is not among the prefixes", pratique.Clip(n.Key))
	}
	ref := pratique.ImageRef{Repository: pratique.Repository{Registry: r.Registry, Path: path},
		Tag: n.Tag}
	if n.Digest != "" {
		id, err := pratique.ParseContentID(n.Digest)
		if err != nil {
			return "reference", event, err
		}
		ref = ref.WithContentID(id)
	}
	if err := ref.Validate(); err != nil {
		return "reference", event, err
	}
	if !r.allows(path) {
		return "repository", event, fmt.Errorf("repository %q is not among those allowed",
			pratique.Clip(path))
	}
	return "", pratique.Event{
		Ref: ref, Source: r.Name, Actor: plain(n.Actor), Delivery: delivery(n.ID),
		Priority:   pratique.PriorityPush,
		TagUnknown: n.TagUnknown && n.Tag == "",
		OccurredAt: representable(n.At), ReceivedAt: now.UTC(),
	}, nil
}

// delivery returns the sender's id as it is stored. A long one is hashed: cut, two with a common
// start would be one.
func delivery(id string) string {
	if len(id) > maxPlain {
		return pratique.DigestOf([]byte(id)).String()
	}
	return plain(id)
}

// named reports whether the payload's name of the registry means the configured one.
func (r *receiver) named(host string) bool {
	if host == "" {
		return !r.format.HostNamed
	}
	return r.hosts[strings.ToLower(host)]
}

// path returns the repository in the registry: the prefix of the sender's key, then the sender's
// name.
func (r *receiver) path(n Notification) (string, bool) {
	if n.Key == "" {
		return n.Repository, true
	}
	prefix, ok := r.Prefixes[n.Key]
	switch {
	case !ok && len(r.Prefixes) > 0:
		return "", false
	case !ok && r.format.KeyIsPrefix:
		prefix = n.Key
	}
	if prefix == "" {
		return n.Repository, true
	}
	return prefix + "/" + n.Repository, true
}

func (r *receiver) allows(repository string) bool {
	return len(r.Repositories) == 0 || pratique.MatchAny(r.Repositories, repository)
}

// plain removes control characters from foreign text, and bounds it.
func plain(s string) string {
	return pratique.Excerpt(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, s), maxPlain)
}

// maxPlain bounds foreign text, in bytes.
const maxPlain = 120
