package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"holdfast/base/web"
)

// SocketFile is the name of the socket in a data directory.
const SocketFile = "control.sock"

// maxSocketPath is how long the address of a unix socket may be.
const maxSocketPath = 100

// reach calls f with a name of path that is short enough for a socket's address: a long one is
// reached through the open directory.
func reach(dir, name string, f func(path string) error) error {
	path := filepath.Join(dir, name)
	if len(path) <= maxSocketPath {
		return f(path)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name))
}

func dialSocket(ctx context.Context, dir string) (conn net.Conn, err error) {
	err = reach(dir, SocketFile, func(path string) (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}

// ListenSocket listens on the socket of a data directory, whose lock the caller holds: a socket
// that is there is therefore a dead one, and is replaced. Nobody but the owner can connect: the
// socket is made in a directory that only we can enter, and moved out when its permissions are
// right.
func ListenSocket(dir string) (net.Listener, error) {
	private, err := os.MkdirTemp(dir, ".sock*") // mode 0700
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	defer os.RemoveAll(private)
	var ln *net.UnixListener
	err = reach(private, "s", func(path string) (err error) {
		ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	ln.SetUnlinkOnClose(false) // by the name it was made under; see socket.Close
	made, path := filepath.Join(private, "s"), filepath.Join(dir, SocketFile)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, path)); err != nil {
		ln.Close()
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	return &socket{ln, path}, nil
}

type socket struct {
	net.Listener
	path string
}

func (s *socket) Close() error {
	_ = os.Remove(s.path)
	return s.Listener.Close()
}

// Serve answers on a listener until ctx ends. Requests under way are then ended too.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := &http.Server{Handler: web.Limited(h, maxBody, slowest), ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return base }}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }() // ends with Shutdown or Close below
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	stop, end := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer end()
	if srv.Shutdown(stop) != nil {
		_ = srv.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	}
	return nil
}
