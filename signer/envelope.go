package signer

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/pratique-dev/pratique"
)

// PayloadType is the DSSE payload type of in-toto statements, the only one that is signed or
// accepted.
const PayloadType = "application/vnd.in-toto+json"

const (
	statementV1  = "https://in-toto.io/Statement/v1"
	statementV01 = "https://in-toto.io/Statement/v0.1"
	// maxSignatures bounds what an envelope makes a verifier do.
	maxSignatures = 16
)

// OpenEnvelope returns the statement in an envelope, and the first identity that the verifier
// accepts. The key ids in an envelope are not signed, so they are ignored. Another payload type,
// duplicate names, a statement without subject, predicate type or predicate are Unverified, as is an
// envelope without a signature that the verifier accepts.
func OpenEnvelope(v Verifier, e pratique.Envelope) (pratique.Statement, pratique.Identity, error) {
	const op = "open envelope"
	if e.PayloadType != PayloadType {
		return pratique.Statement{}, nil, pratique.Errorf(pratique.Unverified, op,
			"payload type %.100q is not %s", e.PayloadType, PayloadType)
	}
	if len(e.Signatures) > maxSignatures {
		return pratique.Statement{}, nil, pratique.Errorf(pratique.Unverified, op,
			"%d signatures, at most %d are verified", len(e.Signatures), maxSignatures)
	}
	message := dsse.PAE(e.PayloadType, e.Payload)
	var by pratique.Identity
	for _, s := range e.Signatures {
		id, err := v.Verify(message, Signature{Bytes: s.Sig})
		if err == nil && id != nil {
			by = id
			break
		}
	}
	if by == nil {
		return pratique.Statement{}, nil, pratique.Errorf(pratique.Unverified, op,
			"none of %d signatures is valid", len(e.Signatures))
	}
	var st pratique.Statement
	if err := json.Unmarshal(e.Payload, &st); err != nil {
		return pratique.Statement{}, nil, &pratique.Error{Op: op, Kind: pratique.Unverified, Err: err}
	}
	if err := checkStatement(st); err != nil {
		return pratique.Statement{}, nil, &pratique.Error{Op: op, Kind: pratique.Unverified, Err: err}
	}
	return st, by, nil
}

// EncodeEnvelope returns the DSSE JSON form of an envelope, with payload and signatures in standard
// base64. The digest of these bytes names the envelope.
func EncodeEnvelope(e pratique.Envelope) ([]byte, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, &pratique.Error{Op: "encode envelope", Kind: pratique.Internal, Err: err}
	}
	return b, nil
}

// DecodeEnvelope reads the DSSE JSON form, and verifies nothing. Duplicate names and trailing data
// are Corrupt. Members that DSSE does not define are ignored, as DSSE asks.
func DecodeEnvelope(data []byte) (pratique.Envelope, error) {
	var e pratique.Envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return pratique.Envelope{}, &pratique.Error{Op: "decode envelope", Kind: pratique.Corrupt,
			Err: err}
	}
	return e, nil
}

// IsAbout reports whether one of the statement's subjects has the digest.
func IsAbout(st pratique.Statement, d pratique.Digest) bool {
	for _, s := range st.Subject {
		if s.Digest["sha256"] == d.Hex() {
			return true
		}
	}
	return false
}

func checkStatement(st pratique.Statement) error {
	switch {
	case st.Type != statementV1 && st.Type != statementV01:
		return fmt.Errorf("_type %.100q is not an in-toto statement", st.Type)
	case len(st.Subject) == 0:
		return fmt.Errorf("the statement has no subject")
	case st.PredicateType == "":
		return fmt.Errorf("the statement has no predicate type")
	case len(st.Predicate) == 0 || st.Predicate[0] != '{':
		return fmt.Errorf("the statement's predicate is not an object")
	}
	for _, s := range st.Subject {
		if len(s.Digest) == 0 {
			return fmt.Errorf("subject %.100q has no digest", s.Name)
		}
	}
	return nil
}
