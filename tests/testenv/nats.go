package testenv

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// NATSServer is a running NATS server with JetStream on loopback. Its user is writer with the
// password geheim123; reader, with the same password, may publish nothing but questions.
type NATSServer struct {
	t       testing.TB
	command Command
	addr    string
	process *Process
}

// NATS builds the server of the module that go.mod names as a tool, and starts it. Settings are lines
// of its configuration.
func NATS(t testing.TB, settings ...string) *NATSServer {
	t.Helper()
	path, err := buildNATS()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &NATSServer{t: t, addr: Address(t)}
	config := filepath.Join(dir, "nats.conf")
	writeFile(t, config, fmt.Sprintf(`listen: %q
jetstream: {store_dir: %q, max_file_store: 2GB}
authorization: {users: [
  {user: writer, password: geheim123},
  {user: reader, password: geheim123, permissions: {publish: ["$JS.API.>", "_INBOX.>"]}}]}
%s`, s.addr, filepath.Join(dir, "store"), strings.Join(settings, "\n")))
	s.command = Command{Path: path, Args: []string{"-c", config}, Dir: dir}
	s.start()
	// A directory can't be removed under a server that still writes to it.
	t.Cleanup(s.Kill)
	return s
}

func (s *NATSServer) start() {
	s.t.Helper()
	s.process = Start(s.t, s.command)
	s.process.WaitFor(s.t, "Server is ready", startWithin)
	until(startWithin, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

// Addr is the server's host:port.
func (s *NATSServer) Addr() string { return s.addr }

// URL is the address of the server at host:port (its own or a proxy's).
func (s *NATSServer) URL(addr string) string { return "nats://" + addr }

// Running reports whether the server has not ended.
func (s *NATSServer) Running() bool { return s.process.Running() }

// Kill ends the server at once (kill -9).
func (s *NATSServer) Kill() { s.process.Kill() }

// Restart starts the server again with the same data on the same port; one that still runs is killed
// first.
func (s *NATSServer) Restart() {
	s.t.Helper()
	s.process.Kill()
	s.start()
}

// Freeze stops the server where it stands: it takes connections, and never answers.
func (s *NATSServer) Freeze() { s.process.Freeze() }

// Thaw lets a frozen server go on.
func (s *NATSServer) Thaw() { s.process.Thaw() }
