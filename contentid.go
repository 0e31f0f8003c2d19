package pratique

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// ContentID names content as a registry does: by sha256, or by sha512. It is comparable; the zero
// value means "none". What is stored, signed and committed is named by a [Digest], which is always
// sha256. Bytes are fetched and verified by a ContentID.
type ContentID struct {
	text string
}

const contentID512 = "sha512:"

// ParseContentID reads "sha256:" or "sha512:" and the lower-case hexadecimal digits. Other
// algorithms cannot be verified here, and are refused.
func ParseContentID(s string) (ContentID, error) {
	rest, ok := strings.CutPrefix(s, contentID512)
	if !ok {
		if algorithm, _, found := strings.Cut(s, ":"); found && algorithm != "sha256" {
			return ContentID{}, fmt.Errorf("digest %q: %q cannot be verified, only sha256 and sha512 can", Clip(s), Clip(algorithm))
		}
		d, err := ParseDigest(s)
		return d.ContentID(), err
	}
	if raw, err := hex.DecodeString(rest); err != nil || len(raw) != sha512.Size ||
		strings.ToLower(rest) != rest {
		return ContentID{}, fmt.Errorf("digest %q: want %d lower-case hex digits after sha512:",
			Clip(s), hex.EncodedLen(sha512.Size))
	}
	return ContentID{text: s}, nil
}

// ContentID returns d as a ContentID.
func (d Digest) ContentID() ContentID { return ContentID{text: d.String()} }

// IsZero reports whether c names nothing.
func (c ContentID) IsZero() bool { return c.text == "" }

// Digest returns c if it is a sha256 digest.
func (c ContentID) Digest() (d Digest, ok bool) {
	if c.IsZero() || strings.HasPrefix(c.text, contentID512) {
		return Digest{}, false
	}
	d, err := ParseDigest(c.text)
	return d, err == nil
}

// Hash returns a new hash of c's algorithm, for [ContentID.Sums].
func (c ContentID) Hash() hash.Hash {
	if strings.HasPrefix(c.text, contentID512) {
		return sha512.New()
	}
	return sha256.New()
}

// Sums reports whether h, which has read all of the content, has the sum c.
func (c ContentID) Sums(h hash.Hash) bool {
	return !c.IsZero() && bytes.Equal(h.Sum(nil), c.Sum())
}

// Sum is the sum itself, 32 or 64 bytes; empty for the zero value.
func (c ContentID) Sum() []byte {
	_, digits, _ := strings.Cut(c.text, ":")
	sum, _ := hex.DecodeString(digits) // it was checked when it was parsed
	return sum
}

// Of reports whether the content has the digest c.
func (c ContentID) Of(content []byte) bool {
	h := c.Hash()
	_, _ = h.Write(content) // a hash never fails to write
	return c.Sums(h)
}

// Equal reports whether both are the same, for comparisons by reflection.
func (c ContentID) Equal(other ContentID) bool { return c == other }

// String returns the text form, or "" for the zero value.
func (c ContentID) String() string { return c.text }

// MarshalText implements [encoding.TextMarshaler].
func (c ContentID) MarshalText() ([]byte, error) { return []byte(c.text), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; the empty text is the zero value.
func (c *ContentID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*c = ContentID{}
		return nil
	}
	parsed, err := ParseContentID(string(text))
	if err != nil {
		return err
	}
	*c = parsed
	return nil
}
