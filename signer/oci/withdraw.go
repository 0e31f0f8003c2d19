package oci

import (
	"context"
	"encoding/base64"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/cosign/v2/pkg/oci/static"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
)

// Withdraw takes the signature away that own's key may have given the image, whatever else is attached to it, and
// looks that it is gone. Signatures of others stay. A tag that holds no manifest of signatures is emptied: an index
// there, for example, may lead to our signature, and tools follow it.
func (a *Attaching) Withdraw(ctx context.Context) error {
	release, err := a.store.locks.Lock(ctx, a.session.subject)
	if err != nil {
		return err
	}
	defer release()
	return a.withdraw(ctx)
}

// withdraw is [Attaching.Withdraw], once, with the subject's lock held.
func (a *Attaching) withdraw(ctx context.Context) error {
	if a.withdrawn {
		return nil
	}
	s := a.session
	payload, err := signer.ImagePayload(s.subject)
	if err != nil {
		return err
	}
	digest := hashOf(payload)
	// Everybody who signs this subject with cosign signs the same bytes, which we know; the signature is in the
	// annotation. So no layer has to be read, and none that cannot be is in the way.
	ours := func(d v1.Descriptor) bool {
		raw, err := base64.StdEncoding.DecodeString(d.Annotations[static.SignatureAnnotationKey])
		return err == nil && d.Digest == digest &&
			signer.VerifyImage(a.own, s.subject, signer.SimpleSignature{Payload: payload, Signature: raw}) == nil
	}
	current, err := s.read(ctx, sigSuffix)
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(current.layers), ours)
	if current.odd != "" || len(kept) < len(current.layers) {
		h := half{suffix: sigSuffix, denies: true}
		if err := s.replace(ctx, h, current, kept, nil); err != nil {
			return err
		}
		if current, err = s.read(ctx, sigSuffix); err != nil {
			return err
		}
		if current.odd != "" || slices.ContainsFunc(current.layers, ours) {
			return s.errorf(pratique.Conflict, "withdraw signature of", "%s holds it again: somebody else wrote at the same time", s.tag(sigSuffix))
		}
	}
	a.withdrawn = true
	return nil
}

// Notes say what of others had to be left out or replaced so far, so that ours could be attached; usually nothing.
func (a *Attaching) Notes() []string {
	a.session.mu.Lock()
	defer a.session.mu.Unlock()
	return slices.Clone(a.session.notes)
}
