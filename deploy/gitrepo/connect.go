package gitrepo

import (
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// connect picks the transport and the login for the URL.
func (r *Repo) connect(c Config) error {
	remote, err := redacted(c.URL)
	if err != nil {
		return err
	}
	r.remote = remote
	r.endpoint = func() (*transport.Endpoint, error) { return transport.NewEndpoint(c.URL) }
	ep, err := r.endpoint()
	if err != nil {
		return fmt.Errorf("the URL of the repository cannot be read: %w", err)
	}
	switch ep.Protocol {
	case "http", "https":
		return r.connectHTTP(c.Auth)
	case "ssh":
		return r.connectSSH(c.Auth, ep)
	case "file":
		r.client = &pipes{start: startLocal}
		return nil
	}
	return fmt.Errorf("%q remotes are not supported: use http, https, ssh or file", ep.Protocol)
}

func (r *Repo) connectHTTP(a Auth) error {
	r.http = http.DefaultTransport.(*http.Transport).Clone()
	r.client = githttp.NewClient(&http.Client{Transport: r.http})
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
	// The server has keys of several kinds and offers the one that comes first in our list. If that is not the
	// one known for this very host, login fails although the host is known.
	addr := hostPort(ep)
	algorithms := hosts.HostKeyAlgorithms(addr)
	if len(algorithms) == 0 {
		return fmt.Errorf("known hosts: no key for %s", addr)
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
