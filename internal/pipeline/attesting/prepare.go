package attesting

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci"
)

// preparation is the part of attesting that does not depend on the verdict. It is nearly all of it:
// an SBOM has megabytes, which are read, encoded, hashed and uploaded. Nobody finds an upload in
// the registry until the verdict is attached with it. A preparation runs in the background until
// stop is called.
type preparation struct {
	cancel    context.CancelFunc
	session   oci.Session
	opened    chan struct{} // closed when session is set, or could not be opened
	signing   errgroup.Group
	uploading sync.WaitGroup
	envelopes []signer.Signed
}

const opPrepare = "prepare evidence"

// prepare signs the SBOMs and the report of a platform image concurrently, and uploads each as soon
// as it is signed. An index has neither.
func (s *Stage) prepare(ctx context.Context, w pipeline.Work, e evaluation) *preparation {
	ctx, cancel := context.WithCancel(ctx)
	p := &preparation{cancel: cancel, opened: make(chan struct{})}
	p.signing.Go(func() (err error) {
		defer close(p.opened)
		defer pratique.Caught(pratique.Internal, opPrepare, &err)
		p.session, err = s.open(ctx, e.subject)
		return err
	})
	if e.inspected == nil {
		return p
	}
	p.envelopes = make([]signer.Signed, len(evidencePredicates))
	builders := s.builders(w, e)
	for i, predicate := range evidencePredicates {
		p.signing.Go(func() (err error) {
			defer pratique.Caught(pratique.Internal, opPrepare, &err)
			statement, err := builders[predicate](ctx)
			if err != nil {
				return err
			}
			envelope, err := signer.SignStatement(ctx, s.Signer, statement)
			if err != nil {
				return err
			}
			p.envelopes[i] = envelope
			p.uploading.Go(func() { p.upload(ctx, envelope) })
			return nil
		})
	}
	return p
}

// upload uploads an envelope. An error is ignored, because Attach uploads what is missing.
func (p *preparation) upload(ctx context.Context, envelope signer.Signed) {
	var err error
	defer pratique.Caught(pratique.Internal, opPrepare, &err)
	if <-p.opened; p.session != nil {
		_ = p.session.Upload(ctx, envelope)
	}
}

// signed waits for the signatures. Uploads may continue.
func (p *preparation) signed() ([]signer.Signed, oci.Session, error) {
	err := p.signing.Wait()
	return p.envelopes, p.session, err
}

// stop cancels what is still running, and waits for it. A nil preparation has nothing to stop.
func (p *preparation) stop() {
	if p == nil {
		return
	}
	p.cancel()
	_ = p.signing.Wait() // signed has returned the error
	p.uploading.Wait()
}

// evidencePredicates are the statements about a platform image, in the order in which they are
// signed.
var evidencePredicates = []string{pratique.PredicateSPDX, pratique.PredicateCycloneDX,
	pratique.PredicateVulnerability}

// builders make the statements about a platform image.
func (s *Stage) builders(w pipeline.Work,
	e evaluation) map[string]func(ctx context.Context) (pratique.Statement, error) {
	return map[string]func(ctx context.Context) (pratique.Statement, error){
		pratique.PredicateSPDX: func(ctx context.Context) (pratique.Statement, error) {
			spdx, err := s.recorded().Get(ctx, e.inspected.SPDX)
			if err != nil {
				return pratique.Statement{}, err
			}
			return attest.SPDX(e.subject, spdx)
		},
		pratique.PredicateCycloneDX: func(ctx context.Context) (pratique.Statement, error) {
			cyclonedx, err := s.recorded().Get(ctx, e.inspected.CycloneDX)
			if err != nil {
				return pratique.Statement{}, err
			}
			return attest.CycloneDX(e.subject, cyclonedx)
		},
		pratique.PredicateVulnerability: func(context.Context) (pratique.Statement, error) {
			return attest.Vulnerability(attest.VulnerabilityInput{
				Subject: e.subject, Report: e.report, StartedAt: e.scanned.StartedAt,
				Builder: s.VerifierID, Event: w.Event.ID,
			})
		},
	}
}
