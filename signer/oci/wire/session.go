package wire

import (
	"context"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
)

// Session is one job's dealings with the repository of one subject. Pusher and Puller live as long
// as the job: they share its connections and tokens, and forget which blobs they have seen. It is
// safe for concurrent use.
type Session struct {
	subject pratique.Subject
	repo    name.Repository
	puller  *remote.Puller
	pusher  *remote.Pusher
	client  *http.Client // for blobs
	limits  Limits

	mu sync.Mutex
	// held are contents that are known; they need not be fetched into memory again.
	held map[v1.Hash][]byte
	// left is what may still be read.
	left    int64
	checked map[Announced]*reading
	uploads map[v1.Hash]*upload
}

// Announced is what a manifest says of a layer. The digest alone will not do: somebody could
// announce a good layer with a wrong size.
type Announced struct {
	Digest v1.Hash
	Size   int64
}

// AnnouncedBy is what the descriptor says.
func AnnouncedBy(desc v1.Descriptor) Announced { return Announced{desc.Digest, desc.Size} }

// Open prepares to work on the repository of the subject, and makes no request.
func Open(ctx context.Context, r Registry, subject pratique.Subject, limits Limits) (*Session, error) {
	const op = "open repository of"
	if err := subject.Repository.Validate(); err != nil || subject.Digest.IsZero() {
		return nil, pratique.Errorf(pratique.Invalid, op, "%q is not a subject", subject)
	}
	options, names, err := r.RemoteOptions(ctx, subject.Repository)
	if err != nil {
		return nil, pratique.Wrap(pratique.Unknown, op, subject.String(), err)
	}
	transport, err := r.Transport(ctx, subject.Repository)
	if err != nil {
		return nil, pratique.Wrap(pratique.Unknown, op, subject.String(), err)
	}
	repo, err := name.NewRepository(subject.Repository.String(), names...)
	if err != nil {
		return nil, &pratique.Error{Op: op, Subject: subject.String(), Kind: pratique.Invalid, Err: err}
	}
	puller, err := remote.NewPuller(options...)
	if err != nil {
		return nil, &pratique.Error{Op: op, Subject: subject.String(), Kind: pratique.Internal, Err: err}
	}
	pusher, err := remote.NewPusher(options...)
	if err != nil {
		return nil, &pratique.Error{Op: op, Subject: subject.String(), Kind: pratique.Internal, Err: err}
	}
	limits = limits.OrDefaults()
	return &Session{
		subject: subject, repo: repo, puller: puller, pusher: pusher, client: &http.Client{Transport: transport}, limits: limits,
		held: map[v1.Hash][]byte{}, left: limits.TotalBytes, checked: map[Announced]*reading{}, uploads: map[v1.Hash]*upload{},
	}, nil
}

// Subject is what the session is about.
func (s *Session) Subject() pratique.Subject { return s.subject }

// Repository is where the subject is.
func (s *Session) Repository() name.Repository { return s.repo }

// Hold keeps a content that some layer may have, so that the layer need not be fetched into memory.
func (s *Session) Hold(digest v1.Hash, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[digest] = content
}
