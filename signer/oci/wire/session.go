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

// Session is the work of one job on the repository of one subject. Its Pusher and Puller live as
// long as the job, whose connections and tokens they share. A session is safe for concurrent use.
type Session struct {
	subject pratique.Subject
	repo    name.Repository
	puller  *remote.Puller
	pusher  *remote.Pusher
	client  *http.Client // for blobs
	limits  Limits

	mu sync.Mutex
	// known are contents that need not be fetched.
	known map[v1.Hash][]byte
	// left is how many bytes may still be read.
	left    int64
	checked map[LayerKey]*layerRead
	uploads map[v1.Hash]*upload
}

// LayerKey is the digest and the size that a manifest gives a layer. The digest alone is not enough:
// somebody could list a good layer with a wrong size.
type LayerKey struct {
	Digest v1.Hash
	Size   int64
}

// KeyOf returns the key of a layer.
func KeyOf(desc v1.Descriptor) LayerKey { return LayerKey{desc.Digest, desc.Size} }

// Open prepares a session. It makes no request.
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
		subject: subject, repo: repo, puller: puller, pusher: pusher,
		client: &http.Client{Transport: transport}, limits: limits,
		known: map[v1.Hash][]byte{}, left: limits.TotalBytes, checked: map[LayerKey]*layerRead{},
		uploads: map[v1.Hash]*upload{},
	}, nil
}

// Subject is the subject of the session.
func (s *Session) Subject() pratique.Subject { return s.subject }

// Repository is the repository of the subject.
func (s *Session) Repository() name.Repository { return s.repo }

// AddKnown adds content that a layer may have, so that the layer need not be fetched.
func (s *Session) AddKnown(digest v1.Hash, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[digest] = content
}
