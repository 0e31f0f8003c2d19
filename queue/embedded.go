package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/dirlock"
	"github.com/pratique-dev/pratique/internal/natsinternals"
)

// EmbeddedConfig configures the embedded server.
type EmbeddedConfig struct {
	// Dir holds the streams. It is locked, for one process at a time.
	Dir string
	// SyncAlways syncs each append before it is acknowledged. Without it JetStream syncs every two
	// minutes, which survives a killed process but not a power cut.
	SyncAlways bool
	// MaxStoreBytes bounds all streams together; 0 means 16 GiB. It must be at least the sum of
	// [Topology].
	MaxStoreBytes int64
	// Log is called with the server's warnings and errors, from any goroutine; nil discards them.
	Log func(level, message string)
}

const (
	defaultMaxStore = 16 * gib
	startWait       = 30 * time.Second
)

// Embedded is a NATS server in this process. It listens on no socket and handles no signals.
type Embedded struct {
	server *server.Server
	lock   *flock.Flock
	logs   *serverLog

	mu    sync.Mutex
	conns []*nats.Conn
}

// StartEmbedded starts a server on c.Dir and waits until it accepts connections. A directory that
// another process uses is Conflict; a server that cannot start or recover is Unavailable.
func StartEmbedded(c EmbeddedConfig) (*Embedded, error) {
	const op = "start embedded nats"
	if c.Dir == "" {
		return nil, pratique.Errorf(pratique.Invalid, op, "no directory given")
	}
	lock, err := dirlock.Lock(c.Dir)
	switch {
	case errors.Is(err, dirlock.ErrInUse):
		return nil, pratique.Wrap(pratique.Conflict, op, c.Dir, err)
	case err != nil:
		return nil, pratique.Wrap(pratique.Unavailable, op, c.Dir, err)
	}
	if err := natsinternals.DropStaleIndexes(c.Dir); err != nil {
		_ = lock.Unlock() // the error that matters is err
		return nil, pratique.Wrap(pratique.Unavailable, op, c.Dir, err)
	}
	s, err := server.NewServer(serverOptions(c))
	if err != nil {
		_ = lock.Unlock() // the error that matters is err
		return nil, pratique.Wrap(pratique.Invalid, op, c.Dir, err)
	}
	logs := &serverLog{to: c.Log, writeFailed: make(chan struct{})}
	s.SetLoggerV2(logs, false, false, false)
	s.Start()
	e := &Embedded{server: s, lock: lock, logs: logs}
	if !s.ReadyForConnections(startWait) || !s.JetStreamEnabled() {
		e.Close()
		return nil, pratique.Wrap(pratique.Unavailable, op, c.Dir,
			fmt.Errorf("not ready: %s", logs.last()))
	}
	return e, nil
}

func serverOptions(c EmbeddedConfig) *server.Options {
	maxStore := c.MaxStoreBytes
	if maxStore <= 0 {
		maxStore = defaultMaxStore
	}
	return &server.Options{
		ServerName: "pratique", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: c.Dir, SyncAlways: c.SyncAlways,
		JetStreamMaxStore: maxStore, JetStreamMaxMemory: 64 * mib,
		MaxPayload: mib,
	}
}

// Conn opens a connection inside the process. The caller closes it; [Embedded.Close] closes it too.
func (e *Embedded) Conn() (*nats.Conn, error) {
	conn, err := nats.Connect("", nats.InProcessServer(e.server), nats.Name("pratique"),
		nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond),
		nats.NoCallbacksAfterClientClose(),
		// The library's own handler writes to stderr.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "connect to embedded nats", "", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns = append(e.conns, conn)
	return conn, nil
}

// Wait returns nil when ctx ends, and Unavailable once the server could not write. The server does
// not recover from that, even if the disk has space again, so it has to be closed and started
// again. What was acknowledged is there then.
func (e *Embedded) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-e.logs.writeFailed:
		return pratique.Errorf(pratique.Unavailable, "write the queue",
			"%s; free disk space and restart the service", e.logs.last())
	}
}

// Close closes every connection, stops the server, waits until its files are closed and unlocks the
// directory.
func (e *Embedded) Close() {
	e.mu.Lock()
	for _, conn := range e.conns {
		conn.Close()
	}
	e.conns = nil
	e.mu.Unlock()
	e.server.Shutdown()
	e.server.WaitForShutdown()
	_ = e.lock.Unlock() // the lock ends with the process anyway
}

// serverLog passes the server's warnings and errors on, and keeps the last error.
type serverLog struct {
	to func(level, message string)

	mu          sync.Mutex
	lastErr     string
	writeFailed chan struct{} // closed after a write error
}

var _ server.Logger = (*serverLog)(nil)

func (l *serverLog) log(level, format string, args []any) {
	message := fmt.Sprintf(format, args...)
	if level != "warn" {
		l.mu.Lock()
		l.keep(message)
		l.mu.Unlock()
	}
	if l.to != nil {
		l.to(level, message)
	}
}

// keep keeps an error. A write error is not replaced, since others follow from it.
func (l *serverLog) keep(message string) {
	select {
	case <-l.writeFailed:
		return
	default:
	}
	l.lastErr = message
	if natsinternals.StoppedWriting(message) {
		close(l.writeFailed)
	}
}

func (l *serverLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lastErr == "" {
		return "no answer within " + startWait.String()
	}
	return l.lastErr
}

func (l *serverLog) Noticef(string, ...any)         {}
func (l *serverLog) Debugf(string, ...any)          {}
func (l *serverLog) Tracef(string, ...any)          {}
func (l *serverLog) Warnf(format string, v ...any)  { l.log("warn", format, v) }
func (l *serverLog) Errorf(format string, v ...any) { l.log("error", format, v) }
func (l *serverLog) Fatalf(format string, v ...any) { l.log("fatal", format, v) }
