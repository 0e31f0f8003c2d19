package pipeline

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/internal/keyed"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci"
)

// Attest is the stage that evaluates a subject, and signs what was found and decided. It alone holds the
// signing key, and it never touches image content.
type Attest struct {
	Base
	Policy Policy
	Signer signer.Signer
	// Verifier accepts what the signer signs. It reads back what was attached.
	Verifier     signer.Verifier
	Store        Store
	Attestations Attestations
	// VerifierID is the URI that verification summaries name; Version is this program's.
	VerifierID, Version string
	// Refresh is the age from which an unchanged verdict is signed again, so that a summary that is acted on
	// is never too old. Zero signs again each time.
	Refresh time.Duration

	// subjects lets one worker at a time work on a subject, and on the images of an index: CI pushes one digest under two tags at
	// the same moment, and whoever comes second finds the facts of the first.
	subjects keyed.Mutex
}

// Store attaches signed objects to images in their registry: an [oci.Store] of which reading is not needed.
type Store interface {
	Open(ctx context.Context, s pratique.Subject, v signer.Verifier, own pratique.Identity) (oci.Session, error)
}

// Attestations looks at what is attached; a verify.Reader does.
type Attestations interface {
	// Holds reports whether the registry still has all of these, verified.
	Holds(ctx context.Context, s pratique.Subject, all []pratique.Attestation) (bool, error)
}

// subjectBusy is for how long a job waits in the queue while another one works on its subject.
const subjectBusy = time.Second

// Busy returns for how long it makes no sense to begin a job: another one works on its subject, and a worker that waited for
// that would do nothing else. It is 0 if it can begin.
func (s *Attest) Busy(w Work) time.Duration {
	if s.subjects.Held(w.Subject) {
		return subjectBusy
	}
	return 0
}

// Handle does the stage for one message.
func (s *Attest) Handle(ctx context.Context, body []byte) error {
	return unlessCanceled(s.handle(ctx, body))
}

func (s *Attest) handle(ctx context.Context, body []byte) error {
	w, err := DecodeWork(body)
	if err != nil {
		return err
	}
	if err := s.goesOn(ctx, pratique.StageAttest, w); err != nil {
		return err
	}
	if _, over, err := s.Ledger.Completed(ctx, w.Subject, w.Event.ID); err != nil || over {
		return err // its acknowledgement was lost
	}
	resolved, err := newest[pratique.Resolved](ctx, s.Ledger, w.Subject)
	if err != nil {
		return err
	}
	if resolved == nil {
		return pratique.Errorf(pratique.Internal, "attest "+w.Subject.String(), "the subject was never resolved")
	}
	// Who evaluates an index evaluates and signs its images: nobody else may do so meanwhile, with another report.
	concerned := []pratique.Subject{w.Subject}
	for _, c := range resolved.Manifest.Children {
		concerned = append(concerned, w.Subject.Sibling(c.Digest))
	}
	release, err := s.subjects.LockAll(ctx, concerned...)
	if err != nil {
		return err
	}
	defer release()
	evaluated, err := s.evaluateAndAttest(ctx, w, resolved.Manifest)
	for again := 0; errors.As(err, new(newerReport)) && again < mostAgain; again++ {
		evaluated, err = s.evaluateAndAttest(ctx, w, resolved.Manifest)
	}
	if isLost(err) {
		return s.sendBack(ctx, pratique.StageInspect, w, err)
	}
	if err != nil {
		return err
	}
	w.Verdict = evaluated.Digest
	if evaluated.Verdict.Outcome != pratique.Allow {
		return s.complete(ctx, pratique.StageAttest, w, pratique.StateDenied, summary(evaluated.Verdict))
	}
	if err := s.goesOn(ctx, pratique.StageAttest, w); err != nil {
		return err
	}
	return s.pass(ctx, pratique.StageDeploy, w)
}

// newerReport is an error about an image that was matched with another database while it was evaluated.
type newerReport struct{ error }

func (e newerReport) Unwrap() error { return e.error }

// mostAgain is how often an image is evaluated again at once because a newer report came. Then it waits as for anything else.
const mostAgain = 3

func (s *Attest) evaluateAndAttest(ctx context.Context, w Work, m pratique.Manifest) (pratique.Evaluated, error) {
	if m.IsIndex() {
		return s.evaluateAndAttestIndex(ctx, w, m)
	}
	j, err := s.load(ctx, m.Subject)
	if err != nil {
		return pratique.Evaluated{}, err
	}
	known, err := newest[pratique.Attested](ctx, s.Ledger, m.Subject)
	if err != nil {
		return pratique.Evaluated{}, err
	}
	if known == nil { // of others the registry may hold all that is wanted
		j.prepared = s.prepare(ctx, w, j)
		defer j.prepared.end()
	}
	if err = s.evaluate(ctx, w, &j); err != nil {
		return pratique.Evaluated{}, err
	}
	return j.Evaluated, s.attest(ctx, w, j)
}

func (s *Attest) evaluateAndAttestIndex(ctx context.Context, w Work, m pratique.Manifest) (pratique.Evaluated, error) {
	index, err := s.evaluateIndex(ctx, w, m)
	if err != nil {
		return pratique.Evaluated{}, err
	}
	// The index is attested last: whoever finds its summary finds its children's, too. A denial does not wait for that.
	var all []error
	for _, c := range append(index.children, index) {
		err := s.attest(ctx, w, c)
		if err != nil && index.Verdict.Outcome == pratique.Allow {
			return index.Evaluated, err
		}
		all = append(all, err)
	}
	return index.Evaluated, joined(all...)
}

// joined joins errors so that one that may pass speaks first: then there is another try.
func joined(all ...error) error {
	permanent := func(err error) int {
		if err != nil && pratique.KindOf(err).Permanent() {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b error) int { return permanent(a) - permanent(b) })
	return errors.Join(all...)
}

func summary(v pratique.Verdict) string {
	if len(v.Reasons) == 0 {
		return ""
	}
	return pratique.Excerpt(v.Reasons[0].Message, mostText)
}

// attest makes sure that the registry holds the signed evidence of one evaluation.
func (s *Attest) attest(ctx context.Context, w Work, j evaluation) error {
	subject := j.subject
	if err := s.stillNewest(ctx, j); err != nil {
		return err
	}
	if last, err := newest[pratique.Attested](ctx, s.Ledger, subject); err != nil {
		return err
	} else if last != nil && w.Round == 0 && last.Verdict == j.Digest && s.made(last) {
		// A registry may have lost what it held, or somebody may have overwritten it.
		holds, err := s.Attestations.Holds(ctx, subject, last.Attestations)
		if err != nil || holds {
			return joined(j.withdrawing, err)
		}
	}
	if j.prepared == nil {
		j.prepared = s.prepare(ctx, w, j)
		defer j.prepared.end()
	}
	envelopes, session, err := j.prepared.signed()
	if err != nil {
		return err
	}
	vsa, err := s.vsa(ctx, j, envelopes)
	if err != nil {
		return err
	}
	// A plain signature on a denied image would let it past a verifier that looks at nothing else.
	var signature signer.SimpleSignature
	if j.Verdict.Outcome == pratique.Allow {
		if signature, err = signer.SignImage(ctx, s.Signer, subject); err != nil {
			return err
		}
	}
	if err := s.goesOn(ctx, pratique.StageAttest, w); err != nil {
		return err
	}
	s.edge(pratique.StageAttest + ":before-attach")
	attached, err := session.Attach(ctx, signature, append(envelopes, vsa))
	if err != nil {
		return err
	}
	s.edge(pratique.StageAttest + ":after-attach")
	fact := pratique.Attested{Verdict: j.Digest, Attestations: attached, Verifier: s.VerifierID, Notes: excerpts(session.Notes())}
	for _, a := range attached {
		if a.PredicateType == pratique.PredicateVSA {
			fact.VSA = a.Digest
		}
	}
	return s.record(ctx, pratique.StageAttest, w, subject, pratique.Fact{Body: &fact})
}

// stillNewest returns an error unless the reports that an evaluation rests on are still the newest ones: nothing is signed that a newer
// one may deny.
func (s *Attest) stillNewest(ctx context.Context, j evaluation) error {
	for _, child := range j.children {
		if err := s.stillNewest(ctx, child); err != nil {
			return err
		}
	}
	if j.scanned == nil {
		return nil // an index
	}
	last, err := newest[pratique.Scanned](ctx, s.Ledger, j.subject)
	if err != nil {
		return err
	}
	if last == nil || last.Report != j.scanned.Report {
		return newerReport{pratique.Errorf(pratique.Unavailable, "attest "+j.subject.String(), "a newer report came while it was evaluated")}
	}
	return nil
}

// Failed is [Base.Failed]. An event whose image is denied does not end as failed because the registry does not take the
// denial: its end is the denial, with what is in the way, and whoever keeps [Denials] tries again.
func (s *Attest) Failed(ctx context.Context, stage string, body []byte, attempt int, cause error, final bool) error {
	return s.failed(ctx, stage, body, attempt, cause, final, func(w Work, detail string) error {
		last, err := newest[pratique.Evaluated](ctx, s.Ledger, w.Subject)
		if err != nil {
			return err
		}
		if last == nil || last.Verdict.Outcome == pratique.Allow {
			return s.complete(ctx, stage, w, pratique.StateFailed, detail)
		}
		w.Verdict = last.Digest
		return s.complete(ctx, stage, w, pratique.StateDenied, summary(last.Verdict)+"; the registry does not say so yet: "+detail)
	})
}

// made reports whether the objects are by this verifier's id and this signer.
func (s *Attest) made(a *pratique.Attested) bool {
	other := func(a pratique.Attestation) bool { return a.Signer != s.Signer.Identity() }
	return a.Verifier == s.VerifierID && !slices.ContainsFunc(a.Attestations, other)
}

// open begins the work on what is attached to a subject.
func (s *Attest) open(ctx context.Context, subject pratique.Subject) (oci.Session, error) {
	return s.Store.Open(ctx, subject, s.Verifier, s.Signer.Identity())
}

// vsa signs the verdict. Its inputs are the statements just signed, by the digest of their payloads: a signature
// differs each time it is made, and an envelope that says the same is not written again. An index rests on its
// children's verdicts.
func (s *Attest) vsa(ctx context.Context, j evaluation, envelopes []signer.Signed) (signer.Signed, error) {
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
