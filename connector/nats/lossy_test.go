package nats

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// lossy passes everything on, until it is told to lose an answer: then it cuts the connection where
// the server says that it has stored a message.
type lossy struct {
	addr string
	lose atomic.Bool
	lost atomic.Int64
}

func newLossy(t testing.TB, upstream string) *lossy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &lossy{addr: listener.Addr().String()}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			done.Go(func() { l.serve(client, upstream) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); done.Wait() })
	return l
}

func (l *lossy) serve(client net.Conn, upstream string) {
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
		if bytes.Contains(buf[:n], []byte(`", "seq":`)) || bytes.Contains(buf[:n], []byte(`","seq":`)) {
			if l.lose.Swap(false) {
				l.lost.Add(1)
				return
			}
		}
		if _, werr := client.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}
