package gitrepo

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"

	"github.com/pratique-dev/pratique"
)

// newKey makes a key pair; the private half is in OpenSSH's PEM.
func newKey(t *testing.T) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

// TestSignature: git itself accepts the signature, names the key, and refuses another one.
func TestSignature(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Fatal("ssh-keygen is needed to check SSH signatures of commits; install openssh-client")
	}
	s := start(t)
	url := create(t, s, "r", files)
	signer, key := newKey(t)
	other, _ := newKey(t)
	r := open(t, Config{URL: url, SigningKey: key, Author: Signature{"Gate", "gate@example.com"}})
	p, err := r.Update(t.Context(), set("README.md", "x"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, key := range map[string]ssh.PublicKey{"ours": signer.PublicKey(),
		"theirs": other.PublicKey()} {
		line := fmt.Sprintf("gate@example.com namespaces=\"git\" %s", ssh.MarshalAuthorizedKey(key))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	verify := func(name, id string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "git", "-c", "gpg.ssh.allowedSignersFile="+
			filepath.Join(dir, name), "verify-commit", id)
		cmd.Dir = s.Dir("r")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := verify("ours", p.Commit); err != nil ||
		!strings.Contains(out, `Good "git" signature for gate@example.com with ED25519 key `+
			ssh.FingerprintSHA256(signer.PublicKey())) {
		t.Errorf("git verify-commit: %v: %s", err, out)
	}
	if out, err := verify("theirs", p.Commit); err == nil {
		t.Errorf("git verify-commit accepted another key: %s", out)
	}
	// Whoever changes the commit loses the signature.
	forged := strings.Replace(git(t, s, "r", "cat-file", "commit", p.Commit), "set README.md",
		"set README.MD", 1)
	id, err := s.Git(t.Context(), "r", []byte(forged+"\n"), "hash-object", "-t", "commit", "-w",
		"--stdin")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := verify("ours", id); err == nil {
		t.Errorf("git verify-commit accepted a changed commit: %s", out)
	}
	git(t, s, "r", "fsck", "--strict", "--no-dangling")
}

func TestLockedKey(t *testing.T) {
	t.Parallel()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(Config{URL: "https://example.com/r.git", SigningKey: pem.EncodeToMemory(block)},
		time.Now)
	wantKind(t, err, pratique.Invalid, "has a passphrase")
}

// sshServer runs git for whoever has the key, and has host keys of two kinds.
func sshServer(t *testing.T, client ssh.PublicKey, hosts ...ssh.Signer) string {
	t.Helper()
	return sshServerOf(t, client, "git-", hosts...)
}

// sshServerOf runs only commands that begin so.
func sshServerOf(t *testing.T, client ssh.PublicKey, runs string, hosts ...ssh.Signer) string {
	t.Helper()
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata,
		key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), client.Marshal()) {
			return nil, fmt.Errorf("unknown key")
		}
		return nil, nil
	}}
	for _, h := range hosts {
		config.AddHostKey(h)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serveSSH(conn, config, runs) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); wg.Wait() })
	return listener.Addr().String()
}

func serveSSH(conn net.Conn, config *ssh.ServerConfig, runs string) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			if r.Type != "exec" {
				_ = r.Reply(false, nil)
				continue
			}
			_ = r.Reply(true, nil)
			var command struct{ Line string }
			_ = ssh.Unmarshal(r.Payload, &command)
			if !strings.HasPrefix(command.Line, runs) {
				command.Line = "echo you may not write here: permission denied >&2; exit 1"
			}
			cmd := exec.Command("sh", "-c", command.Line)
			stdin, _ := cmd.StdinPipe()
			cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
			go func() {
				_, _ = bytes.NewBuffer(nil).ReadFrom(teeCloser{channel, stdin})
				_ = stdin.Close()
			}()
			var status struct{ Code uint32 }
			if err := cmd.Run(); err != nil {
				status.Code = 128
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
			_ = channel.Close()
			break
		}
	}
}

// teeCloser copies what is read to a pipe.
type teeCloser struct {
	from interface{ Read([]byte) (int, error) }
	to   interface{ Write([]byte) (int, error) }
}

func (c teeCloser) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if _, werr := c.to.Write(p[:n]); werr != nil {
		return 0, werr
	}
	return 0, err
}

func TestSSH(t *testing.T) {
	t.Parallel()
	s := start(t)
	create(t, s, "r", files)
	client, clientKey := newKey(t)
	_, strangerKey := newKey(t)
	host, _ := newKey(t)
	rsaHost := rsaKey(t)
	// The server would rather use its RSA key; only the other one is known.
	addr := sshServer(t, client.PublicKey(), rsaHost, host)
	known := []byte(knownhosts.Line([]string{addr}, host.PublicKey()) + "\n" +
		knownhosts.Line([]string{"other.example"}, rsaHost.PublicKey()) + "\n")
	url := "ssh://git@" + addr + s.Dir("r")
	r := open(t, Config{URL: url, Auth: Auth{SSHKey: clientKey, SSHKnownHosts: known}})
	for i := range 2 {
		p, err := r.Update(t.Context(), set("README.md", fmt.Sprint(i)))
		if err != nil || p.Commit == "" || p.Commit != git(t, s, "r", "rev-parse", "main") {
			t.Fatalf("%+v, %v", p, err)
		}
	}
	if err := s.Reject("r", "not today"); err != nil {
		t.Fatal(err)
	}
	_, err := r.Update(t.Context(), set("README.md", "no"))
	wantKind(t, err, pratique.Denied, "not today")

	_, err = open(t,
		Config{URL: url, Auth: Auth{SSHKey: strangerKey, SSHKnownHosts: known}}).Update(t.Context(),
		set("README.md", "x"))
	wantKind(t, err, pratique.Denied, "unable to authenticate")
	wrong := []byte(knownhosts.Line([]string{addr}, client.PublicKey()) + "\n")
	_, err = open(t,
		Config{URL: url, Auth: Auth{SSHKey: clientKey, SSHKnownHosts: wrong}}).Update(t.Context(),
		set("README.md", "x"))
	wantKind(t, err, pratique.Denied, "key mismatch: check the known hosts")
	_, err = open(t,
		Config{URL: url + "-none",
			Auth: Auth{SSHKey: clientKey, SSHKnownHosts: known}}).Update(t.Context(),
		set("README.md", "x"))
	wantKind(t, err, pratique.Unavailable, "repository not found")
	_, err = Open(Config{URL: url,
		Auth: Auth{SSHKey: clientKey,
			SSHKnownHosts: []byte(knownhosts.Line([]string{"other.example"}, host.PublicKey()))}},
		time.Now)
	_, port, _ := net.SplitHostPort(addr)
	wantKind(t, err, pratique.Invalid, "no key for "+addr+": ask for it with ssh-keyscan -p "+port+
		" 127.0.0.1")
}

// TestTimeout: a server that accepts connections and says nothing does not hold the writer for ever.
func TestTimeout(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	addr := listener.Addr().String()
	host, key := newKey(t)
	known := []byte(knownhosts.Line([]string{addr}, host.PublicKey()) + "\n")
	for _, url := range []string{"http://" + addr + "/r.git", "ssh://git@" + addr + "/r.git"} {
		c := Config{URL: url, Timeout: 200 * time.Millisecond}
		if strings.HasPrefix(url, "ssh") {
			c.Auth = Auth{SSHKey: key, SSHKnownHosts: known}
		}
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := open(t, c).Update(ctx, set("README.md", "x"))
		cancel()
		wantKind(t, err, pratique.Unavailable, "")
		if d := time.Since(begin); d > 3*time.Second {
			t.Errorf("%s: took %s", url, d)
		}
	}
}

func rsaKey(t *testing.T) ssh.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}
