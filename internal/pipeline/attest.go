package pipeline

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

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
	// Attach writes the signature, if it is not nil, and the envelopes, reads everything back, verifies it
	// with the signer's key, and returns what it read.
	Attach(ctx context.Context, s pratique.Subject, sig *signer.SimpleSignature, envelopes []pratique.Envelope) ([]pratique.Attestation, error)
	// Holds reports whether the registry still has all of these, verified.
	Holds(ctx context.Context, s pratique.Subject, all []pratique.Attestation) (bool, error)
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
	judged, children, err := s.judge(ctx, w, m)
	if err != nil {
		return judged, err
	}
	for _, c := range children {
		if err := s.attest(ctx, w, c); err != nil {
			return judged, err
		}
	}
	if len(m.Children) == 0 {
		return judged, nil
	}
	// The index is attested last: whoever finds its summary finds its children's, too.
	return judged, s.attest(ctx, w, judgement{Judged: judged})
}

func summary(v pratique.Verdict) string {
	if len(v.Reasons) == 0 {
		return ""
	}
	return v.Reasons[0].Message
}

// attest makes sure that the registry holds the signed evidence of one judgement.
func (s *Attest) attest(ctx context.Context, w Work, j judgement) error {
	subject := j.Verdict.Subject
	if last, ok, err := s.Ledger.Last(ctx, subject, pratique.FactAttested); err != nil {
		return err
	} else if ok && w.Round == 0 && last.Attested.Verdict == j.Digest && s.made(last.Attested) {
		// A registry may have lost what it held, or somebody may have overwritten it.
		holds, err := s.Registry.Holds(ctx, subject, last.Attested.Attestations)
		if err != nil || holds {
			return err
		}
	}
	envelopes, err := s.evidence(ctx, w, j)
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
	attached, err := s.Registry.Attach(ctx, subject, signature, append(envelopes, vsa))
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

// evidence signs the SBOMs and the report of a platform image. An index has none of its own.
func (s *Attest) evidence(ctx context.Context, w Work, j judgement) ([]pratique.Envelope, error) {
	if j.inspected == nil {
		return nil, nil
	}
	subject := j.Verdict.Subject
	builders := map[string]func(ctx context.Context) (pratique.Statement, error){
		pratique.PredicateSPDX: func(ctx context.Context) (pratique.Statement, error) {
			spdx, err := s.document(ctx, j.inspected.SPDX)
			if err != nil {
				return pratique.Statement{}, err
			}
			return attest.SPDX(subject, spdx)
		},
		pratique.PredicateCycloneDX: func(ctx context.Context) (pratique.Statement, error) {
			cyclonedx, err := s.document(ctx, j.inspected.CycloneDX)
			if err != nil {
				return pratique.Statement{}, err
			}
			return attest.CycloneDX(subject, cyclonedx)
		},
		pratique.PredicateVulnerability: func(context.Context) (pratique.Statement, error) {
			return attest.Vulnerability(attest.VulnerabilityInput{
				Subject: subject, Report: j.report, StartedAt: j.matched.StartedAt, Builder: s.VerifierID, Event: w.Event.ID,
			})
		},
	}
	// Side by side: an SBOM has megabytes, which are read, encoded and hashed.
	envelopes := make([]pratique.Envelope, len(evidencePredicates))
	group, ctx := errgroup.WithContext(ctx)
	for i, predicate := range evidencePredicates {
		group.Go(func() error {
			statement, err := builders[predicate](ctx)
			if err != nil {
				return err
			}
			envelopes[i], err = signer.SignStatement(ctx, s.Signer, statement)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return envelopes, nil
}

// evidencePredicates are the statements about a platform image, in the order in which they are signed.
var evidencePredicates = []string{pratique.PredicateSPDX, pratique.PredicateCycloneDX, pratique.PredicateVulnerability}

// vsa signs the verdict. Its inputs are the statements just signed, by the digest of their payloads: a signature
// differs each time it is made, and an envelope that says the same is not written again. An index rests on its
// children's verdicts.
func (s *Attest) vsa(ctx context.Context, j judgement, envelopes []pratique.Envelope) (pratique.Envelope, error) {
	in := attest.VSAInput{
		Verdict: j.Verdict, VerdictDigest: j.Digest, VerifierID: s.VerifierID,
		Version: map[string]string{"pratique": s.Version},
	}
	for i, e := range envelopes {
		in.Inputs = append(in.Inputs, attest.Resource{URI: evidencePredicates[i], Digest: pratique.DigestOf(e.Payload)})
	}
	statement, err := attest.NewVSA(in)
	if err != nil {
		return pratique.Envelope{}, err
	}
	return signer.SignStatement(ctx, s.Signer, statement)
}
