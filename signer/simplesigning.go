package signer

import (
	"context"

	"github.com/go-json-experiment/json"

	"github.com/pratique-dev/pratique"
)

// SimpleSignature is what cosign calls the signature of an image: a payload that names the image,
// and its signature.
type SimpleSignature struct {
	Payload   []byte
	Signature Signature
}

// IsZero reports whether s is the zero value, "no signature".
func (s SimpleSignature) IsZero() bool { return s.Payload == nil && s.Signature.IsZero() }

const simpleSigningType = "cosign container image signature"

// The container signature format of containers/image, as cosign fills it.
type simpleSigning struct {
	Critical struct {
		Identity struct {
			DockerReference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			DockerManifestDigest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	// Optional is written as null, as cosign writes it. Payloads of others may have anything there.
	Optional map[string]any `json:"optional"`
}

// ImagePayload is the payload that is signed for a subject, in cosign's simple-signing format. It is
// always the same.
func ImagePayload(subject pratique.Subject) ([]byte, error) {
	const op = "sign image"
	if subject.Digest.IsZero() {
		return nil, pratique.Errorf(pratique.Invalid, op, "%s has no digest", subject.Repository)
	}
	var p simpleSigning
	p.Critical.Identity.DockerReference = subject.Repository.String()
	p.Critical.Image.DockerManifestDigest = subject.Digest.String()
	p.Critical.Type = simpleSigningType
	payload, err := json.Marshal(p, json.FormatNilMapAsNull(true))
	if err != nil {
		return nil, &pratique.Error{Op: op, Subject: subject.String(), Kind: pratique.Internal, Err: err}
	}
	return payload, nil
}

// SignImage signs the [ImagePayload] of subject.
func SignImage(ctx context.Context, s Signer, subject pratique.Subject) (SimpleSignature, error) {
	payload, err := ImagePayload(subject)
	if err != nil {
		return SimpleSignature{}, err
	}
	sig, err := s.Sign(ctx, payload)
	if err != nil {
		return SimpleSignature{}, pratique.Wrap(pratique.Unknown, "sign image", subject.String(), err)
	}
	return SimpleSignature{Payload: payload, Signature: sig}, nil
}

// VerifyImage returns who signed the payload, if the payload has cosign's type and the digest and
// repository of the subject. Anything else is Unverified.
func VerifyImage(v Verifier, subject pratique.Subject, sig SimpleSignature) (pratique.Identity, error) {
	const op = "verify image signature"
	by, err := v.Verify(sig.Payload, sig.Signature)
	if err != nil {
		return nil, pratique.Wrap(pratique.Unverified, op, subject.String(), err)
	}
	var p simpleSigning
	if err := json.Unmarshal(sig.Payload, &p); err != nil {
		return nil, pratique.Wrap(pratique.Unverified, op, subject.String(), err)
	}
	c := p.Critical
	switch {
	case c.Type != simpleSigningType:
		return nil, pratique.Errorf(pratique.Unverified, op, "%s: type %.100q is not %q", subject, c.Type,
			simpleSigningType)
	case c.Image.DockerManifestDigest != subject.Digest.String():
		return nil, pratique.Errorf(pratique.Unverified, op, "%s: the signature names %.100q", subject,
			c.Image.DockerManifestDigest)
	case c.Identity.DockerReference != subject.Repository.String():
		return nil, pratique.Errorf(pratique.Unverified, op, "%s: the signature is for repository %.200q",
			subject, c.Identity.DockerReference)
	}
	return by, nil
}
