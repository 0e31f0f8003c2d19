// Package natsserver runs a NATS server on a loopback port inside this process, for tests: one that
// clients reach over TCP, and that can be stopped and started again on its directory.
package natsserver

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/pratique-dev/pratique/internal/testenv/ports"
)

const patience = 20 * time.Second

// Start runs a server until it is stopped, or the test ends. Of the options, what makes it listen
// to the test alone is set here; without a port it gets one that stays free when it is stopped.
func Start(t testing.TB, o server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoSigs, o.NoLog = "127.0.0.1", true, true
	if o.Port == 0 {
		_, o.Port = ports.Free(t)
	}
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { Stop(s) })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server does not start")
	}
	return s
}

// Stop stops a server and waits until its files are closed. It may be called again.
func Stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// Port is the port of a server, to start another one there.
func Port(s *server.Server) int {
	address, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		return 0 // it does not listen
	}
	return address.Port
}
