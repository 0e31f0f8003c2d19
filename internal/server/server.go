// Package server runs an HTTP server with bounds on everything a client can hold open, and stops it without
// dropping a request that was accepted.
package server

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// Bounds of a connection. A webhook's sender and an API client finish a request in seconds; whoever does not
// is broken or hostile. The write bound leaves room for downloading a large SBOM over a slow line.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 2 * time.Minute
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// Grace is how long requests under way may take after the context has ended.
const Grace = 10 * time.Second

// Run serves handler on the listener until ctx ends, then waits for the requests under way.
func Run(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		// The log of net/http repeats what clients send, as often as they like.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), Grace)
	defer cancel()
	err := server.Shutdown(grace)
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) && err == nil {
		err = served
	}
	return err
}
