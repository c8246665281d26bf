package web

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// noNames reports files that have one in the place of the answers.
func noNames(t *testing.T, f *Fetcher) {
	t.Helper()
	if names, err := os.ReadDir(f.cfg.Dir); err != nil || len(names) > 0 {
		t.Errorf("files with names: %v, %v", names, err)
	}
}

// dripping is a server that says a head, and then a byte at a time, each after a pause.
func dripping(t *testing.T, pause time.Duration) *server {
	return serve(t, func(p *peer) {
		p.request()
		p.say("HTTP/1.1 200 OK\r\n\r\n")
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for range tick.C {
			if _, err := p.Write([]byte("x")); err != nil {
				return
			}
		}
	})
}

func TestTimes(t *testing.T) {
	cases := map[string]struct {
		cfg       Config
		atLeast   time.Duration
		truncated string
	}{
		"the whole":      {Config{Timeout: 150 * time.Millisecond}, 150 * time.Millisecond, "time"},
		"silence":        {Config{Silence: time.Millisecond}, 0, "time"},
		"too slow":       {Config{MinRate: 1 << 20, RateGrace: 50 * time.Millisecond}, 50 * time.Millisecond, "time"},
		"fast enough":    {Config{MinRate: 1, RateGrace: 50 * time.Millisecond, MaxBytes: 60}, 50 * time.Millisecond, "length"},
		"not looked yet": {Config{MinRate: 1 << 20, MaxBytes: 30}, 0, "length"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := get(t, fetcher(t, c.cfg), dripping(t, 5*time.Millisecond).url)
			equal(t, "truncated", x.Truncated, c.truncated)
			if got := received(t, x); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n\r\n") || strings.Trim(got[19:], "x") != "" {
				t.Errorf("received %q", got)
			}
			if x.Took < c.atLeast || x.Took > c.atLeast+10*time.Second {
				t.Errorf("it took %s, want at least %s", x.Took, c.atLeast)
			}
		})
	}
}

// TestSlowHead drips a head: silence is not looked at there, the time of the head is.
func TestSlowHead(t *testing.T) {
	s := serve(t, func(p *peer) {
		p.request()
		p.say("HTTP/1.1 200 OK\r\nX: ")
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := p.Write([]byte("y")); err != nil {
				return
			}
		}
	})
	failure := failing(t, fetcher(t, Config{HeaderTimeout: 100 * time.Millisecond}), page(s.url), connector.FetchTimeout)
	if failure.Took < 100*time.Millisecond || !fault.Is(failure, fault.Transient) {
		t.Errorf("took %s, of the kind %s", failure.Took, fault.KindOf(failure))
	}
}

// TestBandwidth has two answers share what all may take.
func TestBandwidth(t *testing.T) {
	const size = 100_000
	s := answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", size))
	// The waiting is not the server's, so it is fast enough.
	f := fetcher(t, Config{Bandwidth: 1_000_000, MinRate: 800_000, RateGrace: 10 * time.Millisecond})
	begun := time.Now()
	done := make(chan error, 2)
	for range cap(done) {
		go func() {
			x, err := f.Fetch(t.Context(), page(s.url))
			if err == nil && (x.Truncated != "" || x.Received.Size() < size) {
				err = errors.New("truncated: " + x.Truncated)
			}
			if err == nil {
				err = x.Close()
			}
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	// What may come at once comes at once.
	if took := time.Since(begun); took < 100*time.Millisecond {
		t.Errorf("200,000 bytes at a million a second took %s", took)
	}
}

// TestContext ends it in the midst of a head, and of a body: what came is dropped, and the connection with it.
func TestContext(t *testing.T) {
	for _, text := range []string{"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"} {
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan struct{})
		s := serve(t, func(p *peer) {
			p.request()
			p.say(text)
			time.AfterFunc(20*time.Millisecond, cancel) // when the other side waits for more, as it mostly does by then
			p.hang()
			close(gone)
		})
		begun := time.Now()
		_, err := fetcher(t, Config{}).Fetch(ctx, page(s.url))
		if took := time.Since(begun); !errors.Is(err, context.Canceled) || took > 10*time.Second {
			t.Errorf("behind %q: got %v after %s, want that of the context at once", text, err, took)
		}
		<-gone
		if _, err := fetcher(t, Config{}).Fetch(ctx, page(s.url)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that of the context", err)
		}
	}
}

// TestSpool holds answers in memory and in files, and reads them at any place.
func TestSpool(t *testing.T) {
	for _, size := range []int{0, 1, 999, 1000, 1001, 70_000} {
		s := &spool{limit: 1000, dir: t.TempDir(), most: 1 << 20}
		var want strings.Builder
		for want.Len() < size {
			piece := strings.Repeat("abcdefghij", 50)[:min(333, size-want.Len())]
			want.WriteString(piece)
			if err := s.write([]byte(piece)); err != nil {
				t.Fatal(err)
			}
		}
		if inFile := s.file != nil; inFile != (size > 1000) || s.Size() != int64(size) {
			t.Errorf("%d bytes: in a file is %t, size is %d", size, inFile, s.Size())
		}
		for _, at := range []int{0, 1, size / 2, size, size + 1} {
			got, err := io.ReadAll(io.NewSectionReader(s, int64(at), 1<<20))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "read", string(got), want.String()[min(at, size):])
		}
		if _, err := s.ReadAt(make([]byte, 1), -1); err == nil {
			t.Error("read before the beginning")
		}
		if names, _ := os.ReadDir(s.dir); len(names) > 0 {
			t.Errorf("a file with a name: %v", names)
		}
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestNoRoom has no place for the file of an answer.
func TestNoRoom(t *testing.T) {
	s := answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"+strings.Repeat("x", 5000))
	f := fetcher(t, Config{MemoryPerAnswer: 100, Dir: filepath.Join(t.TempDir(), "none")})
	if failure := failing(t, f, page(s.url), connector.FetchRuntime); !fault.Is(failure, fault.Permanent) {
		t.Errorf("got the kind %s, want permanent", fault.KindOf(failure))
	}
	full := &spool{dir: "/dev", most: 10}
	var err error
	if full.file, err = os.OpenFile("/dev/full", os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = full.Close() }()
	if err := full.write([]byte("x")); !fault.Is(err, fault.Full) {
		t.Errorf("got %v, want that it is full", err)
	}
}

func TestBadConfig(t *testing.T) {
	for want, cfg := range map[string]Config{
		"no user agent":           {From: "a@b"},
		"nobody to turn to":       {UserAgent: "holdfast"},
		"From can't be sent":      {UserAgent: "holdfast", From: "a@b\r\nX: y"},
		"Host can't be sent":      {UserAgent: "holdfast (+https://example.org)", Header: map[string][]string{"Host": {"x"}}},
		"a limit below 0":         {UserAgent: "a@b", MaxBytes: -1},
		"a time below 0":          {UserAgent: "a@b", Silence: -1},
		"the proxy's URL":         {UserAgent: "a@b", Proxy: "socks5://me:secret@h"},
		"addresses that are none": {UserAgent: "a@b", AllowAddresses: []netip.Prefix{{}}},
	} {
		_, err := New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") ||
			!fault.Is(err, fault.Permanent) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
