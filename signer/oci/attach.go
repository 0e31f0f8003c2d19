package oci

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	cosign "github.com/sigstore/cosign/v2/pkg/types"
	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
)

// predicateAnnotation is where cosign notes the predicate type of an attestation's layer. Nobody signs it.
const predicateAnnotation = "predicateType"

const opAttach = "attach attestations to"

// item is one signature or envelope that is wanted in the registry.
type item struct {
	predicateType string          // empty for the image signature
	payload       pratique.Digest // of what is signed
	content       []byte          // the layer
	desc          v1.Descriptor
}

// half is what is wanted under one of the two tags.
type half struct {
	suffix string
	items  []item
	// denies says that what others attached has to go where it is in the way.
	denies bool
	// held are contents that layers may have, by digest.
	held map[v1.Hash][]byte
	// candidate says, without fetching it, whether a layer may be one that own signed and this replaces.
	candidate func(v1.Descriptor) bool
	// open returns what a layer says, if the own key signed it about the subject: its type, and the digest of what
	// is signed.
	open func(desc v1.Descriptor, content []byte) (predicateType string, payload pratique.Digest, err error)
}

// Attaching is the work on what is attached to one subject. It is safe for concurrent use, and meant for one job: what
// it knows of the registry is of that moment.
type Attaching struct {
	store   *Store
	session *session
	own     signer.Verifier

	mu        sync.Mutex
	items     map[pratique.Digest]item // that were checked, by the digest of the envelope
	withdrawn bool                     // the signature, and it was seen to be gone
}

// Begin prepares to attach what own's key signed about the subject.
func (s *Store) Begin(ctx context.Context, subject pratique.Subject, own signer.Verifier) (*Attaching, error) {
	ses, err := s.open(ctx, subject)
	if err != nil {
		return nil, err
	}
	return &Attaching{store: s, session: ses, own: own, items: map[pratique.Digest]item{}}, nil
}

// Upload brings an envelope to the registry ahead of [Attaching.Attach], which names it there and otherwise would have to
// bring it. Until then nobody finds it. After an error, Attach tries again.
func (a *Attaching) Upload(ctx context.Context, e signer.Signed) error {
	i, err := a.itemOf(e)
	if err != nil {
		return err
	}
	if err := a.session.upload(ctx, i); err != nil {
		return a.session.fail("upload attestation of", err)
	}
	a.session.readAhead(ctx, i)
	return nil
}

// Attach writes the signature and the envelopes of one subject to its registry, and returns them as they were
// read back from there and verified, the signature first. Everything must be signed by own's key and be about
// the subject, with one envelope for each predicate type; otherwise it is Unverified or Invalid and nothing is
// written.
//
// What others attached stays. What is no manifest of attestations is replaced, and a denial, which comes without a
// signature, also leaves out what is in its way, so that nobody can keep it out; see [Attaching.Notes]. An attestation of
// the same predicate type that own's key signed is replaced; if it says the same, it stays, and its digest is the one
// returned. A zero signature withdraws the one that own's key may have given before, see [Attaching.Withdraw]: that comes
// first, and if it fails the envelopes are attached all the same. What should be there and is not when read back is a
// Conflict: somebody else wrote at the same time, and trying again helps.
func (a *Attaching) Attach(ctx context.Context, signature signer.SimpleSignature, envelopes []signer.Signed) ([]pratique.Attestation, error) {
	ses := a.session
	sig, err := a.store.signatureHalf(ses.subject, signature, a.own)
	if err != nil {
		return nil, err
	}
	att, err := a.attestationHalf(envelopes)
	if err != nil {
		return nil, err
	}
	release, err := a.store.locks.Lock(ctx, ses.subject)
	if err != nil {
		return nil, err
	}
	defer release()
	var halves []half
	var withdrawing error
	if att.denies = signature.IsZero(); att.denies {
		withdrawing = a.withdraw(ctx)
	} else {
		halves = append(halves, sig)
	}
	if len(att.items) > 0 {
		halves = append(halves, att)
	}
	results := make([][]pratique.Attestation, len(halves))
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range halves {
		maps.Copy(ses.held, h.held)
	}
	for i, h := range halves {
		g.Go(func() (err error) {
			defer pratique.Caught(pratique.Corrupt, opAttach, &err)
			results[i], err = ses.attach(ctx, h, a.own.KeyID())
			return err
		})
	}
	if err := g.Wait(); err != nil || withdrawing != nil {
		return nil, errors.Join(withdrawing, err)
	}
	return slices.Concat(results...), nil
}

// Attach is [Attaching.Attach] with nothing done ahead.
func (s *Store) Attach(ctx context.Context, subject pratique.Subject, signature signer.SimpleSignature, envelopes []signer.Signed, own signer.Verifier) ([]pratique.Attestation, error) {
	a, err := s.Begin(ctx, subject, own)
	if err != nil {
		return nil, err
	}
	return a.Attach(ctx, signature, envelopes)
}

func (s *Store) signatureHalf(subject pratique.Subject, sig signer.SimpleSignature, own signer.Verifier) (half, error) {
	payload, err := signer.ImagePayload(subject)
	if err != nil {
		return half{}, err
	}
	var items []item
	if !sig.IsZero() {
		if err := signer.VerifyImage(own, subject, sig); err != nil {
			return half{}, err
		}
		payload = sig.Payload
		desc := describe(cosign.SimpleSigningMediaType, sig.Payload)
		desc.Annotations = map[string]string{static.SignatureAnnotationKey: base64.StdEncoding.EncodeToString(sig.Signature)}
		items = append(items, item{payload: pratique.DigestOf(sig.Payload), content: sig.Payload, desc: desc})
	}
	digest := hashOf(payload)
	return half{
		suffix: sigSuffix,
		items:  items,
		held:   map[v1.Hash][]byte{digest: payload},
		// Everybody who signs this subject with cosign signs the same bytes; the signature is in the annotation.
		candidate: func(d v1.Descriptor) bool { return d.Digest == digest },
		open: func(d v1.Descriptor, content []byte) (string, pratique.Digest, error) {
			raw, err := base64.StdEncoding.DecodeString(d.Annotations[static.SignatureAnnotationKey])
			if err != nil {
				return "", pratique.Digest{}, pratique.Errorf(pratique.Unverified, "read signature", "not base64")
			}
			return "", pratique.DigestOf(content), signer.VerifyImage(own, subject, signer.SimpleSignature{Payload: content, Signature: raw})
		},
	}, nil
}

func (a *Attaching) attestationHalf(envelopes []signer.Signed) (half, error) {
	subject, own := a.session.subject, a.own
	h := half{suffix: attSuffix, held: map[v1.Hash][]byte{}}
	h.items = make([]item, len(envelopes))
	var checks errgroup.Group // side by side: an SBOM has megabytes, which are hashed
	for i, e := range envelopes {
		checks.Go(func() (err error) {
			h.items[i], err = a.itemOf(e)
			return err
		})
	}
	if err := checks.Wait(); err != nil {
		return half{}, err
	}
	wanted := map[string]bool{}
	for _, i := range h.items {
		if wanted[i.predicateType] {
			return half{}, pratique.Errorf(pratique.Invalid, opAttach, "%s: two envelopes of type %s", subject, i.predicateType)
		}
		wanted[i.predicateType] = true
		h.held[i.desc.Digest] = i.content
	}
	h.candidate = func(d v1.Descriptor) bool {
		predicateType := d.Annotations[predicateAnnotation]
		return wanted[predicateType] && d.Size <= a.store.limits.layerBytes(predicateType)
	}
	h.open = func(d v1.Descriptor, content []byte) (string, pratique.Digest, error) {
		e, err := signer.DecodeEnvelope(content)
		if err != nil {
			return "", pratique.Digest{}, err
		}
		st, err := openAbout(own, subject, e)
		if err != nil {
			return "", pratique.Digest{}, err
		}
		if st.PredicateType != d.Annotations[predicateAnnotation] {
			return "", pratique.Digest{}, pratique.Errorf(pratique.Unverified, "read attestation", "the layer says %.100q, the statement %.100q",
				d.Annotations[predicateAnnotation], st.PredicateType)
		}
		return st.PredicateType, pratique.DigestOf(e.Payload), nil
	}
	return h, nil
}

// itemOf is the layer that holds an envelope.
func (a *Attaching) itemOf(e signer.Signed) (item, error) {
	a.mu.Lock()
	checked, ok := a.items[e.Digest()]
	a.mu.Unlock()
	if ok {
		return checked, nil
	}
	subject := a.session.subject
	if err := e.Check(a.own, subject.Digest); err != nil {
		return item{}, err
	}
	if most := a.store.limits.layerBytes(e.PredicateType()); int64(len(e.Content())) > most {
		return item{}, &pratique.Error{Op: opAttach, Subject: subject.String(), Kind: pratique.Exhausted,
			Err: pratique.Errorf(pratique.Exhausted, "envelope of type "+e.PredicateType(), "%d bytes, the limit is %d", len(e.Content()), most)}
	}
	desc := v1.Descriptor{
		MediaType: types.MediaType(cosign.DssePayloadType), Size: int64(len(e.Content())),
		Digest: v1.Hash{Algorithm: "sha256", Hex: e.Digest().Hex()},
		// cosign writes the empty signature too; some readers look for the name only.
		Annotations: map[string]string{static.SignatureAnnotationKey: "", predicateAnnotation: e.PredicateType()},
	}
	checked = item{predicateType: e.PredicateType(), payload: e.Payload(), content: e.Content(), desc: desc}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.items[e.Digest()] = checked
	return checked, nil
}

// openAbout opens an envelope and checks that it is about the subject.
func openAbout(v signer.Verifier, subject pratique.Subject, e pratique.Envelope) (pratique.Statement, error) {
	st, err := signer.OpenEnvelope(v, e)
	if err != nil {
		return pratique.Statement{}, err
	}
	if !signer.IsAbout(st, subject.Digest) {
		return pratique.Statement{}, pratique.Errorf(pratique.Unverified, "open envelope", "the statement is not about %s", subject)
	}
	return st, nil
}
