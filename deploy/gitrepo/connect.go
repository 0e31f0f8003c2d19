package gitrepo

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"

	"github.com/pratique-dev/pratique/internal/outbound"
)

// connect picks the transport and the login for the URL.
func (r *Repo) connect(c Config) error {
	r.remote = c.URL
	r.endpoint = func() (*transport.Endpoint, error) { return transport.NewEndpoint(c.URL) }
	ep, err := r.endpoint()
	if err != nil { // its text quotes the URL, so it is not passed on
		return errors.New("the URL of the repository cannot be read: give it as https://host/path, ssh://git@host/path or file:///path")
	}
	if err := showable(ep); err != nil {
		return err
	}
	switch ep.Protocol {
	case "http", "https":
		return r.connectHTTP(c.Auth, c.CA)
	case "ssh":
		return r.connectSSH(c.Auth, ep)
	case "file":
		r.client = &pipes{start: startLocal}
		return nil
	}
	return fmt.Errorf("%q remotes are not supported: use http, https, ssh or file", ep.Protocol)
}

// showable refuses a URL that may hold a secret, because URLs go into facts and logs. A token is
// often given as the user's name; over ssh there are none.
func showable(ep *transport.Endpoint) error {
	switch {
	case ep.Password != "", strings.Contains(ep.User, ":"):
		return errors.New("the URL of the repository holds a password: give it as a secret of its own instead")
	case ep.User != "" && ep.Protocol != "ssh":
		return errors.New("the URL of the repository holds a user name, which may be a token: give user name and password of their own instead")
	case strings.HasPrefix(ep.Protocol, "http") && strings.ContainsAny(ep.Path, "?#"):
		return errors.New("the URL of the repository goes on after its path, perhaps with a token: give that as a secret of its own instead")
	}
	return nil
}

func (r *Repo) connectHTTP(a Auth, ca []byte) error {
	r.http = http.DefaultTransport.(*http.Transport).Clone()
	if err := outbound.Setup(r.http, ca); err != nil {
		return err
	}
	r.client = githttp.NewClient(&http.Client{Transport: boundedHTTP{r.http}})
	switch {
	case a.Username != "":
		r.auth = &githttp.BasicAuth{Username: a.Username, Password: a.Password}
	case a.Password != "":
		r.auth = &githttp.TokenAuth{Token: a.Password}
	}
	return nil
}

func (r *Repo) connectSSH(a Auth, ep *transport.Endpoint) error {
	if len(a.SSHKey) == 0 || len(a.SSHKnownHosts) == 0 {
		return errors.New("an ssh remote needs a private key and the text of a known_hosts file; ssh-keyscan prints the latter")
	}
	key, err := parseKey(a.SSHKey)
	if err != nil {
		return fmt.Errorf("ssh key: %w", err)
	}
	hosts, err := readKnownHosts(a.SSHKnownHosts)
	if err != nil {
		return fmt.Errorf("known hosts: %w", err)
	}
	// The server has keys of several kinds and offers the one that comes first in our list. If that
	// is not the one known for this very host, login fails although the host is known.
	addr := hostPort(ep)
	algorithms := hosts.HostKeyAlgorithms(addr)
	if len(algorithms) == 0 {
		return fmt.Errorf("known hosts: no key for %s: ask for it with %s, compare it with what the host's operator says, and add it (deploy.targets[].sshKnownHosts)",
			addr, keyscan(addr))
	}
	user := a.Username
	if user == "" {
		user = ep.User
	}
	if user == "" {
		user = "git"
	}
	host := &sshHost{config: ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: hosts.HostKeyCallback(), HostKeyAlgorithms: algorithms,
	}}
	r.client = &pipes{start: host.start}
	return nil
}

// keyscan is the command that prints the keys of a host.
func keyscan(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	switch {
	case err != nil:
		return "ssh-keyscan " + addr
	case port == "22":
		return "ssh-keyscan " + host
	}
	return "ssh-keyscan -p " + port + " " + host
}

// readKnownHosts parses the text of a known_hosts file. The library reads files only.
func readKnownHosts(text []byte) (*knownhosts.HostKeyDB, error) {
	f, err := os.CreateTemp("", "known_hosts")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return knownhosts.NewDB(f.Name())
}
