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

// Run serves handler on the listener until ctx ends. Then it takes no more connections, ends the context of
// every request, and waits for the requests under way: a handler that waits for something to happen should
// answer with what it knows when its context ends, one that has to finish should go on without it. Connections
// that are still busy after [Grace] are cut off; that is no error.
func Run(ctx context.Context, listener net.Listener, handler http.Handler) error {
	return run(ctx, listener, handler, Grace)
}

func run(ctx context.Context, listener net.Listener, handler http.Handler, grace time.Duration) error {
	behind := context.WithoutCancel(ctx)
	requests, stopWaiting := context.WithCancel(behind)
	defer stopWaiting()
	server := &http.Server{
		BaseContext: func(net.Listener) context.Context { return requests },
		Handler:     handler, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		// The log of net/http repeats what clients send, as often as they like.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	// Only once no request can follow: a client that gets its answer at once would ask again at once.
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
		_ = server.Close() // closes the connections, and has nothing to say about those that were lost
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) && err == nil {
		err = served
	}
	return err
}
