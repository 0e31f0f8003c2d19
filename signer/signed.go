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

// Signed is a statement in the envelope in which it was signed here. Only [SignStatement] makes
// one, so what it says of its statement need not be read again out of megabytes of payload. The
// zero value is signed by nobody.
type Signed struct {
	predicateType string
	subject       []pratique.StatementSubject
	// message is what the signature is over: a prefix, and then the payload.
	message   []byte
	signature Signature
	payload   pratique.Digest
	content   []byte
	digest    pratique.Digest
}

// PredicateType is that of the statement.
func (s Signed) PredicateType() string { return s.predicateType }

// Payload is the digest of the signed bytes, which is the same whenever the same is stated.
func (s Signed) Payload() pratique.Digest { return s.payload }

// Content is the envelope in its DSSE JSON form, as [EncodeEnvelope] gives it. It must not be
// changed.
func (s Signed) Content() []byte { return s.content }

// Digest is that of the content, which names the envelope.
func (s Signed) Digest() pratique.Digest { return s.digest }

// Signature is the one in the envelope, which has room for its bytes alone.
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
// gives the same payload bytes; the signature may differ each time. A predicate that is not one
// JSON object is Invalid, and so is one with a name that occurs twice in it: two readers could see
// two different documents.
//
// An SBOM has megabytes, so they are read once and copied no more often than they have to be.
func SignStatement(ctx context.Context, s Signer, st pratique.Statement) (Signed, error) {
	const op = "sign statement"
	if err := checkStatement(st); err != nil {
		return Signed{}, &pratique.Error{Op: op, Kind: pratique.Invalid, Err: err}
	}
	message, start, err := paeOf(st)
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
	content, err := envelopeOf(payload, pratique.EnvelopeSignature{KeyID: hint, Sig: sig.Bytes})
	if err != nil {
		return Signed{}, err
	}
	return Signed{
		predicateType: st.PredicateType, subject: st.Subject, message: message, signature: sig,
		payload: pratique.DigestOf(payload), content: content, digest: pratique.DigestOf(content),
	}, nil
}

// paeOf encodes a statement, with DSSE's pre-authentication encoding before it: the message to
// sign. The payload begins at start, and the predicate is in it as it is.
func paeOf(st pratique.Statement) (message []byte, start int, err error) {
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

// envelopeOf is [EncodeEnvelope] for one signature, in one piece of memory.
func envelopeOf(payload []byte, sig pratique.EnvelopeSignature) ([]byte, error) {
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
