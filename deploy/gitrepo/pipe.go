package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"

	"github.com/pratique-dev/pratique"
)

// pipes speaks Git's protocol over the standard streams of a service, which start runs on another
// host or here. Those of go-git cannot be used: over ssh it has no deadline for the handshake, so a
// host that accepts connections and then says nothing would hold the writer for ever; local
// services it gives our environment.
type pipes struct {
	start func(ctx context.Context, service string, ep *transport.Endpoint) (*running, error)
}

var _ transport.Transport = (*pipes)(nil)

// running is a service that was started.
type running struct {
	stdin  io.WriteCloser
	stdout io.Reader
	// stderr is complete after wait, which returns when the service has ended.
	stderr *tail
	wait   func() error
	// kill ends the service, and with it every call above; close ends it when it is done.
	kill, close func() error
}

func (t *pipes) NewUploadPackSession(ep *transport.Endpoint,
	_ transport.AuthMethod) (transport.UploadPackSession, error) {
	return &pipeSession{transport: t, endpoint: ep, service: transport.UploadPackServiceName}, nil
}

func (t *pipes) NewReceivePackSession(ep *transport.Endpoint,
	_ transport.AuthMethod) (transport.ReceivePackSession, error) {
	return &pipeSession{transport: t, endpoint: ep, service: transport.ReceivePackServiceName}, nil
}

// pipeSession is one run of a service. It starts with the first request.
type pipeSession struct {
	transport *pipes
	endpoint  *transport.Endpoint
	service   string
	running   *running
	release   func() bool
}

// guard ends the service when ctx ends.
func (s *pipeSession) guard(ctx context.Context) {
	s.unguard()
	s.release = context.AfterFunc(ctx, func() { _ = s.running.kill() })
}

func (s *pipeSession) unguard() {
	if s.release != nil {
		s.release()
		s.release = nil
	}
}

func (s *pipeSession) AdvertisedReferences() (*packp.AdvRefs, error) {
	return s.AdvertisedReferencesContext(context.Background())
}

func (s *pipeSession) AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error) {
	offer, err := s.advertised(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return offer, err
}

func (s *pipeSession) advertised(ctx context.Context) (*packp.AdvRefs, error) {
	var err error
	if s.running, err = s.transport.start(ctx, s.service, s.endpoint); err != nil {
		return nil, err
	}
	s.guard(ctx)
	defer s.unguard()
	offer := packp.NewAdvRefs()
	if err := offer.Decode(allowed(ctx).bound(s.running.stdout)); err != nil &&
		!errors.Is(err, packp.ErrEmptyAdvRefs) {
		return nil, s.complaint(err)
	}
	transport.FilterUnsupportedCapabilities(offer.Capabilities)
	return offer, nil
}

// What is printed when a service does not start.
var (
	noSuchRepository = regexp.MustCompile(`(?i)not appear to be a git repository|repository not found|not exist|no such|could not be found`)
	noAccess         = regexp.MustCompile(`(?i)denied|read.?only|not allowed|permission|unauthori[sz]ed`)
)

// complaint joins an error with what the service printed instead of an answer.
func (s *pipeSession) complaint(err error) error {
	_ = s.running.stdin.Close()
	_ = s.running.wait() // for all of the text; the guard bounds it
	text := s.running.stderr.String()
	said := err.Error() + " " + text
	switch {
	case noSuchRepository.MatchString(said):
		return fmt.Errorf("%w: %s", transport.ErrRepositoryNotFound, joinOutput("the host says", text))
	case noAccess.MatchString(said):
		return pratique.Errorf(pratique.Denied, "start "+s.service, "%s",
			joinOutput("the host says", text))
	}
	return fmt.Errorf("%w: %s", err, joinOutput("the host says", text))
}

func (s *pipeSession) UploadPack(ctx context.Context,
	req *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	if err := req.Validate(); err != nil {
		return nil, err
	}
	s.guard(ctx) // until Close, for the pack is read by the caller
	stdin := s.running.stdin
	if err := req.UploadRequest.Encode(stdin); err != nil {
		return nil, err
	}
	if err := req.UploadHaves.Encode(stdin, true); err != nil {
		return nil, err
	}
	if err := pktline.NewEncoder(stdin).EncodeString("done\n"); err != nil {
		return nil, err
	}
	if err := stdin.Close(); err != nil {
		return nil, err
	}
	answer := packp.NewUploadPackResponse(req)
	return answer, answer.Decode(io.NopCloser(allowed(ctx).bound(s.running.stdout)))
}

func (s *pipeSession) ReceivePack(ctx context.Context,
	req *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error) {
	s.guard(ctx)
	if err := req.Encode(s.running.stdin); err != nil {
		return nil, err
	}
	if err := s.running.stdin.Close(); err != nil {
		return nil, err
	}
	report := packp.NewReportStatus()
	if err := report.Decode(demux(req.Capabilities, allowed(ctx).bound(s.running.stdout),
		req.Progress)); err != nil {
		return nil, err
	}
	// The report comes before the output of post-receive hooks, which fail if nobody reads it.
	_, _ = io.Copy(io.Discard, s.running.stdout) // the report has been read, and stands
	return report, nil
}

func (s *pipeSession) Close() error {
	if s.running == nil {
		return nil
	}
	// The guard stays until here: after it, nothing else would end a service that hangs.
	defer s.unguard()
	return s.running.close()
}
