// Package ports picks loopback ports for servers of tests that are started, stopped and started
// again at one address.
package ports

import (
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
)

// Systems hand out ports above these by themselves (Linux: from 32768). So nobody's connection, and
// no server that asked for any port, takes one of these between two starts.
const (
	first = 20_000
	count = 10_000
)

var picked atomic.Int32

// Free returns a loopback address that nobody listens at, and that no other call of this process
// returns.
func Free(t testing.TB) (address string, port int) {
	t.Helper()
	for range count {
		port = first + (os.Getpid()*97+int(picked.Add(1)))%count
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if listener, err := net.Listen("tcp", address); err == nil {
			_ = listener.Close()
			return address, port
		}
	}
	t.Fatalf("no port from %d to %d is free", first, first+count-1)
	return "", 0
}
