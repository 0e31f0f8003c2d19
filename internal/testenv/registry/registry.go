// Package registry runs CNCF Distribution, the registry that most people run, inside this process:
// for the demo and for end-to-end tests. It speaks the distribution protocol and sends real
// notifications.
package registry

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	// The drivers register themselves under the names "filesystem" and "inmemory".
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/sirupsen/logrus"
)

// Config says where the registry stores and whom it notifies. The zero value keeps everything in
// memory and notifies nobody.
type Config struct {
	// Dir is the storage directory; empty means memory.
	Dir string
	// NotifyURL gets every notification, with Authorization as the value of that header.
	NotifyURL, Authorization string
	// Wrap may stand between clients and the registry, to count or to misbehave.
	Wrap func(http.Handler) http.Handler
}

// Server is a running registry on a loopback port.
type Server struct {
	host     string
	server   *http.Server
	app      *handlers.App
	done     chan struct{}
	requests atomic.Int64
	bytes    atomic.Int64
}

// Start runs a registry until [Server.Close]. It silences logrus, through which Distribution logs,
// for the whole process.
func Start(ctx context.Context, c Config) (*Server, error) {
	logrus.SetOutput(io.Discard)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{host: listener.Addr().String(), done: make(chan struct{})}
	s.app = handlers.NewApp(context.WithoutCancel(ctx), s.configuration(c))
	var handler http.Handler = s.app
	if c.Wrap != nil {
		handler = c.Wrap(handler)
	}
	s.server = &http.Server{Handler: s.count(handler), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(listener) // always ErrServerClosed or the listener's end
	}()
	return s, nil
}

func (s *Server) configuration(c Config) *configuration.Configuration {
	conf := &configuration.Configuration{}
	conf.HTTP.Secret = "loopback only"
	conf.HTTP.Addr = s.host
	conf.Catalog.MaxEntries = 1000
	conf.Storage = configuration.Storage{
		"delete":      configuration.Parameters{"enabled": true},
		"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
	}
	if c.Dir != "" {
		conf.Storage["filesystem"] = configuration.Parameters{"rootdirectory": c.Dir}
	} else {
		conf.Storage["inmemory"] = configuration.Parameters{}
	}
	if c.NotifyURL != "" {
		conf.Notifications.Endpoints = []configuration.Endpoint{{
			Name: "pratique", URL: c.NotifyURL, Headers: http.Header{"Authorization": {c.Authorization}},
			Timeout: time.Second, Threshold: 5, Backoff: 200 * time.Millisecond,
		}}
	}
	return conf
}

// Host is the registry's host and port, as in image references.
func (s *Server) Host() string { return s.host }

// Traffic returns the requests answered and the bytes of their bodies so far.
func (s *Server) Traffic() (requests, bytes int64) { return s.requests.Load(), s.bytes.Load() }

// Close stops the registry and waits for it.
func (s *Server) Close() error {
	err := s.server.Close()
	<-s.done
	return err
}

func (s *Server) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		next.ServeHTTP(&countingWriter{ResponseWriter: w, bytes: &s.bytes}, r)
	})
}

type countingWriter struct {
	http.ResponseWriter
	bytes *atomic.Int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes.Add(int64(n))
	return n, err
}

// Unwrap lets handlers flush.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
