package gitrepo

import (
	"context"
	"net"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh"
)

// sshHost runs git's services on another host.
type sshHost struct {
	config ssh.ClientConfig
}

// hostPort returns the address of an ssh endpoint.
func hostPort(ep *transport.Endpoint) string {
	port := ep.Port
	if port == 0 {
		port = 22
	}
	return net.JoinHostPort(strings.Trim(ep.Host, "[]"), strconv.Itoa(port))
}

// start connects, logs in and starts the service. Everything ends when ctx ends.
func (h *sshHost) start(ctx context.Context, service string,
	ep *transport.Endpoint) (_ *running, err error) {
	addr := hostPort(ep)
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	link, channels, requests, err := ssh.NewClientConn(conn, addr, &h.config)
	if err != nil {
		return nil, err
	}
	client := ssh.NewClient(link, channels, requests)
	session, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	r := &running{stderr: &tail{}, wait: session.Wait, kill: conn.Close, close: client.Close}
	session.Stderr = r.stderr
	if r.stdin, err = session.StdinPipe(); err != nil {
		return nil, err
	}
	if r.stdout, err = session.StdoutPipe(); err != nil {
		return nil, err
	}
	return r, session.Start(service + " " + shellQuote(ep.Path))
}

// shellQuote quotes a path as Git does.
func shellQuote(path string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}
