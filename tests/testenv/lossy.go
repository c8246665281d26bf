package testenv

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Lossy is a proxy that passes everything on, until it is told to lose an answer: then it cuts the
// connection where the server says that something is done.
type Lossy struct {
	Addr string
	Lose atomic.Bool  // the next answer; it is passed on again once one is lost
	Lost atomic.Int64 // answers
	done func(answer []byte) bool
}

// NewLossy starts a proxy in front of upstream; done tells the answer that says it.
func NewLossy(t testing.TB, upstream string, done func(answer []byte) bool) *Lossy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Lossy{Addr: listener.Addr().String(), done: done}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { l.serve(client, upstream) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	return l
}

func (l *Lossy) serve(client net.Conn, upstream string) {
	defer client.Close()
	server, err := net.Dial("tcp", upstream)
	if err != nil {
		return
	}
	var up sync.WaitGroup
	up.Go(func() { _, _ = io.Copy(server, client); _ = server.Close() })
	defer up.Wait()
	defer client.Close()
	defer server.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if l.done(buf[:n]) && l.Lose.Swap(false) {
			l.Lost.Add(1)
			return
		}
		if _, werr := client.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}
