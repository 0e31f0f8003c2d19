// Package outbound configures all outgoing connections alike: the certificate authorities to trust
// in addition to the system's, and the proxy.
package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"golang.org/x/net/http/httpproxy"

	"github.com/pratique-dev/pratique"
)

// Setup makes a transport use the proxy of the environment, and trust the PEM certificates in ca in
// addition to the system's. The error is of kind Invalid.
func Setup(t *http.Transport, ca []byte) error {
	t.Proxy = Proxy()
	if len(ca) == 0 {
		return nil
	}
	pool, err := pool(ca)
	if err != nil {
		return err
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return nil
}

// Proxy chooses the proxy of a request by HTTPS_PROXY, HTTP_PROXY and NO_PROXY as they are now; nil
// is none. Loopback addresses never use a proxy.
func Proxy() func(*http.Request) (*url.URL, error) {
	choose := httpproxy.FromEnvironment().ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return choose(r.URL) }
}

// ProxyVariable returns the environment variable that names a proxy; empty if none does.
func ProxyVariable() string {
	switch c := httpproxy.FromEnvironment(); {
	case c.HTTPSProxy != "":
		return "HTTPS_PROXY"
	case c.HTTPProxy != "":
		return "HTTP_PROXY"
	}
	return ""
}

// pool returns the system's authorities and those in ca, which must only have certificates.
func pool(ca []byte) (*x509.CertPool, error) {
	const op = "read certificate authority"
	all, err := x509.SystemCertPool()
	if err != nil {
		all = x509.NewCertPool() // the machine has none
	}
	found := 0
	for block, rest := pem.Decode(ca); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, pratique.Errorf(pratique.Invalid, op, "PEM type %q, want CERTIFICATE",
				pratique.Excerpt(block.Type, 40))
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, pratique.Wrap(pratique.Invalid, op, "", err)
		}
		all.AddCert(certificate)
		found++
	}
	if found == 0 {
		return nil, pratique.Errorf(pratique.Invalid, op,
			"there is no certificate in it: want PEM, with -----BEGIN CERTIFICATE-----")
	}
	return all, nil
}

// Explain adds the remedy to an error about an unknown certificate authority: the configuration key
// for it.
func Explain(err error, key string) error {
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		return err
	}
	return fmt.Errorf("%w: this machine does not trust the authority of its certificate; if it is your own, add the authority's certificate (PEM) to %s", err, key)
}
