package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/outbound"
)

const (
	// fetchTimeout bounds one fetch of the keys.
	fetchTimeout = 5 * time.Second
	// maxKeysBytes and maxKeys bound what the issuer may answer. Google has 3 keys in 2 KiB, Entra
	// 10 in 20.
	maxKeysBytes, maxKeys = 1 << 20, 200
	// refresh is the age at which keys are fetched again, so that a withdrawn one is dropped.
	refresh = time.Hour
	// keep is how long keys are used while the issuer does not answer.
	keep = 24 * time.Hour
	// pause is the time between two fetches, so that a sender of invalid tokens cannot make us
	// flood the issuer.
	pause = 30 * time.Second
	// pauseFailed is the time after a failed fetch.
	pauseFailed = 5 * time.Second
	// minRSA is the least size of an RSA key, in bits.
	minRSA = 2048
)

// algorithms are those with public keys: with HS256 the public key would be the secret.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.ES256}
}

// keySet caches the issuer's keys. go-oidc's own fetches them again for every token that it cannot
// verify, without a bound on bytes.
type keySet struct {
	url    string
	client *http.Client
	now    func() time.Time
	// gate is a semaphore for fetching.
	gate chan struct{}

	mu sync.Mutex
	// keys by their id; read is when they came, asked the start of the last try and failed its
	// error.
	keys   map[string]jose.JSONWebKey
	read   time.Time
	asked  time.Time
	failed error
}

func newKeySet(url string, client *http.Client, now func() time.Time) *keySet {
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error {
		return errors.New("a redirect: the keys are read from the configured place only")
	}
	gate := make(chan struct{}, 1)
	gate <- struct{}{}
	return &keySet{url: url, client: &own, now: now, gate: gate}
}

// callKeys is the key set of one call of Verify. It keeps the error of a fetch.
type callKeys struct {
	set *keySet
	err error
}

// VerifySignature implements [coreos.KeySet].
func (c *callKeys) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(raw, algorithms())
	if err != nil {
		return nil, err
	}
	kid := jws.Signatures[0].Header.KeyID
	if kid == "" {
		return nil, errors.New("the token does not name its key")
	}
	key, known, err := c.set.key(ctx, kid)
	if err != nil {
		c.err = pratique.Wrap(pratique.Unavailable, "read the issuer's keys", "", err)
		return nil, err
	}
	if !known {
		return nil, fmt.Errorf("the issuer has no key %q", pratique.Clip(kid))
	}
	if key.Algorithm != "" && key.Algorithm != jws.Signatures[0].Header.Algorithm {
		return nil, fmt.Errorf("key %q is for %s only", pratique.Clip(kid), key.Algorithm)
	}
	return jws.Verify(key)
}

// key returns the key with an id. An error means that it is unknown whether there is one.
func (s *keySet) key(ctx context.Context, kid string) (jose.JSONWebKey, bool, error) {
	if key, known, fresh := s.cached(kid); known {
		if fresh {
			return key, true, nil
		}
		// Only one caller refreshes; nobody waits for it while the old key may still be used.
		select {
		case <-s.gate:
			defer func() { s.gate <- struct{}{} }()
			s.ask(ctx)
		default:
			return key, true, nil
		}
	} else {
		select {
		case <-s.gate:
			defer func() { s.gate <- struct{}{} }()
			s.ask(ctx)
		case <-ctx.Done():
			return jose.JSONWebKey{}, false, ctx.Err()
		}
	}
	return s.answer(kid)
}

// cached looks up a key. It is not fresh if the keys are due to be fetched again.
func (s *keySet) cached(kid string) (key jose.JSONWebKey, known, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := s.now().Sub(s.read)
	if age >= keep {
		return key, false, false
	}
	key, known = s.keys[kid]
	return key, known, age < refresh
}

// answer returns what is known of a key after a fetch was possible.
func (s *keySet) answer(kid string) (jose.JSONWebKey, bool, error) {
	key, known, _ := s.cached(kid)
	if known {
		return key, true, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return key, false, s.failed
	}
	// The issuer has answered within the pause, without such a key. Issuers publish a key well
	// before they sign with it, so the token is invalid.
	return key, false, nil
}

// ask fetches the keys unless that was just done. The caller holds the gate.
func (s *keySet) ask(ctx context.Context) {
	s.mu.Lock()
	since, wait := s.now().Sub(s.asked), pause
	if s.failed != nil {
		wait = pauseFailed
	}
	s.mu.Unlock()
	if since >= 0 && since < wait {
		return
	}
	started := s.now()
	// A sender that hangs up must not make the fetch fail for others that wait for it.
	keys, err := s.fetch(context.WithoutCancel(ctx))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.failed = started, err
	if err == nil {
		s.keys, s.read = keys, started
	}
}

func (s *keySet) fetch(ctx context.Context) (map[string]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return nil, outbound.Explain(err, "receivers[].oidc.ca")
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", s.url, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxKeysBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxKeysBytes {
		return nil, fmt.Errorf("%s answers with more than %d bytes", s.url, maxKeysBytes)
	}
	return parseKeys(body)
}

// parseKeys reads a JSON Web Key Set. Keys of other kinds, too small ones and those for encryption
// are left out, as the standard asks; a set with no key that we could use is an error.
func parseKeys(body []byte) (map[string]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("the key set is not readable: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys, more than %d", len(set.Keys), maxKeys)
	}
	keys := map[string]jose.JSONWebKey{}
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) == nil && usable(key) {
			keys[key.KeyID] = key
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set has no RSA or P-256 key for signatures")
	}
	return keys, nil
}

func usable(key jose.JSONWebKey) bool {
	if key.KeyID == "" || (key.Use != "" && key.Use != "sig") {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return public.N.BitLen() >= minRSA
	case *ecdsa.PublicKey:
		return public.Curve == elliptic.P256()
	default:
		return false
	}
}
