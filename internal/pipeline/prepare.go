package pipeline

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci"
)

// preparation is the part of attesting an image that does not depend on the verdict, which is nearly all of it: an SBOM
// has megabytes, which are read, encoded, hashed and sent to the registry. Nobody finds it there until the verdict is
// attached with it. It goes on in the background; whoever began it has to call end.
type preparation struct {
	cancel    context.CancelFunc
	session   oci.Session
	begun     chan struct{} // closed when session is set, or is not going to be
	signing   errgroup.Group
	uploading sync.WaitGroup
	envelopes []signer.Signed
}

const opPrepare = "prepare evidence"

// prepare signs the SBOMs and the report of a platform image side by side, and uploads each as soon as it is signed. An
// index has none of its own.
func (s *Attest) prepare(ctx context.Context, w Work, j evaluation) *preparation {
	ctx, cancel := context.WithCancel(ctx)
	p := &preparation{cancel: cancel, begun: make(chan struct{})}
	p.signing.Go(func() (err error) {
		defer close(p.begun)
		defer pratique.Caught(pratique.Internal, opPrepare, &err)
		p.session, err = s.open(ctx, j.subject)
		return err
	})
	if j.inspected == nil {
		return p
	}
	p.envelopes = make([]signer.Signed, len(evidencePredicates))
	builders := s.builders(w, j)
	for i, predicate := range evidencePredicates {
		p.signing.Go(func() (err error) {
			defer pratique.Caught(pratique.Internal, opPrepare, &err)
			statement, err := builders[predicate](ctx)
			if err != nil {
				return err
			}
			e, err := signer.SignStatement(ctx, s.Signer, statement)
			if err != nil {
				return err
			}
			p.envelopes[i] = e
			p.uploading.Go(func() { p.upload(ctx, e) })
			return nil
		})
	}
	return p
}

// upload brings an envelope to the registry ahead. What fails here attaching tries again, and says why.
func (p *preparation) upload(ctx context.Context, e signer.Signed) {
	var err error
	defer pratique.Caught(pratique.Internal, opPrepare, &err)
	if <-p.begun; p.session != nil {
		_ = p.session.Upload(ctx, e)
	}
}

// signed waits for the signatures; uploads may go on.
func (p *preparation) signed() ([]signer.Signed, oci.Session, error) {
	err := p.signing.Wait()
	return p.envelopes, p.session, err
}

// end stops what goes on, and waits for it. There may be nothing.
func (p *preparation) end() {
	if p == nil {
		return
	}
	p.cancel()
	_ = p.signing.Wait() // whoever wanted the envelopes has asked
	p.uploading.Wait()
}

// evidencePredicates are the statements about a platform image, in the order in which they are signed.
var evidencePredicates = []string{pratique.PredicateSPDX, pratique.PredicateCycloneDX, pratique.PredicateVulnerability}

// builders make the statements about a platform image.
func (s *Attest) builders(w Work, j evaluation) map[string]func(ctx context.Context) (pratique.Statement, error) {
	return map[string]func(ctx context.Context) (pratique.Statement, error){
		pratique.PredicateSPDX: func(ctx context.Context) (pratique.Statement, error) {
			spdx, err := s.document(ctx, j.inspected.SPDX)
			if err != nil {
				return pratique.Statement{}, err
			}
			return attest.SPDX(j.subject, spdx)
		},
		pratique.PredicateCycloneDX: func(ctx context.Context) (pratique.Statement, error) {
			cyclonedx, err := s.document(ctx, j.inspected.CycloneDX)
			if err != nil {
				return pratique.Statement{}, err
			}
			return attest.CycloneDX(j.subject, cyclonedx)
		},
		pratique.PredicateVulnerability: func(context.Context) (pratique.Statement, error) {
			return attest.Vulnerability(attest.VulnerabilityInput{
				Subject: j.subject, Report: j.report, StartedAt: j.scanned.StartedAt, Builder: s.VerifierID, Event: w.Event.ID,
			})
		},
	}
}
