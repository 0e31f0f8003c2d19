// Package outbound makes the connections that leave this service alike: which certificate authorities are trusted beside
// those of the system, and which proxy is asked.
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

// Setup makes a transport use the proxy of the environment, and trust the certificates in ca, in PEM, beside those of the
// system. Without any it trusts those of the system alone. The error is of kind Invalid.
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

// Proxy chooses the proxy of a request by HTTPS_PROXY, HTTP_PROXY and NO_PROXY as they are now; nil is none. What is on this
// machine is always asked directly.
func Proxy() func(*http.Request) (*url.URL, error) {
	choose := httpproxy.FromEnvironment().ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return choose(r.URL) }
}

// ProxyVariable returns the variable of the environment that names a proxy; it is empty if none does.
func ProxyVariable() string {
	switch c := httpproxy.FromEnvironment(); {
	case c.HTTPSProxy != "":
		return "HTTPS_PROXY"
	case c.HTTPProxy != "":
		return "HTTP_PROXY"
	}
	return ""
}

// pool returns the authorities of the system and those in the text, every part of which has to be a certificate.
func pool(ca []byte) (*x509.CertPool, error) {
	const op = "read certificate authority"
	all, err := x509.SystemCertPool()
	if err != nil {
		all = x509.NewCertPool() // a machine without any
	}
	found := 0
	for block, rest := pem.Decode(ca); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, pratique.Errorf(pratique.Invalid, op, "PEM type %q, want CERTIFICATE", pratique.Excerpt(block.Type, 40))
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, pratique.Wrap(pratique.Invalid, op, "", err)
		}
		all.AddCert(certificate)
		found++
	}
	if found == 0 {
		return nil, pratique.Errorf(pratique.Invalid, op, "there is no certificate in it: want PEM, with -----BEGIN CERTIFICATE-----")
	}
	return all, nil
}

// Explain adds to an error about a certificate whose authority is not known what to do about it: the key of the
// configuration that names it.
func Explain(err error, key string) error {
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		return err
	}
	return fmt.Errorf("%w: nobody whom this machine trusts has signed its certificate; if it is your own, name that of its authority (PEM) in %s", err, key)
}
