package registry

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/outbound"
)

const opGuard = "guard registry request"

// newTransport returns a long-lived transport. With publicOnly it connects only to addresses on the
// public internet, whatever their name.
func newTransport(publicOnly bool) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	if publicOnly {
		dialer.Control = func(_, address string, _ syscall.RawConn) error { return checkPublic(address) }
	}
	return &http.Transport{
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          64,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		ExpectContinueTimeout: time.Second,
		// Digests cover the stored bytes. Go would request gzip and decompress it silently.
		DisableCompression: true,
	}
}

// reservedPrefixes are address blocks that lead into private networks, directly or by translation,
// and for which netip has no method.
var reservedPrefixes = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // carrier-grade NAT, also used inside clouds
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),          // IPv4-compatible
	netip.MustParsePrefix("64:ff9b::/96"),   // NAT64
	netip.MustParsePrefix("64:ff9b:1::/48"), // NAT64, local use
	netip.MustParsePrefix("2001::/32"),      // Teredo
	netip.MustParsePrefix("2002::/16"),      // 6to4
	netip.MustParsePrefix("fec0::/10"),      // site-local
}

// checkPublic is called with the resolved address, so a name that changes its address after a check
// gains nothing.
func checkPublic(address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return pratique.Errorf(pratique.Denied, opGuard, "address %q: %w", pratique.Clip(address), err)
	}
	addr := ap.Addr().Unmap().WithZone("")
	inside := !addr.IsGlobalUnicast() || addr.IsPrivate() ||
		slices.ContainsFunc(reservedPrefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
	if inside {
		return pratique.Errorf(pratique.Denied, opGuard,
			"the registry redirects to the private address %s: add that host to redirectHosts if it belongs to the registry", addr)
	}
	return nil
}

// guard is the transport of one configured host. Whatever the host answers (redirects, token
// realms, upload locations), requests with credentials or bodies are only sent to the host itself
// and its token servers.
type guard struct {
	host            *host
	own             string // host[:port] as in URLs
	trusted, public http.RoundTripper
	proxy           func(*http.Request) (*url.URL, error)
	manifestBytes   int64
}

func newGuard(h *host, trusted, public http.RoundTripper, manifestBytes int64) *guard {
	return &guard{host: h, own: h.registry.RegistryStr(), trusted: trusted, public: public,
		proxy: outbound.Proxy(), manifestBytes: manifestBytes}
}

// RoundTrip implements [http.RoundTripper].
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if !g.host.PlainHTTP && req.URL.Scheme == "http" && authority(req.URL) == g.own &&
		g.host.registry.Scheme() == "http" {
		// The library assumes plain HTTP for loopback and private addresses.
		req = req.Clone(req.Context())
		req.URL.Scheme = "https"
	}
	transport, err := g.route(req)
	if err != nil {
		return nil, closeBody(req, err)
	}
	if g.host.PlainHTTP && authority(req.URL) == g.own && req.URL.Scheme != "http" {
		// The library tries TLS first, which costs a round trip and is pointless.
		req = req.Clone(req.Context())
		req.URL.Scheme = "http"
	}
	release, err := g.host.throttle.acquire(req.Context(), g.host.throttle.slots)
	if err != nil {
		return nil, closeBody(req, err)
	}
	sent := time.Now()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		release()
		return nil, err
	}
	if err := g.host.throttle.observe(resp, sent, time.Now()); err != nil {
		release()
		return nil, err
	}
	releaseOnClose(req, resp, release)
	return g.bound(req, resp)
}

// closeBody keeps the contract of RoundTripper for a request that is not sent.
func closeBody(req *http.Request, err error) error {
	if req.Body != nil {
		_ = req.Body.Close() // nothing was read from it
	}
	return err
}

func (g *guard) route(req *http.Request) (http.RoundTripper, error) {
	to := authority(req.URL)
	if req.URL.Scheme != "https" && !g.host.PlainHTTP {
		return nil, pratique.Errorf(pratique.Denied, opGuard,
			"registry %s redirects to %s without TLS: set plainHTTP if that is intended", g.own,
			pratique.Clip(to))
	}
	// The Host header can differ from the address, and a proxy routes by it.
	if req.Host != "" && req.Host != req.URL.Host {
		return nil, pratique.Errorf(pratique.Denied, opGuard, "request for %s addressed to %s",
			pratique.Clip(req.Host), pratique.Clip(to))
	}
	if to == g.own || slices.Contains(g.host.TokenHosts, to) {
		return g.trusted, nil
	}
	if req.Header.Get("Authorization") != "" {
		return nil, pratique.Errorf(pratique.Denied, opGuard,
			"registry %s asks to send credentials to %s: add that host to tokenHosts if it is its token server", g.own, pratique.Clip(to))
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return nil, pratique.Errorf(pratique.Denied, opGuard, "registry %s asks to send a %s to %s",
			g.own, req.Method, pratique.Clip(to))
	}
	if slices.Contains(g.host.RedirectHosts, to) {
		return g.trusted, nil
	}
	// With a proxy the address is not known here, so it cannot be checked.
	if proxy, err := g.proxy(req); err != nil || proxy != nil {
		return nil, pratique.Errorf(pratique.Denied, opGuard,
			"the registry redirects to %s, which is reached by a proxy: add that host to redirectHosts if it serves this registry's blobs", pratique.Clip(to))
	}
	return g.public, nil
}

// authority is the host with its port, unless the scheme implies the port.
func authority(u *url.URL) string {
	port := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
	if port == "" {
		return u.Host
	}
	return strings.TrimSuffix(u.Host, port)
}

// bound limits documents that libraries read into memory as a whole.
func (g *guard) bound(req *http.Request, resp *http.Response) (*http.Response, error) {
	whole := strings.Contains(req.URL.Path, "/manifests/") ||
		strings.Contains(req.URL.Path, "/referrers/")
	if !whole || req.Method == http.MethodHead {
		return resp, nil
	}
	if resp.ContentLength > g.manifestBytes {
		_ = resp.Body.Close() // refused unread
		return nil, errTooLarge("manifest", g.manifestBytes)
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: g.manifestBytes,
		err: errTooLarge("manifest", g.manifestBytes)}
	return resp, nil
}

func errTooLarge(what string, limit int64) error {
	return pratique.Errorf(pratique.Exhausted, "read "+what, "larger than the limit of %d bytes", limit)
}

// boundedBody fails with err beyond its limit, while [io.LimitedReader] would report the end of the
// body.
type boundedBody struct {
	io.ReadCloser
	left int64
	err  error
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.err
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, b.err
	}
	return n, err
}
