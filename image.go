package pratique

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// Digest is a sha256 content digest. It is comparable; the zero value means "no digest".
// Its text form is "sha256:" and 64 lower-case hexadecimal digits.
type Digest struct {
	sum [sha256.Size]byte
}

const digestPrefix = "sha256:"

// DigestOf returns the digest of b.
func DigestOf(b []byte) Digest {
	return Digest{sum: sha256.Sum256(b)}
}

// DigestFromSum returns the digest of a sha256 sum, for example one that was computed while
// streaming.
func DigestFromSum(sum [sha256.Size]byte) Digest {
	return Digest{sum: sum}
}

// ParseDigest reads the text form. It refuses other algorithms and upper-case digits, which would be
// a second spelling of a digest, and 64 zeros, which would mean "no digest".
func ParseDigest(s string) (Digest, error) {
	rest, ok := strings.CutPrefix(s, digestPrefix)
	if !ok {
		return Digest{}, fmt.Errorf("digest %q: want sha256:<64 hex digits>", Clip(s))
	}
	return ParseDigestHex(rest)
}

// ParseDigestHex reads the 64 hexadecimal digits without the algorithm; see [ParseDigest].
func ParseDigestHex(s string) (Digest, error) {
	var d Digest
	if len(s) != hex.EncodedLen(sha256.Size) || strings.ToLower(s) != s {
		return Digest{}, fmt.Errorf("digest %q: want 64 lower-case hex digits after sha256:", Clip(s))
	}
	if _, err := hex.Decode(d.sum[:], []byte(s)); err != nil {
		return Digest{}, fmt.Errorf("digest %q: %w", Clip(s), err)
	}
	if d.IsZero() {
		return Digest{}, fmt.Errorf("digest %q: no content has it", Clip(s))
	}
	return d, nil
}

// IsZero reports whether d is the zero value, "no digest".
func (d Digest) IsZero() bool { return d == Digest{} }

// Hex returns the 64 hexadecimal digits without the algorithm.
func (d Digest) Hex() string { return hex.EncodeToString(d.sum[:]) }

// String returns the text form, or "" for the zero value.
func (d Digest) String() string {
	if d.IsZero() {
		return ""
	}
	return digestPrefix + d.Hex()
}

// MarshalText implements [encoding.TextMarshaler].
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; the empty text is the zero value.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = Digest{}
		return nil
	}
	parsed, err := ParseDigest(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// Repository names an image repository: a registry host with optional port, and a path. It is
// comparable.
type Repository struct {
	Registry string `json:"registry"`
	Path     string `json:"path"`
}

// The grammar of the OCI distribution specification, with its length limits checked apart.
var (
	hostPattern = regexp.MustCompile(`^(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?)(:[0-9]{1,5})?$`)
	pathPattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

const maxRepositoryName = 255

// ParseRepository reads "registry/path". The registry is required, because a default would make two
// services read one name differently.
func ParseRepository(s string) (Repository, error) {
	host, path, ok := strings.Cut(s, "/")
	if !ok || !looksLikeHost(host) {
		return Repository{}, fmt.Errorf("repository %q: name the registry too, as in docker.io/library/alpine", Clip(s))
	}
	r := Repository{Registry: host, Path: path}
	return r, r.Validate()
}

func looksLikeHost(s string) bool {
	return s == "localhost" || strings.ContainsAny(s, ".:")
}

// Validate checks both parts against the grammar of the OCI distribution specification.
func (r Repository) Validate() error {
	if !hostPattern.MatchString(r.Registry) || len(r.Registry) > maxRepositoryName {
		return fmt.Errorf("registry %q is not a host with an optional port", Clip(r.Registry))
	}
	if !pathPattern.MatchString(r.Path) || len(r.Path) > maxRepositoryName {
		return fmt.Errorf("repository path %q is not lower-case words separated by slashes", Clip(r.Path))
	}
	return nil
}

// IsZero reports whether r names nothing.
func (r Repository) IsZero() bool { return r == Repository{} }

// String returns "registry/path".
func (r Repository) String() string {
	if r.IsZero() {
		return ""
	}
	return r.Registry + "/" + r.Path
}

// ImageRef is what somebody named: a repository with a tag, a digest, or both. A tag may name
// another image tomorrow; only a resolver turns a ref into a [Subject].
type ImageRef struct {
	Repository Repository `json:"repository"`
	Tag        string     `json:"tag,omitempty"`
	Digest     Digest     `json:"digest,omitzero"`
	// Other is the digest if it is not of sha256; then Digest is zero.
	Other ContentID `json:"other,omitzero"`
}

// ContentID is the digest, of either algorithm; zero if the ref has none.
func (r ImageRef) ContentID() ContentID {
	if r.Digest.IsZero() {
		return r.Other
	}
	return r.Digest.ContentID()
}

// WithContentID returns r with the digest.
func (r ImageRef) WithContentID(id ContentID) ImageRef {
	if d, ok := id.Digest(); ok {
		r.Digest, r.Other = d, ContentID{}
	} else {
		r.Digest, r.Other = Digest{}, id
	}
	return r
}

// ParseImageRef reads "registry/path[:tag][@sha256:…]", or with a digest of sha512. Without tag and
// digest the tag is "latest".
func ParseImageRef(s string) (ImageRef, error) {
	var ref ImageRef
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		return ref, fmt.Errorf("image %q: leave out %s://, as in %s", Clip(s), Clip(scheme), Clip(rest))
	}
	name, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		id, err := ParseContentID(digest)
		if err != nil {
			return ImageRef{}, fmt.Errorf("image %q: %w", Clip(s), err)
		}
		ref = ref.WithContentID(id)
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, ref.Tag = name[:i], name[i+1:]
		if !tagPattern.MatchString(ref.Tag) {
			return ImageRef{}, fmt.Errorf("image %q: %q is not a tag", Clip(s), Clip(ref.Tag))
		}
	}
	if ref.Tag == "" && !hasDigest {
		ref.Tag = "latest"
	}
	repo, err := ParseRepository(name)
	if err != nil {
		return ImageRef{}, fmt.Errorf("image %q: %w", Clip(s), err)
	}
	ref.Repository = repo
	return ref, nil
}

// Validate checks a ref that was decoded, not parsed.
func (r ImageRef) Validate() error {
	if err := r.Repository.Validate(); err != nil {
		return err
	}
	if r.Tag != "" && !tagPattern.MatchString(r.Tag) {
		return fmt.Errorf("tag %q: want up to 128 letters, digits, dots, dashes and underscores",
			Clip(r.Tag))
	}
	if !r.Digest.IsZero() && !r.Other.IsZero() {
		return fmt.Errorf("image %s has two digests", r.Repository)
	}
	if r.Tag == "" && r.ContentID().IsZero() {
		return fmt.Errorf("image %s has neither tag nor digest", r.Repository)
	}
	return nil
}

// String returns the text form that [ParseImageRef] reads.
func (r ImageRef) String() string {
	s := r.Repository.String()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if id := r.ContentID(); !id.IsZero() {
		s += "@" + id.String()
	}
	return s
}

// signatureTag is anchored: a tag such as app-sha256-<commit> is one of an image, which must not be
// ignored.
var signatureTag = regexp.MustCompile(`^sha(256-[0-9a-f]{64}|512-[0-9a-f]{128})(\.(sig|att|sbom))?$`)

// IsSignatureTag reports whether a tag is one that cosign gives to signatures, attestations and
// SBOMs, or the tag of an index of referrers. Such manifests have the media types of images, so only
// the tag shows what they are. Tags with a prefix that cosign was configured with are not
// recognized; the resolver recognizes those manifests by their content.
func IsSignatureTag(tag string) bool { return signatureTag.MatchString(tag) }

// Subject is what is meant: one manifest in one repository. It is comparable. Every stage after the
// resolver takes a Subject, so acting on a tag that has moved does not compile.
type Subject struct {
	Repository Repository `json:"repository"`
	Digest     Digest     `json:"digest"`
}

// ParseSubject reads "registry/path@sha256:…", as written by [Subject.String].
func ParseSubject(s string) (Subject, error) {
	ref, err := ParseImageRef(s)
	if err != nil {
		return Subject{}, err
	}
	if ref.Tag != "" || ref.Digest.IsZero() {
		return Subject{}, fmt.Errorf("subject %q: want registry/path@sha256:… without a tag", Clip(s))
	}
	return Subject{Repository: ref.Repository, Digest: ref.Digest}, nil
}

// IsZero reports whether s names nothing.
func (s Subject) IsZero() bool { return s == Subject{} }

// Sibling returns another manifest of the same repository, for example a platform image of an index.
func (s Subject) Sibling(d Digest) Subject { return Subject{Repository: s.Repository, Digest: d} }

// String returns "registry/path@sha256:…".
func (s Subject) String() string {
	if s.IsZero() {
		return ""
	}
	return s.Repository.String() + "@" + s.Digest.String()
}

// Platform is "os/architecture[/variant]" as registries write it, for example "linux/arm64/v8".
type Platform string
