package webhook

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

const minSecret = 16

// authenticator compares hashes, so neither content nor length of a secret shows in the time it takes.
type authenticator struct {
	header   string
	hashes   [][sha256.Size]byte
	insecure bool
}

func newAuthenticator(a Auth) (authenticator, error) {
	out := authenticator{header: http.CanonicalHeaderKey(a.Header), insecure: a.Insecure}
	if out.header == "" {
		out.header = "Authorization"
	}
	switch {
	case a.Insecure && len(a.Values) > 0:
		return out, errors.New("auth: insecure and values exclude each other")
	case !a.Insecure && len(a.Values) == 0:
		return out, errors.New("auth: no value given; to accept requests from anybody say insecure")
	}
	for i, v := range a.Values {
		secret := v
		if scheme, rest, ok := strings.Cut(v, " "); ok && scheme != "" {
			secret = rest
		}
		if len(secret) < minSecret || strings.TrimSpace(v) != v {
			return out, fmt.Errorf("auth: value %d: want a secret of at least %d characters without spaces around it", i+1, minSecret)
		}
		out.hashes = append(out.hashes, sha256.Sum256([]byte(v)))
	}
	return out, nil
}

// decoy does the same work for receivers that do not exist, and accepts nothing.
func decoy() authenticator {
	var unknown [sha256.Size]byte
	_, _ = rand.Read(unknown[:]) // never fails
	return authenticator{header: "Authorization", hashes: [][sha256.Size]byte{unknown}}
}

func (a authenticator) accepts(h http.Header) bool {
	values := h[a.header]
	presented := ""
	if len(values) == 1 {
		presented = values[0]
	}
	sum := sha256.Sum256([]byte(presented))
	found := 0
	for _, hash := range a.hashes {
		found |= subtle.ConstantTimeCompare(sum[:], hash[:])
	}
	return a.insecure || found == 1
}
