package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh"

	"github.com/pratique-dev/pratique"
)

// sshTransport speaks Git's protocol over ssh. The one of go-git cannot be used: it has no deadline for the
// handshake, so a host that accepts connections and then says nothing would hold the writer for ever.
type sshTransport struct {
	config ssh.ClientConfig
}

var _ transport.Transport = (*sshTransport)(nil)

func (t *sshTransport) NewUploadPackSession(ep *transport.Endpoint, _ transport.AuthMethod) (transport.UploadPackSession, error) {
	return &sshSession{transport: t, endpoint: ep, service: transport.UploadPackServiceName}, nil
}

func (t *sshTransport) NewReceivePackSession(ep *transport.Endpoint, _ transport.AuthMethod) (transport.ReceivePackSession, error) {
	return &sshSession{transport: t, endpoint: ep, service: transport.ReceivePackServiceName}, nil
}

// sshSession is one run of a Git service on the host. It connects when it is first asked something.
type sshSession struct {
	transport *sshTransport
	endpoint  *transport.Endpoint
	service   string

	conn    net.Conn
	client  *ssh.Client
	session *ssh.Session
	stdin   io.WriteCloser
	stdout  io.Reader
	stderr  tail
	release func() bool
}

// hostPort returns the address of an ssh endpoint.
func hostPort(ep *transport.Endpoint) string {
	port := ep.Port
	if port == 0 {
		port = 22
	}
	return net.JoinHostPort(strings.Trim(ep.Host, "[]"), strconv.Itoa(port))
}

// guard closes the connection when ctx ends, which makes every call on it return.
func (s *sshSession) guard(ctx context.Context) {
	s.unguard()
	s.release = context.AfterFunc(ctx, func() { _ = s.conn.Close() })
}

func (s *sshSession) unguard() {
	if s.release != nil {
		s.release()
		s.release = nil
	}
}

func (s *sshSession) AdvertisedReferences() (*packp.AdvRefs, error) {
	return s.AdvertisedReferencesContext(context.Background())
}

func (s *sshSession) AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error) {
	offer, err := s.start(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return offer, err
}

func (s *sshSession) start(ctx context.Context) (*packp.AdvRefs, error) {
	addr := hostPort(s.endpoint)
	var d net.Dialer
	var err error
	if s.conn, err = d.DialContext(ctx, "tcp", addr); err != nil {
		return nil, err
	}
	s.guard(ctx)
	defer s.unguard()
	conn, channels, requests, err := ssh.NewClientConn(s.conn, addr, &s.transport.config)
	if err != nil {
		return nil, err
	}
	s.client = ssh.NewClient(conn, channels, requests)
	if s.session, err = s.client.NewSession(); err != nil {
		return nil, err
	}
	if s.stdin, err = s.session.StdinPipe(); err != nil {
		return nil, err
	}
	if s.stdout, err = s.session.StdoutPipe(); err != nil {
		return nil, err
	}
	s.session.Stderr = &s.stderr
	if err := s.session.Start(s.service + " " + shellQuote(s.endpoint.Path)); err != nil {
		return nil, err
	}
	offer := packp.NewAdvRefs()
	if err := offer.Decode(s.stdout); err != nil && !errors.Is(err, packp.ErrEmptyAdvRefs) {
		return nil, s.complaint(err)
	}
	transport.FilterUnsupportedCapabilities(offer.Capabilities)
	return offer, nil
}

// What hosts print when they do not start the service.
var (
	noSuchRepository = regexp.MustCompile(`(?i)not appear to be a git repository|repository not found|not exist|no such|could not be found`)
	noAccess         = regexp.MustCompile(`(?i)denied|read.?only|not allowed|permission|unauthori[sz]ed`)
)

// complaint joins an error with what the host printed instead of an answer.
func (s *sshSession) complaint(err error) error {
	_ = s.stdin.Close()
	_ = s.session.Wait() // for all of the text; the guard bounds it
	said := err.Error() + " " + s.stderr.String()
	switch {
	case noSuchRepository.MatchString(said):
		return fmt.Errorf("%w: %s", transport.ErrRepositoryNotFound, words("the host says", s.stderr.String()))
	case noAccess.MatchString(said):
		return pratique.Errorf(pratique.Denied, "start "+s.service, "%s", words("the host says", s.stderr.String()))
	}
	return fmt.Errorf("%w: %s", err, words("the host says", s.stderr.String()))
}

func (s *sshSession) UploadPack(ctx context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	if err := req.Validate(); err != nil {
		return nil, err
	}
	s.guard(ctx) // until Close, for the pack is read by the caller
	if err := req.UploadRequest.Encode(s.stdin); err != nil {
		return nil, err
	}
	if err := req.UploadHaves.Encode(s.stdin, true); err != nil {
		return nil, err
	}
	if err := pktline.NewEncoder(s.stdin).EncodeString("done\n"); err != nil {
		return nil, err
	}
	if err := s.stdin.Close(); err != nil {
		return nil, err
	}
	answer := packp.NewUploadPackResponse(req)
	return answer, answer.Decode(io.NopCloser(s.stdout))
}

func (s *sshSession) ReceivePack(ctx context.Context, req *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error) {
	s.guard(ctx)
	if err := req.Encode(s.stdin); err != nil {
		return nil, err
	}
	if err := s.stdin.Close(); err != nil {
		return nil, err
	}
	report := packp.NewReportStatus()
	if err := report.Decode(demux(req.Capabilities, s.stdout, req.Progress)); err != nil {
		return nil, err
	}
	return report, nil
}

// Close drops the connection, which ends the service on the host.
func (s *sshSession) Close() error {
	s.unguard()
	if s.client != nil {
		return s.client.Close()
	}
	if s.conn != nil {
		return s.conn.Close()
	}
	return nil
}

// shellQuote quotes a path as Git does.
func shellQuote(path string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}
