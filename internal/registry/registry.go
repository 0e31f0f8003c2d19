// Package registry is the only package that reads images from registries. It resolves image
// references to subjects, refuses what is not a container image, and returns manifests,
// configurations and layers within limits.
//
// It contacts only the configured hosts and hosts to which these redirect: a payload that names
// another registry is refused. Credentials come from the configuration only, never from the
// environment, and are sent only to their host and its token servers.
package registry

import (
	"net"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/outbound"
)

// Host is one registry that may be contacted.
type Host struct {
	// Name is the host with its port, if it has one, as subjects spell it.
	Name string
	// Aliases are other names of the same registry in payloads. They are mapped to Name and never
	// contacted.
	Aliases []string
	// PlainHTTP means without TLS. It is the default of loopback hosts, unless TLS is set.
	PlainHTTP, TLS bool
	// Username and Password are both set, or both empty for anonymous access.
	Username, Password string
	// CA are PEM certificates of authorities to trust for this registry, in addition to the
	// system's.
	CA []byte
	// TokenHosts are other hosts whose token servers may receive the credentials. Those of Docker
	// Hub and GitLab are built in.
	TokenHosts []string
	// RedirectHosts are hosts at private addresses that may serve this registry's blobs, for
	// example an object store. Hosts at public addresses need not be listed, unless a proxy is used
	// for them. Neither receive credentials.
	RedirectHosts []string
	// Concurrency is the number of concurrent requests, of which half may be layer downloads; 16.
	Concurrency int
}

// Limits bound what a registry can make the service read. Zero values mean the defaults.
type Limits struct {
	// ManifestBytes is for one manifest and for one configuration; 4 MiB.
	ManifestBytes int64
	// IndexChildren bounds the manifests in an index, including nested indexes; 64. IndexBytes
	// bounds those manifests and their configurations together; 32 MiB.
	IndexChildren int
	IndexBytes    int64
	// Layers is the number of layers of one image; 256.
	Layers int
	// LayerBytes is for one compressed layer, 8 GiB; ImageBytes for the sum of an image's, 16 GiB.
	LayerBytes, ImageBytes int64
}

// Config lists the registries. The zero value refuses every image.
type Config struct {
	Hosts []Host
	// UserAgent is sent with every request. Harbor lets an agent that contains "cosign" past its
	// gate.
	UserAgent string
	Limits    Limits
	// Platforms are the platforms on which images run: images of an index that run on none of them
	// are left out. Empty means all platforms.
	Platforms []pratique.Platform
}

// Client reads images. It is safe for concurrent use, and keeps connections and tokens.
type Client struct {
	hosts     map[string]*host // by name and by alias
	userAgent string
	limits    Limits
	platforms []pratique.Platform
	stall     time.Duration
	sessions  sessions
	documents documentCache
	present   presenceCache
}

// host is a configured host with its connections.
type host struct {
	Host
	registry name.Registry
	names    []name.Option
	throttle *throttle
	guard    *guard
}

// tokenServers are well-known token servers on other hosts than their registry.
var tokenServers = map[string]string{
	"index.docker.io":      "auth.docker.io",
	"registry-1.docker.io": "auth.docker.io",
	"registry.gitlab.com":  "gitlab.com",
}

var hostPattern = regexp.MustCompile(`^(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?)(:[0-9]{1,5})?$`)

// New checks the configuration; it contacts nobody. Errors are of kind Invalid.
func New(cfg Config) (*Client, error) {
	c := &Client{
		hosts:     map[string]*host{},
		userAgent: cfg.UserAgent,
		limits:    cfg.Limits.withDefaults(),
		platforms: cfg.Platforms,
		stall:     stallAfter,
	}
	common, public := newTransport(false), newTransport(true)
	if err := outbound.Setup(common, nil); err != nil {
		return nil, err
	}
	for _, h := range cfg.Hosts {
		ready, err := h.prepare()
		if err != nil {
			return nil, err
		}
		trusted := common
		if len(h.CA) > 0 {
			trusted = newTransport(false)
			if err := outbound.Setup(trusted, h.CA); err != nil {
				return nil, pratique.Wrap(pratique.Invalid, "configure registries",
					pratique.Clip(h.Name), err)
			}
		}
		ready.guard = newGuard(ready, trusted, public, c.limits.ManifestBytes)
		for _, known := range append([]string{h.Name}, h.Aliases...) {
			if !hostPattern.MatchString(known) {
				return nil, pratique.Errorf(pratique.Invalid, "configure registries",
					"%q is not a host with an optional port", pratique.Clip(known))
			}
			if _, twice := c.hosts[known]; twice {
				return nil, pratique.Errorf(pratique.Invalid, "configure registries",
					"%q is named twice", known)
			}
			c.hosts[known] = ready
		}
	}
	return c, nil
}

func (h Host) prepare() (*host, error) {
	if (h.Username == "") != (h.Password == "") {
		return nil, pratique.Errorf(pratique.Invalid, "configure registries",
			"%s: set both username and password, or neither", pratique.Clip(h.Name))
	}
	if h.PlainHTTP && h.TLS {
		return nil, pratique.Errorf(pratique.Invalid, "configure registries",
			"%s: either plain HTTP or TLS", pratique.Clip(h.Name))
	}
	h.PlainHTTP = h.PlainHTTP || !h.TLS && loopback(h.Name)
	ready := &host{Host: h, throttle: newThrottle(h.Name, h.Concurrency)}
	if h.PlainHTTP {
		ready.names = []name.Option{name.Insecure}
	}
	reg, err := name.NewRegistry(h.Name, ready.names...)
	if err != nil {
		return nil, pratique.Wrap(pratique.Invalid, "configure registries", pratique.Clip(h.Name), err)
	}
	ready.registry = reg
	if server, ok := tokenServers[reg.RegistryStr()]; ok {
		ready.TokenHosts = append([]string{server}, h.TokenHosts...)
	}
	return ready, nil
}

func (l Limits) withDefaults() Limits {
	if l.ManifestBytes <= 0 {
		l.ManifestBytes = 4 << 20
	}
	if l.IndexChildren <= 0 {
		l.IndexChildren = 64
	}
	if l.IndexBytes <= 0 {
		l.IndexBytes = 32 << 20
	}
	if l.Layers <= 0 {
		l.Layers = 256
	}
	if l.LayerBytes <= 0 {
		l.LayerBytes = 8 << 30
	}
	if l.ImageBytes <= 0 {
		l.ImageBytes = 16 << 30
	}
	return l
}

// target is a repository of a configured host, under the name that subjects use.
type target struct {
	host *host
	repo pratique.Repository
	name name.Repository
}

// target looks up the registry by its exact name: a suffix or pattern match could send credentials
// to the wrong host.
func (c *Client) target(repo pratique.Repository) (target, error) {
	if err := repo.Validate(); err != nil {
		return target{}, &pratique.Error{Op: "find registry", Kind: pratique.Invalid, Err: err}
	}
	h, ok := c.hosts[repo.Registry]
	if !ok {
		return target{}, pratique.Errorf(pratique.Invalid, "find registry",
			"%q is not configured: add it to `registries` if images may come from there", repo.Registry)
	}
	repo.Registry = h.Name
	return target{host: h, repo: repo, name: h.registry.Repo(repo.Path)}, nil
}

func loopback(hostport string) bool {
	bare := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		bare = h
	}
	if bare == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(bare, "[]"))
	return err == nil && addr.IsLoopback()
}
