package web

import (
	"bufio"
	"net"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkFetch fetches pages of some sizes over one connection that is kept. The largest one goes through a file.
func BenchmarkFetch(b *testing.B) {
	for _, size := range []int{1000, 50_000, 16 << 20} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			url := plain(b, size)
			f := fetcher(b, Config{})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				x, err := f.Fetch(b.Context(), page(url))
				if err != nil {
					b.Fatal(err)
				}
				if x.Truncated != "" || x.Received.Size() < int64(size) || x.Close() != nil {
					b.Fatal("not whole")
				}
			}
		})
	}
}

// plain is a server that costs little itself: it gives the same page to all requests of one connection.
func plain(b *testing.B, size int) (url string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	answer := []byte(fine + "Server: bench\r\nContent-Type: text/html; charset=utf-8\r\nETag: \"1\"\r\n" +
		"Content-Length: " + strconv.Itoa(size) + "\r\n\r\n" + strings.Repeat("x", size))
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		for r := bufio.NewReader(conn); ; {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) > len("\r\n") {
				continue
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}()
	b.Cleanup(func() { // runs behind the fetcher's, which closes the connection
		_ = l.Close()
		<-done
	})
	return "http://" + l.Addr().String() + "/page"
}
