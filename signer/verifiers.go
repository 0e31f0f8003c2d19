package signer

import (
	"github.com/pratique-dev/pratique"
)

// AnyOf returns a verifier that accepts what one of the verifiers accepts.
func AnyOf(verifiers ...Verifier) Verifier { return anyOf(verifiers) }

type anyOf []Verifier

func (all anyOf) Verify(message []byte, s Signature) (pratique.Identity, error) {
	for _, v := range all {
		if id, err := v.Verify(message, s); err == nil {
			return id, nil
		}
	}
	return nil, pratique.Errorf(pratique.Unverified, "verify signature",
		"none of %d verifiers accepts it", len(all))
}

// Only returns a verifier that accepts what v accepts, if that identity signed it. It accepts
// nothing for a nil identity.
func Only(v Verifier, identity pratique.Identity) Verifier { return only{v, identity} }

type only struct {
	verifier Verifier
	identity pratique.Identity
}

func (o only) Verify(message []byte, s Signature) (pratique.Identity, error) {
	id, err := o.verifier.Verify(message, s)
	if err != nil {
		return nil, err
	}
	if id == nil || id != o.identity {
		return nil, pratique.Errorf(pratique.Unverified, "verify signature", "it is by %v, not by %v", id,
			o.identity)
	}
	return id, nil
}
