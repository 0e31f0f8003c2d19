package pipeline

import (
	"context"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/signer"
)

// Attest is the stage that judges a subject, and signs what was found and decided. It alone holds the
// signing key, and it never touches image content.
type Attest struct {
	Base
	Policy   Policy
	Signer   signer.Signer
	Registry Attestations
	// VerifierID is the URI that verification summaries name; Version is this program's.
	VerifierID, Version string
	// Refresh is the age from which an unchanged verdict is signed again, so that a summary that is acted on
	// is never too old. Zero signs again each time.
	Refresh time.Duration
}

// Attestations writes signed objects to the subject's registry.
type Attestations interface {
	// Begin prepares to attach to the subject.
	Begin(ctx context.Context, s pratique.Subject) (Attaching, error)
	// Holds reports whether the registry still has all of these, verified.
	Holds(ctx context.Context, s pratique.Subject, all []pratique.Attestation) (bool, error)
}

// Attaching is the work on what is attached to one subject.
type Attaching interface {
	// Upload brings an envelope to the registry ahead of Attach, so that less is left to do. Nobody finds it before, and
	// what fails here Attach tries again.
	Upload(ctx context.Context, e signer.Signed) error
	// Attach writes the signature, if it is not nil, and the envelopes, reads everything back, verifies it
	// with the signer's key, and returns what it read.
	Attach(ctx context.Context, sig *signer.SimpleSignature, envelopes []signer.Signed) ([]pratique.Attestation, error)
}

// Handle does the stage for one message.
func (s *Attest) Handle(ctx context.Context, body []byte) error {
	return unlessCancelled(s.handle(ctx, body))
}

func (s *Attest) handle(ctx context.Context, body []byte) error {
	w, err := decodeWork(body)
	if err != nil {
		return err
	}
	if err := s.goesOn(ctx, StageAttest, w); err != nil {
		return err
	}
	if _, over, err := s.Ledger.Settled(ctx, w.Subject, w.Event.ID); err != nil || over {
		return err // its acknowledgement was lost
	}
	seen, ok, err := s.Ledger.Last(ctx, w.Subject, pratique.FactSeen)
	if err != nil {
		return err
	}
	if !ok {
		return pratique.Errorf(pratique.Internal, "attest "+w.Subject.String(), "the subject was never seen")
	}
	judged, err := s.judgeAndAttest(ctx, w, seen.Seen.Manifest)
	if isLost(err) {
		return s.sendBack(ctx, StageInspect, w, err)
	}
	if err != nil {
		return err
	}
	w.Verdict = judged.Digest
	if judged.Verdict.Outcome != pratique.Allow {
		return s.settle(ctx, StageAttest, w, pratique.StateDenied, summary(judged.Verdict))
	}
	if err := s.goesOn(ctx, StageAttest, w); err != nil {
		return err
	}
	return s.pass(ctx, StageDeploy, w)
}

func (s *Attest) judgeAndAttest(ctx context.Context, w Work, m pratique.Manifest) (pratique.Judged, error) {
	if len(m.Children) > 0 {
		return s.judgeAndAttestIndex(ctx, w, m)
	}
	j, err := s.load(ctx, m.Subject)
	if err != nil {
		return pratique.Judged{}, err
	}
	_, known, err := s.Ledger.Last(ctx, m.Subject, pratique.FactAttested)
	if err != nil {
		return pratique.Judged{}, err
	}
	if !known { // of others the registry may hold all that is wanted
		j.prepared = s.prepare(ctx, w, j)
		defer j.prepared.end()
	}
	if j.Judged, err = s.judge(ctx, w, j); err != nil {
		return pratique.Judged{}, err
	}
	return j.Judged, s.attest(ctx, w, j)
}

func (s *Attest) judgeAndAttestIndex(ctx context.Context, w Work, m pratique.Manifest) (pratique.Judged, error) {
	judged, children, err := s.judgeIndex(ctx, w, m)
	if err != nil {
		return judged, err
	}
	for _, c := range children {
		if err := s.attest(ctx, w, c); err != nil {
			return judged, err
		}
	}
	// The index is attested last: whoever finds its summary finds its children's, too.
	return judged, s.attest(ctx, w, judgement{Judged: judged, subject: m.Subject})
}

func summary(v pratique.Verdict) string {
	if len(v.Reasons) == 0 {
		return ""
	}
	return v.Reasons[0].Message
}

// attest makes sure that the registry holds the signed evidence of one judgement.
func (s *Attest) attest(ctx context.Context, w Work, j judgement) error {
	subject := j.subject
	if last, ok, err := s.Ledger.Last(ctx, subject, pratique.FactAttested); err != nil {
		return err
	} else if ok && w.Round == 0 && last.Attested.Verdict == j.Digest && s.made(last.Attested) {
		// A registry may have lost what it held, or somebody may have overwritten it.
		holds, err := s.Registry.Holds(ctx, subject, last.Attested.Attestations)
		if err != nil || holds {
			return err
		}
	}
	if j.prepared == nil {
		j.prepared = s.prepare(ctx, w, j)
		defer j.prepared.end()
	}
	envelopes, attaching, err := j.prepared.signed()
	if err != nil {
		return err
	}
	vsa, err := s.vsa(ctx, j, envelopes)
	if err != nil {
		return err
	}
	// A plain signature on a denied image would let it past a verifier that looks at nothing else.
	var signature *signer.SimpleSignature
	if j.Verdict.Outcome == pratique.Allow {
		made, err := signer.SignImage(ctx, s.Signer, subject)
		if err != nil {
			return err
		}
		signature = &made
	}
	if err := s.goesOn(ctx, StageAttest, w); err != nil {
		return err
	}
	s.edge(StageAttest + ":before-attach")
	attached, err := attaching.Attach(ctx, signature, append(envelopes, vsa))
	if err != nil {
		return err
	}
	s.edge(StageAttest + ":after-attach")
	fact := pratique.Attested{Verdict: j.Digest, Attestations: attached, Verifier: s.VerifierID}
	for _, a := range attached {
		if a.PredicateType == pratique.PredicateVSA {
			fact.VSA = a.Digest
		}
	}
	return s.record(ctx, StageAttest, w, subject, pratique.Fact{Kind: pratique.FactAttested, Attested: &fact})
}

// made reports whether the objects are by this verifier's id and key.
func (s *Attest) made(a *pratique.Attested) bool {
	other := func(a pratique.Attestation) bool { return a.KeyID != s.Signer.KeyID() }
	return a.Verifier == s.VerifierID && !slices.ContainsFunc(a.Attestations, other)
}

// vsa signs the verdict. Its inputs are the statements just signed, by the digest of their payloads: a signature
// differs each time it is made, and an envelope that says the same is not written again. An index rests on its
// children's verdicts.
func (s *Attest) vsa(ctx context.Context, j judgement, envelopes []signer.Signed) (signer.Signed, error) {
	in := attest.VSAInput{
		Verdict: j.Verdict, VerdictDigest: j.Digest, VerifierID: s.VerifierID,
		Version: map[string]string{"pratique": s.Version},
	}
	for i, e := range envelopes {
		in.Inputs = append(in.Inputs, attest.Resource{URI: evidencePredicates[i], Digest: e.Payload()})
	}
	statement, err := attest.NewVSA(in)
	if err != nil {
		return signer.Signed{}, err
	}
	return signer.SignStatement(ctx, s.Signer, statement)
}
