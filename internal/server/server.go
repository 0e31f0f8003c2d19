// Package server runs an HTTP server with bounds on everything a client can hold open, and stops it
// without dropping a request that was accepted.
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

// Bounds of a connection. Senders of webhooks and API clients finish a request in seconds; others
// are broken or hostile. The write bound allows for downloading a large SBOM over a slow
// connection.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 2 * time.Minute
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// Grace is how long running requests may take after the context has ended.
const Grace = 10 * time.Second

// Run serves handler on the listener until ctx ends. Then it accepts no more connections, ends the
// context of every request, and waits for running requests: a handler that waits for an event
// should answer with what it has when its context ends; one that has to finish should continue.
// Connections that are still busy after [Grace] are closed; that is no error.
func Run(ctx context.Context, listener net.Listener, handler http.Handler) error {
	return run(ctx, listener, handler, Grace)
}

func run(ctx context.Context, listener net.Listener, handler http.Handler, grace time.Duration) error {
	behind := context.WithoutCancel(ctx)
	requests, stopWaiting := context.WithCancel(behind)
	defer stopWaiting()
	server := &http.Server{
		BaseContext: func(net.Listener) context.Context { return requests },
		Handler:     handler, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout,
		IdleTimeout:  idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		// net/http logs what clients send, without a bound.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	// Only when no request can follow: a client that gets an early answer would ask again at once.
	server.RegisterOnShutdown(stopWaiting)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(behind, grace)
	defer cancel()
	err := server.Shutdown(patience)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
		_ = server.Close() // its errors do not matter any more
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) && err == nil {
		err = served
	}
	return err
}
