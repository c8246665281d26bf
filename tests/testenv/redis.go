package testenv

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

const redisServer = "/usr/bin/redis-server"

// RedisServer is a running Redis on loopback. Its user default has the password geheim123.
type RedisServer struct {
	t       testing.TB
	command Command
	addr    string
	process *Process
}

// Redis starts Debian's Redis 7, empty. It writes what it is given to a file before it answers.
func Redis(t testing.TB) *RedisServer {
	t.Helper()
	if _, err := os.Stat(redisServer); err != nil {
		Missing(t, "Debian's redis-server 7", err)
	}
	n, dir := port(t), t.TempDir()
	s := &RedisServer{t: t, addr: fmt.Sprintf("127.0.0.1:%d", n), command: Command{Path: redisServer,
		Dir: dir, Args: []string{"--port", strconv.Itoa(n), "--bind", "127.0.0.1", "--dir", dir,
			"--save", "", "--appendonly", "yes", "--appendfsync", "no", "--requirepass", "geheim123"}}}
	s.start()
	// A directory can't be removed under a server that still writes to it.
	t.Cleanup(s.Kill)
	return s
}

func (s *RedisServer) start() {
	s.t.Helper()
	s.process = Start(s.t, s.command)
	s.process.WaitFor(s.t, "eady to accept", startWithin)
}

// Addr is the server's host:port.
func (s *RedisServer) Addr() string { return s.addr }

// Kill ends the server at once (kill -9).
func (s *RedisServer) Kill() { s.process.Kill() }

// Restart starts the server again with the same data on the same port; one that still runs is killed
// first.
func (s *RedisServer) Restart() {
	s.t.Helper()
	s.process.Kill()
	s.start()
}

// Freeze stops the server where it stands: it takes connections, and never answers.
func (s *RedisServer) Freeze() { s.process.Freeze() }

// Thaw lets a frozen server go on.
func (s *RedisServer) Thaw() { s.process.Thaw() }
