// Package gitserver runs a real Git server on the loopback for tests and for the demo: bare
// repositories behind "git http-backend". It needs the git binary. Servers can be told to fail in
// the ways that real ones do.
package gitserver

import (
	"context"
	"crypto/subtle"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Server serves the bare repositories of one folder.
type Server struct {
	// URL is where it listens, for example "http://127.0.0.1:3000".
	URL string

	dir  string
	git  string
	http *http.Server
	done chan struct{}

	mu       sync.Mutex
	user     string
	password string
	faults   []Fault
	pushes   int
}

// Fault is what happens to one push.
type Fault struct {
	// Before is called when the push has arrived and before Git sees it.
	Before func()
	// DropAfter closes the connection after Git took the push, without an answer.
	DropAfter bool
	// DropBefore closes the connection before Git sees the push.
	DropBefore bool
	// Status, if not zero, is answered in place of Git.
	Status int
}

// Start serves dir on a free port of 127.0.0.1 until Close.
func Start(ctx context.Context, dir string) (*Server, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("the git binary is needed to serve repositories; install git: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{URL: "http://" + listener.Addr().String(), dir: dir, git: git, done: make(chan struct{})}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(listener) // always an error, after Close the usual one
	}()
	return s, nil
}

// Close stops serving and waits for exchanges under way, for a few seconds.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	<-s.done
	return err
}

// RequireAuth makes every request need this login from now on.
func (s *Server) RequireAuth(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user, s.password = user, password
}

// Fail queues faults: each of the next pushes meets one of them.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Pushes returns how many pushes have arrived so far.
func (s *Server) Pushes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pushes
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(w, "log in first", http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
		s.backend(w, r)
		return
	}
	fault := s.arrived()
	if fault.Before != nil {
		fault.Before()
	}
	switch {
	case fault.DropBefore:
		panic(http.ErrAbortHandler)
	case fault.DropAfter:
		s.backend(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case fault.Status != 0:
		http.Error(w, "as told", fault.Status)
	default:
		s.backend(w, r)
	}
}

func (s *Server) arrived() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushes++
	if len(s.faults) == 0 {
		return Fault{}
	}
	f := s.faults[0]
	s.faults = s.faults[1:]
	return f
}

func (s *Server) allowed(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.user == "" {
		return true
	}
	user, password, _ := r.BasicAuth()
	return user == s.user && subtle.ConstantTimeCompare([]byte(password), []byte(s.password)) == 1
}

// backend hands a request to Git.
func (s *Server) backend(w http.ResponseWriter, r *http.Request) {
	h := cgi.Handler{
		Path: s.git, Args: []string{"http-backend"}, Dir: s.dir, Stderr: io.Discard,
		Env: append(environment(s.dir), "GIT_PROJECT_ROOT="+s.dir, "GIT_HTTP_EXPORT_ALL=1",
			// The protocol version is a header that Git wants in a variable of this name.
			"GIT_PROTOCOL="+r.Header.Get("Git-Protocol")),
	}
	h.ServeHTTP(w, r)
}

// environment keeps the user's Git configuration out.
func environment(dir string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_TERMINAL_PROMPT=0", "LC_ALL=C"}
}
