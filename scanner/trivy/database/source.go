package database

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/outbound"
)

const (
	layerType = "application/vnd.aquasec.trivy.db.layer.v1.tar+gzip"
	// stallAfter ends a download that makes no progress.
	stallAfter = time.Minute
)

// transport returns the transport for the registry of a source.
func (s *Store) transport(ref name.Reference) (http.RoundTripper, error) {
	h := s.host(ref)
	t := newTransport()
	if err := outbound.Setup(t,
		bytes.TrimSpace(slices.Concat(s.cfg.CA, []byte("\n"), h.CA))); err != nil {
		return nil, pratique.Wrap(pratique.Invalid, "read database source", ref.String(), err)
	}
	if !h.TLS {
		return t, nil
	}
	return tlsTransport{t, ref.Context().RegistryStr()}, nil
}

// tlsTransport uses TLS for one host: the library assumes plain HTTP for loopback and private
// addresses.
type tlsTransport struct {
	*http.Transport
	host string
}

// RoundTrip implements [http.RoundTripper].
func (t tlsTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && r.URL.Host == t.host {
		r = r.Clone(r.Context())
		r.URL.Scheme = "https"
	}
	return t.Transport.RoundTrip(r)
}

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		IdleConnTimeout:       30 * time.Second, // hours pass between two updates
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		DisableCompression:    true, // digests are over the bytes as stored
	}
}

// reference parses a source. The default tag is the version of the schema.
func (s *Store) reference(source string) (name.Reference, error) {
	opts := []name.Option{name.WithDefaultTag(fmt.Sprint(s.cfg.Kind.schema))}
	ref, err := name.ParseReference(source, opts...)
	if err == nil && s.host(ref).PlainHTTP {
		ref, err = name.ParseReference(source, append(opts, name.Insecure)...)
	}
	return ref, pratique.Wrap(pratique.Invalid, "read database source", source, err)
}

func (s *Store) host(ref name.Reference) Host {
	for _, h := range s.cfg.Hosts {
		if h.Name == ref.Context().RegistryStr() {
			return h
		}
	}
	return Host{}
}

// login opens a session for the requests of one update.
func (s *Store) login(ctx context.Context, ref name.Reference) (http.RoundTripper, error) {
	// Explicitly anonymous, so there is no fallback to a keychain.
	auth := authn.Anonymous
	if h := s.host(ref); h.Username != "" {
		auth = &authn.Basic{Username: h.Username, Password: h.Password}
	}
	// Few retries: if a source fails, the next one is tried.
	direct, err := s.transport(ref)
	if err != nil {
		return nil, err
	}
	patient := transport.NewRetry(
		transport.NewUserAgent(recordingTransport{s.retryAfter, direct}, "pratique"),
		transport.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Steps: 2}),
		transport.WithRetryStatusCodes(http.StatusBadGateway, http.StatusGatewayTimeout),
	)
	return transport.NewWithContext(ctx, ref.Context().Registry, auth, patient,
		[]string{ref.Scope(transport.PullScope)})
}

// artifact is a database in one source.
type artifact struct {
	source   string
	ref      name.Reference
	puller   *remote.Puller
	client   *http.Client // with the login of the puller
	manifest pratique.Digest
}

// lookUp asks a source for its artifact, by HEAD if it supports that, which does not count as a
// pull.
func (s *Store) lookUp(ctx context.Context, source string) (artifact, error) {
	op := s.cfg.Kind.op("look up")
	ref, err := s.reference(source)
	if err != nil {
		return artifact{}, err
	}
	session, err := s.login(ctx, ref)
	if err != nil {
		return artifact{}, registryError(op, err)
	}
	puller, err := remote.NewPuller(remote.WithTransport(session))
	if err != nil {
		return artifact{}, pratique.Wrap(pratique.Internal, op, "", err)
	}
	found, err := puller.Head(ctx, ref)
	if err != nil && headUnsupported(err) {
		var got *remote.Descriptor
		if got, err = puller.Get(ctx, ref); err == nil {
			found = &got.Descriptor
		}
	}
	if err != nil {
		return artifact{}, registryError(op, err)
	}
	manifest, err := pratique.ParseDigest(found.Digest.String())
	return artifact{source: source, ref: ref, puller: puller,
		client:   &http.Client{Transport: session},
		manifest: manifest}, pratique.Wrap(pratique.Invalid, op, "", err)
}

// headUnsupported reports whether the registry may only lack support for HEAD.
func headUnsupported(err error) bool {
	var status *transport.Error
	return !errors.As(err, &status) || status.StatusCode == http.StatusNotFound ||
		status.StatusCode == http.StatusMethodNotAllowed
}

// layer reads the manifest, which must have exactly one database within the size limit.
func (a artifact) layer(ctx context.Context, kind Kind, maxBytes int64) (v1.Descriptor, error) {
	op := kind.op("read manifest of")
	got, err := a.puller.Get(ctx, a.ref.Context().Digest(a.manifest.String()))
	if err != nil {
		return v1.Descriptor{}, registryError(op, err)
	}
	return kind.layer(got.Manifest, maxBytes)
}

// layer returns the one layer of a manifest, which must be a database of this kind.
func (k Kind) layer(manifest []byte, maxBytes int64) (v1.Descriptor, error) {
	op := k.op("read manifest of")
	m, err := v1.ParseManifest(bytes.NewReader(manifest))
	if err != nil {
		return v1.Descriptor{}, pratique.Wrap(pratique.Corrupt, op, "", err)
	}
	if len(m.Layers) != 1 || string(m.Layers[0].MediaType) != k.layerType ||
		m.Layers[0].Digest.Algorithm != "sha256" {
		return v1.Descriptor{}, pratique.Errorf(pratique.Corrupt, op,
			"not a %s: want one layer of type %s", k, k.layerType)
	}
	if size := m.Layers[0].Size; size < 0 || size > maxBytes {
		return v1.Descriptor{}, pratique.Errorf(pratique.Exhausted, op,
			"%d bytes to download, the limit is %d", size, maxBytes)
	}
	return m.Layers[0], nil
}

// registryError gives an error of a registry its kind.
func registryError(op string, err error) error {
	kind := pratique.Unavailable
	var status *transport.Error
	var located *url.Error
	switch {
	case errors.As(err, &status):
		switch status.StatusCode {
		case http.StatusTooManyRequests:
			kind = pratique.RateLimited
		case http.StatusUnauthorized, http.StatusForbidden:
			kind = pratique.Denied
		case http.StatusNotFound:
			kind = pratique.NotFound
		}
		err = fmt.Errorf("registry answered %d %s", status.StatusCode, http.StatusText(status.StatusCode))
		if kind == pratique.Denied {
			err = fmt.Errorf("%w: add the host with username and password to registries if it requires a login", err)
		}
	case errors.As(err, &located):
		err = located.Err // the URL may be a signed one
	}
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		err = fmt.Errorf("%w: add the host with plainHTTP: true to registries if that is intended", err)
	default:
		err = outbound.Explain(err, "database.ca, or in registries[].ca of its host")
	}
	return &pratique.Error{Op: op, Kind: kind, Err: err}
}
