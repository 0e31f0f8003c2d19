// Package attesting is the stage that evaluates images, and signs what was found and decided. It
// alone holds the signing key, and it never touches image content.
package attesting

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/internal/keyed"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci"
)

// Stage evaluates and attests images.
type Stage struct {
	pipeline.Base
	Documents pipeline.Documents
	Policy    Policy
	Signer    signer.Signer
	// Verifier accepts what the signer signs. It reads back what was attached.
	Verifier     signer.Verifier
	Store        Store
	Attestations Attestations
	// VerifierID is the URI that verification summaries name. Version is that of this program.
	VerifierID, Version string
	// Refresh is the age from which an unchanged verdict is signed again, so that the gate never
	// meets a summary that is too old. Zero signs every time.
	Refresh time.Duration

	// subjects lets one worker at a time work on a subject, and on the images of an index. CI often
	// pushes one digest under two tags at the same moment; the second worker then finds the facts of
	// the first.
	subjects keyed.Mutex[pratique.Subject]
}

// Store attaches signed objects to images in their registry. It is the part of an [oci.Store] that
// does not read.
type Store interface {
	Open(ctx context.Context, s pratique.Subject, v signer.Verifier,
		own pratique.Identity) (oci.Session, error)
}

// Attestations looks up what is attached; a verify.Reader does.
type Attestations interface {
	// Holds reports whether the registry still has all of these, verified.
	Holds(ctx context.Context, s pratique.Subject, all []pratique.Attestation) (bool, error)
}

// subjectBusy is for how long a job waits in the queue while another one works on its subject.
const subjectBusy = time.Second

// Busy returns for how long it makes no sense to begin a job: another one works on its subject, and
// a worker that waited for that would do nothing else. It is 0 if the job can begin.
func (s *Stage) Busy(w pipeline.Work) time.Duration {
	if s.subjects.Held(w.Subject) {
		return subjectBusy
	}
	return 0
}

// Handle processes one message.
func (s *Stage) Handle(ctx context.Context, body []byte) error {
	return pipeline.IgnoreCanceled(s.handle(ctx, body))
}

func (s *Stage) handle(ctx context.Context, body []byte) error {
	w, ended, err := s.Begin(ctx, body)
	if err != nil || ended {
		return err
	}
	resolved, err := pipeline.Newest[pratique.Resolved](ctx, s.Facts, w.Subject)
	if err != nil {
		return err
	}
	if resolved == nil {
		return pratique.Errorf(pratique.Internal, "attest "+w.Subject.String(),
			"the subject was never resolved")
	}
	// The images of an index are evaluated and signed with it. Meanwhile no other worker may do so
	// from another report.
	locked := []pratique.Subject{w.Subject}
	for _, c := range resolved.Manifest.Children {
		locked = append(locked, w.Subject.Sibling(c.Digest))
	}
	unlock, err := s.subjects.LockAll(ctx, locked...)
	if err != nil {
		return err
	}
	defer unlock()
	evaluated, err := s.evaluateAndAttest(ctx, w, resolved.Manifest)
	for retries := 0; errors.As(err, new(newerReportError)) && retries < maxRetries; retries++ {
		evaluated, err = s.evaluateAndAttest(ctx, w, resolved.Manifest)
	}
	if pipeline.IsLost(err) {
		return s.Restart(ctx, pratique.StageInspect, w, err)
	}
	if err != nil {
		return err
	}
	w.Verdict = evaluated.Digest
	if evaluated.Verdict.Outcome != pratique.Allow {
		return s.Complete(ctx, w, pratique.StateDenied,
			pipeline.FirstReason(evaluated.Verdict))
	}
	if err := s.CheckCanceled(ctx, w); err != nil {
		return err
	}
	return s.Enqueue(ctx, pratique.StageDeploy, w)
}

// newerReportError is the error about an image that was scanned again while it was evaluated.
type newerReportError struct{ error }

func (e newerReportError) Unwrap() error { return e.error }

// maxRetries is how often an image is evaluated again at once because of a newer report. After that
// the job is retried like any other.
const maxRetries = 3

func (s *Stage) evaluateAndAttest(ctx context.Context, w pipeline.Work,
	m pratique.Manifest) (pratique.Evaluated, error) {
	if m.IsIndex() {
		return s.evaluateAndAttestIndex(ctx, w, m)
	}
	e, err := s.load(ctx, m.Subject)
	if err != nil {
		return pratique.Evaluated{}, err
	}
	last, err := pipeline.Newest[pratique.Attested](ctx, s.Facts, m.Subject)
	if err != nil {
		return pratique.Evaluated{}, err
	}
	if last == nil { // otherwise the registry may hold everything already
		e.prepared = s.prepare(ctx, w, e)
		defer e.prepared.stop()
	}
	if err = s.evaluate(ctx, w, &e); err != nil {
		return pratique.Evaluated{}, err
	}
	return e.Evaluated, s.attest(ctx, w, e)
}

func (s *Stage) evaluateAndAttestIndex(ctx context.Context, w pipeline.Work,
	m pratique.Manifest) (pratique.Evaluated, error) {
	index, err := s.evaluateIndex(ctx, w, m)
	if err != nil {
		return pratique.Evaluated{}, err
	}
	// The index is attested last, so that an index with a summary has images with summaries. If the
	// index is denied, an image that cannot be attested does not delay the others.
	var all []error
	for _, e := range append(index.children, index) {
		err := s.attest(ctx, w, e)
		if err != nil && index.Verdict.Outcome == pratique.Allow {
			return index.Evaluated, err
		}
		all = append(all, err)
	}
	return index.Evaluated, joinTransientFirst(all...)
}

// joinTransientFirst joins errors. Transient errors come first, so that their kind is that of the
// joined error and the job is retried.
func joinTransientFirst(all ...error) error {
	rank := func(err error) int {
		if err != nil && pratique.KindOf(err).Permanent() {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b error) int { return rank(a) - rank(b) })
	return errors.Join(all...)
}

// attest makes sure that the registry holds the signed evidence of one evaluation.
func (s *Stage) attest(ctx context.Context, w pipeline.Work, e evaluation) error {
	if err := s.checkReports(ctx, e); err != nil {
		return err
	}
	if last, err := pipeline.Newest[pratique.Attested](ctx, s.Facts, e.subject); err != nil {
		return err
	} else if last != nil && w.Round == 0 && last.Verdict == e.Digest && s.isOwn(last) {
		// The registry may have lost what it held, or somebody may have overwritten it.
		holds, err := s.Attestations.Holds(ctx, e.subject, last.Attestations)
		if err != nil || holds {
			return joinTransientFirst(e.withdrawErr, err)
		}
	}
	if e.prepared == nil {
		e.prepared = s.prepare(ctx, w, e)
		defer e.prepared.stop()
	}
	envelopes, session, err := e.prepared.signed()
	if err != nil {
		return err
	}
	vsa, err := s.vsa(ctx, e, envelopes)
	if err != nil {
		return err
	}
	// A denied image gets no signature: a verifier that checks nothing else would accept it.
	var signature signer.SimpleSignature
	if e.Verdict.Outcome == pratique.Allow {
		if signature, err = signer.SignImage(ctx, s.Signer, e.subject); err != nil {
			return err
		}
	}
	if err := s.CheckCanceled(ctx, w); err != nil {
		return err
	}
	s.AtEdge(pratique.StageAttest + ":before-attach")
	attached, err := session.Attach(ctx, signature, append(envelopes, vsa))
	if err != nil {
		return err
	}
	s.AtEdge(pratique.StageAttest + ":after-attach")
	fact := pratique.Attested{
		Verdict: e.Digest, Attestations: attached, Verifier: s.VerifierID,
		Notes: pipeline.Excerpts(session.Notes()),
	}
	for _, a := range attached {
		if a.PredicateType == pratique.PredicateVSA {
			fact.VSA = a.Digest
		}
	}
	return s.Record(ctx, w, e.subject, &fact)
}

// checkReports returns an error unless the evaluation rests on the newest reports. Nothing is
// signed that a newer report may deny.
func (s *Stage) checkReports(ctx context.Context, e evaluation) error {
	for _, child := range e.children {
		if err := s.checkReports(ctx, child); err != nil {
			return err
		}
	}
	if e.scanned == nil {
		return nil // an index
	}
	last, err := pipeline.Newest[pratique.Scanned](ctx, s.Facts, e.subject)
	if err != nil {
		return err
	}
	if last == nil || last.Report != e.scanned.Report {
		return newerReportError{pratique.Errorf(pratique.Unavailable, "attest "+e.subject.String(),
			"a newer report was recorded while the image was evaluated")}
	}
	return nil
}

// RecordFailure is [pipeline.Base.RecordFailure]. If the image is denied and the registry does not
// accept the denial, the event ends as denied, not as failed; [Denials] tries again.
func (s *Stage) RecordFailure(ctx context.Context, f pipeline.Failure) error {
	return s.RecordFailureAs(ctx, f, func(w pipeline.Work, detail string) error {
		last, err := pipeline.Newest[pratique.Evaluated](ctx, s.Facts, w.Subject)
		if err != nil {
			return err
		}
		if last == nil || last.Verdict.Outcome == pratique.Allow {
			return s.Complete(ctx, w, pratique.StateFailed, detail)
		}
		w.Verdict = last.Digest
		detail = pipeline.FirstReason(last.Verdict) +
			"; the registry does not show the denial yet: " + detail
		return s.Complete(ctx, w, pratique.StateDenied, detail)
	})
}

// isOwn reports whether everything attached is by this verifier's id and this signer.
func (s *Stage) isOwn(a *pratique.Attested) bool {
	foreign := func(a pratique.Attestation) bool { return a.Signer != s.Signer.Identity() }
	return a.Verifier == s.VerifierID && !slices.ContainsFunc(a.Attestations, foreign)
}

// open opens a session for a subject.
func (s *Stage) open(ctx context.Context, subject pratique.Subject) (oci.Session, error) {
	return s.Store.Open(ctx, subject, s.Verifier, s.Signer.Identity())
}

// vsa signs the verdict. Its inputs are the statements that were just signed, by the digests of
// their payloads: envelopes differ each time they are signed, and one with the same payload is not
// attached again. The inputs of an index are its children's verdicts.
func (s *Stage) vsa(ctx context.Context, e evaluation, envelopes []signer.Signed) (signer.Signed, error) {
	in := attest.VSAInput{
		Verdict: e.Verdict, VerdictDigest: e.Digest, VerifierID: s.VerifierID,
		Version: map[string]string{"pratique": s.Version},
	}
	for i, envelope := range envelopes {
		in.Inputs = append(in.Inputs, attest.Resource{URI: evidencePredicates[i],
			Digest: envelope.Payload()})
	}
	statement, err := attest.NewVSA(in)
	if err != nil {
		return signer.Signed{}, err
	}
	return signer.SignStatement(ctx, s.Signer, statement)
}
