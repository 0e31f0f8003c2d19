package oci

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	cosign "github.com/sigstore/cosign/v2/pkg/oci/remote"

	"github.com/pratique-dev/pratique"
)

// The endings of cosign's tags.
const (
	sigSuffix = cosign.SignatureTagSuffix
	attSuffix = cosign.AttestationTagSuffix
)

// session is one call's dealings with one repository. Pusher and Puller live as long as the call: they share
// its connections and tokens, and forget which blobs they have seen.
type session struct {
	subject pratique.Subject
	repo    name.Repository
	puller  *remote.Puller
	pusher  *remote.Pusher
	client  *http.Client // for blobs
	limits  Limits

	// held are the contents that the caller gave; they need not be fetched into memory again.
	held map[v1.Hash][]byte

	mu sync.Mutex
	// left is what may still be read.
	left int64
	// notes say what of others had to go.
	notes   []string
	checked map[announced]*reading
	uploads map[v1.Hash]*upload
}

// announced is what a manifest says of a layer. The digest alone will not do: somebody could announce a good layer
// with a wrong size.
type announced struct {
	digest v1.Hash
	size   int64
}

func (s *Store) open(ctx context.Context, subject pratique.Subject) (*session, error) {
	const op = "open repository of"
	if err := subject.Repository.Validate(); err != nil || subject.Digest.IsZero() {
		return nil, pratique.Errorf(pratique.Invalid, op, "%q is not a subject", subject)
	}
	options, names, err := s.registry.RemoteOptions(ctx, subject.Repository)
	if err != nil {
		return nil, pratique.Wrap(pratique.Unknown, op, subject.String(), err)
	}
	wire, err := s.registry.Transport(ctx, subject.Repository)
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
	return &session{
		subject: subject, repo: repo, puller: puller, pusher: pusher, client: &http.Client{Transport: wire}, limits: s.limits,
		held: map[v1.Hash][]byte{}, left: s.limits.TotalBytes, checked: map[announced]*reading{}, uploads: map[v1.Hash]*upload{},
	}, nil
}

func (s *session) tag(suffix string) name.Tag {
	return s.repo.Tag("sha256-" + s.subject.Digest.Hex() + "." + suffix)
}

// location is how people and tools find what is attached.
func (s *session) location(suffix string) string {
	return s.subject.Repository.String() + ":" + s.tag(suffix).TagStr()
}

// tagged is what one of the two tags holds.
type tagged struct {
	// there says that the tag exists: to write it is to overwrite it.
	there bool
	// odd says why this is no manifest of signatures or attestations; then layers is empty. Anybody who may push can
	// put such a thing there. It attests nothing, and may hide our own signature from those who look for it, so whoever
	// writes replaces it.
	odd string
	// over says that it is odd for its size, and may be somebody's good work all the same.
	over        bool
	layers      []v1.Descriptor
	annotations map[string]string
}

// read reads a tag.
func (s *session) read(ctx context.Context, suffix string) (tagged, error) {
	desc, err := s.puller.Get(ctx, s.tag(suffix))
	var answer *transport.Error
	if errors.As(err, &answer) && kindOfAnswer(answer) == pratique.NotFound {
		return tagged{}, nil
	}
	if err != nil {
		return tagged{}, s.fail("read attached manifest of", err)
	}
	odd := func(format string, args ...any) (tagged, error) {
		return tagged{there: true, odd: fmt.Sprintf(format, args...)}, nil
	}
	over := func(n, limit int, what string) (tagged, error) {
		return tagged{there: true, over: true, odd: fmt.Sprintf("it has %d %s, the limit is %d", n, what, limit)}, nil
	}
	if len(desc.Manifest) > s.limits.ManifestBytes {
		return over(len(desc.Manifest), s.limits.ManifestBytes, "bytes")
	}
	m, err := v1.ParseManifest(bytes.NewReader(desc.Manifest))
	if err != nil {
		return odd("it cannot be read: %.200s", err)
	}
	for _, said := range []types.MediaType{desc.MediaType, cmp.Or(m.MediaType, desc.MediaType)} {
		if said != types.OCIManifestSchema1 && said != types.DockerManifestSchema2 {
			return odd("it is a %.100q, not an image manifest", said)
		}
	}
	if len(m.Layers) > s.limits.Layers {
		return over(len(m.Layers), s.limits.Layers, "layers")
	}
	return tagged{there: true, layers: m.Layers, annotations: m.Annotations}, nil
}

// note remembers what had to go, for whoever asks why it is no more there.
func (s *session) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// layer returns one layer whole. The bytes have the descriptor's digest and size, or the error is Corrupt. Nothing
// is kept of them.
func (s *session) layer(ctx context.Context, desc v1.Descriptor) ([]byte, error) {
	if content, ok := s.held[desc.Digest]; ok {
		return content, s.check(ctx, desc, false)
	}
	var content bytes.Buffer
	if err := s.fetch(ctx, desc, false, func() io.Writer {
		content.Grow(int(desc.Size) + 1)
		return &content
	}); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}

// reading is the reading of one layer, which happens until it succeeds.
type reading struct {
	mu    sync.Mutex
	there bool // the registry was seen to hold it as announced
}

// check reads a layer without keeping it, once. What is own does not count against what may be read: others could use
// that up.
func (s *session) check(ctx context.Context, desc v1.Descriptor, own bool) error {
	key := announced{desc.Digest, desc.Size}
	s.mu.Lock()
	r := s.checked[key]
	if r == nil {
		r = &reading{}
		s.checked[key] = r
	}
	s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.there {
		return nil
	}
	err := s.fetch(ctx, desc, own, func() io.Writer { return io.Discard })
	r.there = err == nil
	return err
}

// fetch reads a layer to what to returns, which is asked only once the size is known to be within the limits.
func (s *session) fetch(ctx context.Context, desc v1.Descriptor, own bool, to func() io.Writer) error {
	const op = "read attached layer of"
	if err := s.allow(op, desc, own); err != nil {
		return err
	}
	// The library's reader would hash the bytes, too.
	resp, err := s.do(ctx, http.MethodGet, s.address("blobs/"+desc.Digest.String()), nil, http.StatusOK)
	if err != nil {
		return s.fail(op, err)
	}
	defer func() { _ = resp.Body.Close() }() // nothing was written
	sum := sha256.New()
	// One byte more than announced, so that too much is noticed and not read.
	n, err := io.Copy(io.MultiWriter(to(), sum), io.LimitReader(resp.Body, desc.Size+1))
	if err != nil {
		return s.fail(op, err)
	}
	if n != desc.Size || desc.Digest.String() != "sha256:"+hex.EncodeToString(sum.Sum(nil)) {
		return s.errorf(pratique.Corrupt, op, "layer %s does not have its size and digest", desc.Digest)
	}
	return nil
}

// allow takes a layer's size from what may still be read.
func (s *session) allow(op string, desc v1.Descriptor, own bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case desc.Size < 0:
		return s.errorf(pratique.Corrupt, op, "layer %s has %d bytes", desc.Digest, desc.Size)
	case desc.Size > s.limits.EnvelopeBytes:
		return s.errorf(pratique.Exhausted, op, "layer %s has %d bytes, the limit is %d", desc.Digest, desc.Size, s.limits.EnvelopeBytes)
	case own:
		return nil
	case desc.Size > s.left:
		return s.errorf(pratique.Exhausted, op, "layers of more than %d bytes together", s.limits.TotalBytes)
	}
	s.left -= desc.Size
	return nil
}

// fail gives an error of the registry library its kind, and leaves out what does not belong into logs: pages
// of HTML, and addresses that may be signed.
func (s *session) fail(op string, err error) error {
	var ours *pratique.Error
	var answer *transport.Error
	var located *url.Error
	kind := pratique.Unavailable
	switch {
	case errors.As(err, &ours):
		kind, err = ours.Kind, ours
	case errors.As(err, &answer):
		kind, err = kindOfAnswer(answer), describeAnswer(answer)
	case errors.As(err, &located):
		err = located.Err
	}
	return &pratique.Error{Op: op, Subject: s.subject.String(), Kind: kind, Err: err}
}

func describeAnswer(e *transport.Error) error {
	if len(e.Errors) == 0 {
		return fmt.Errorf("the registry answered %d %s", e.StatusCode, http.StatusText(e.StatusCode))
	}
	return fmt.Errorf("the registry answered %d %s: %.60q %.160q", e.StatusCode, http.StatusText(e.StatusCode), e.Errors[0].Code, e.Errors[0].Message)
}

// kindOfAnswer reads statuses as internal/registry does, so that one answer has one meaning in all of the line,
// except for the two that only writers meet.
func kindOfAnswer(e *transport.Error) pratique.Kind {
	for _, d := range e.Errors {
		if d.Code == transport.TooManyRequestsErrorCode {
			return pratique.RateLimited
		}
	}
	switch e.StatusCode {
	case http.StatusTooManyRequests:
		return pratique.RateLimited
	case http.StatusUnauthorized, http.StatusForbidden:
		return pratique.Denied
	case http.StatusNotFound, http.StatusGone:
		return pratique.NotFound
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType:
		return pratique.Invalid
	case http.StatusConflict, http.StatusPreconditionFailed:
		return pratique.Conflict
	default:
		return pratique.Unavailable
	}
}

func (s *session) errorf(kind pratique.Kind, op, format string, args ...any) error {
	err := pratique.Errorf(kind, op, format, args...)
	err.Subject = s.subject.String()
	return err
}
