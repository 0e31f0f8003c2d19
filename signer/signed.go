package signer

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/pratique-dev/pratique"
)

// Signed is a statement in the envelope in which it was signed. Only [SignStatement] makes one, so
// its fields describe the statement without decoding megabytes of payload. The zero value is signed
// by nobody.
type Signed struct {
	predicateType string
	subject       []pratique.StatementSubject
	// message is what was signed: a prefix and the payload.
	message   []byte
	signature Signature
	payload   pratique.Digest
	content   []byte
	digest    pratique.Digest
}

// PredicateType is that of the statement.
func (s Signed) PredicateType() string { return s.predicateType }

// Payload is the digest of the signed bytes. The same statement always has the same payload.
func (s Signed) Payload() pratique.Digest { return s.payload }

// Content is the envelope in its DSSE JSON form, as [EncodeEnvelope] returns it. It must not be
// modified.
func (s Signed) Content() []byte { return s.content }

// Digest is that of the content, which names the envelope.
func (s Signed) Digest() pratique.Digest { return s.digest }

// Signature is the signature in the envelope, which stores only its bytes.
func (s Signed) Signature() Signature { return s.signature }

// Check returns nil if the verifier accepts the signature and the statement is about the digest.
// Otherwise it is Unverified.
func (s Signed) Check(v Verifier, about pratique.Digest) error {
	const op = "check envelope"
	if _, err := v.Verify(s.message, s.signature); err != nil {
		return pratique.Wrap(pratique.Unverified, op, s.predicateType, err)
	}
	if !IsAbout(pratique.Statement{Subject: s.subject}, about) {
		return pratique.Errorf(pratique.Unverified, op, "the statement is not about %s", about)
	}
	return nil
}

// SignStatement puts a statement into a DSSE envelope with one signature. The same statement always
// gives the same payload; the signature may differ. A predicate that is not one JSON object is
// Invalid, and so is one with duplicate names: two readers could see two different documents.
//
// An SBOM has megabytes, so it is read once and copied as little as possible.
func SignStatement(ctx context.Context, s Signer, st pratique.Statement) (Signed, error) {
	const op = "sign statement"
	if err := checkStatement(st); err != nil {
		return Signed{}, &pratique.Error{Op: op, Kind: pratique.Invalid, Err: err}
	}
	message, start, err := encodePAE(st)
	if err != nil {
		return Signed{}, &pratique.Error{Op: op, Kind: pratique.Invalid, Err: err}
	}
	sig, err := s.Sign(ctx, message)
	if err != nil {
		return Signed{}, pratique.Wrap(pratique.Unknown, op, "", err)
	}
	payload := message[start:]
	hint := ""
	if key, ok := s.Identity().(pratique.Key); ok {
		hint = key.ID
	}
	content, err := encodeSigned(payload, pratique.EnvelopeSignature{KeyID: hint, Sig: sig.Bytes})
	if err != nil {
		return Signed{}, err
	}
	return Signed{
		predicateType: st.PredicateType, subject: st.Subject, message: message, signature: sig,
		payload: pratique.DigestOf(payload), content: content, digest: pratique.DigestOf(content),
	}, nil
}

// encodePAE encodes a statement with DSSE's pre-authentication encoding, the message to sign. The
// payload begins at start, and contains the predicate unchanged.
func encodePAE(st pratique.Statement) (message []byte, start int, err error) {
	// It also refuses duplicate names and invalid UTF-8.
	if !st.Predicate.IsValid() {
		return nil, 0, errors.New("the statement's predicate is not valid JSON")
	}
	predicate := st.Predicate
	const empty = "{}"
	st.Predicate = []byte(empty)
	around, err := json.Marshal(st, json.Deterministic(true))
	if err != nil {
		return nil, 0, err
	}
	end := len(around) - len("}") // the predicate is the last member
	around, rest := around[:end-len(empty)], around[end:]
	before := "DSSEv1 " + strconv.Itoa(len(PayloadType)) + " " + PayloadType + " " +
		strconv.Itoa(len(around)+len(predicate)+len(rest)) + " "
	return slices.Concat([]byte(before), around, predicate, rest), len(before), nil
}

// encodeSigned is [EncodeEnvelope] for one signature, with one allocation.
func encodeSigned(payload []byte, sig pratique.EnvelopeSignature) ([]byte, error) {
	around, err := EncodeEnvelope(pratique.Envelope{PayloadType: PayloadType, Payload: []byte{},
		Signatures: []pratique.EnvelopeSignature{sig}})
	if err != nil {
		return nil, err
	}
	const empty = `"payload":"`
	at := bytes.Index(around, []byte(empty)) + len(empty)
	content := make([]byte, 0, len(around)+base64.StdEncoding.EncodedLen(len(payload)))
	content = append(content, around[:at]...)
	content = base64.StdEncoding.AppendEncode(content, payload)
	return append(content, around[at:]...), nil
}
