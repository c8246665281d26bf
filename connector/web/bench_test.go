package web

import (
	"bufio"
	"net"
	"strings"
	"testing"
)

// BenchmarkFetch fetches pages of 1 KB over one connection that is kept.
func BenchmarkFetch(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	answer := []byte(fine + "Server: bench\r\nContent-Type: text/html; charset=utf-8\r\nETag: \"1\"\r\n" +
		"Content-Length: 1000\r\n\r\n" + strings.Repeat("x", 1000))
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		for r := bufio.NewReader(conn); ; {
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(line) == 2 {
					break
				}
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}()
	f := fetcher(b, Config{})
	defer func() {
		_ = f.Close()
		_ = l.Close()
		<-done
	}()
	r := page("http://" + l.Addr().String() + "/page")
	b.ReportAllocs()
	for b.Loop() {
		x, err := f.Fetch(b.Context(), r)
		if err != nil {
			b.Fatal(err)
		}
		if x.Received.Size() < 1000 || x.Close() != nil {
			b.Fatal("not whole")
		}
	}
}
