package pratique

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Identity says who signed. It is a [Key] or a [Certificate]. Identities are compared with ==; nil
// is nobody.
type Identity interface {
	fmt.Stringer
	identity()
}

// Key is the identity of a signer with a key.
type Key struct {
	// ID is the hexadecimal sha256 of the public key's DER-encoded SubjectPublicKeyInfo.
	ID string `json:"keyID"`
}

// Certificate is the identity of a signer with a certificate.
type Certificate struct {
	// Issuer is the OpenID Connect issuer that the certificate names, SAN its subject alternative
	// name.
	Issuer string `json:"issuer"`
	SAN    string `json:"san"`
}

func (Key) identity()         {}
func (Certificate) identity() {}

// String returns "key " and the id.
func (k Key) String() string { return "key " + k.ID }

// String returns the subject alternative name and the issuer.
func (c Certificate) String() string { return fmt.Sprintf("%q, certified by %q", c.SAN, c.Issuer) }

// ParseIdentity reads the JSON form: {"keyID": "…"} for a key, {"issuer": "…", "san": "…"} for a
// certificate. Null is nil. Anything else is an error.
func ParseIdentity(data []byte) (Identity, error) {
	if string(data) == "null" {
		return nil, nil //nolint:nilnil // null is nobody
	}
	var form struct {
		Key
		Certificate
	}
	if err := json.Unmarshal(data, &form); err != nil {
		return nil, err
	}
	switch {
	case form.ID != "" && form.Certificate == Certificate{}:
		return form.Key, nil
	case form.ID == "" && form.Issuer != "" && form.SAN != "":
		return form.Certificate, nil
	default:
		return nil, errors.New("an identity has a keyID, or issuer and san")
	}
}
