package testenv

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Address reserves a loopback address, as host:port, until the test ends: a server that is started
// there again, after a kill, finds it free.
func Address(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", port(t))
}

// port reserves a TCP port on loopback until the test ends. The port lies below those that the
// kernel hands out by itself, so that it is still free when a server is started on it again; an
// abstract socket, which the kernel drops with this process, keeps it from other tests.
func port(t testing.TB) int {
	t.Helper()
	const first, last = 20000, 32000
	for range 1000 {
		n := first + rand.IntN(last-first)
		lock, err := net.Listen("unix", fmt.Sprintf("@holdfast-test-port-%d", n))
		if err != nil {
			continue
		}
		if free(n) {
			t.Cleanup(func() { _ = lock.Close() })
			return n
		}
		_ = lock.Close()
	}
	t.Fatal("reserve port: none free in 1000 tries")
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
