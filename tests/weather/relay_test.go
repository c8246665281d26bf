package weather

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// relay stands in front of a server for one role. It counts who comes, reads along, and can be cut.
type relay struct {
	t        testing.TB
	addr     string
	upstream string
	// up and down copy what a client sends and gets. They are set before anybody comes, or by reads.
	up, down func(to io.Writer, from io.Reader)
	serving  sync.WaitGroup

	mu       sync.Mutex // guards the below
	listener net.Listener
	resets   bool              // whoever comes is cut off at once
	open     map[net.Conn]bool // both ends of each connection
	came     []time.Time       // when somebody came
}

// newRelay starts a relay, through which everything passes.
func newRelay(t testing.TB, addr, upstream string) *relay {
	t.Helper()
	r := &relay{t: t, addr: addr, upstream: upstream, up: pass, down: pass, open: map[net.Conn]bool{}}
	t.Cleanup(func() {
		r.refuse()
		r.serving.Wait()
	})
	return r
}

func pass(to io.Writer, from io.Reader) { _, _ = io.Copy(to, from) }

// reads has what clients send on connections that come from now on copied by up.
func (r *relay) reads(up func(to io.Writer, from io.Reader)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up = up
}

// through lets everything pass.
func (r *relay) through() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.resets = false; r.listener != nil {
		return
	}
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Errorf("listen for a relay: %v", err)
		return
	}
	r.listener = l
	r.serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			r.serving.Go(func() { r.serve(client) })
		}
	})
}

// refuse ends all connections and takes no others, as a machine does whose server is dead.
func (r *relay) refuse() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener != nil {
		_ = r.listener.Close()
		r.listener = nil
	}
	r.cutLocked()
}

// reset ends all connections, and others as soon as they come.
func (r *relay) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resets = true
	r.cutLocked()
}

// cut ends all connections that there are.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cutLocked()
}

func (r *relay) cutLocked() {
	for c := range r.open {
		abort(c)
	}
}

// abort ends a connection so that the other side sees it broken, and not ended.
func abort(c net.Conn) {
	if c, ok := c.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = c.Close()
}

func (r *relay) serve(client net.Conn) {
	defer abort(client)
	if !r.enter(client, true) {
		return
	}
	defer r.leave(client)
	server, err := net.Dial("tcp", r.upstream)
	if err != nil {
		return
	}
	defer abort(server)
	if !r.enter(server, false) {
		return
	}
	defer r.leave(server)
	r.mu.Lock()
	up, down := r.up, r.down
	r.mu.Unlock()
	var ways sync.WaitGroup
	defer ways.Wait()
	ways.Go(func() { up(server, client); abort(server) })
	down(client, server)
	abort(client)
}

// enter notes a connection; it is false if there are to be none.
func (r *relay) enter(c net.Conn, comes bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if comes {
		r.came = append(r.came, time.Now())
	}
	if r.resets || r.listener == nil {
		return false
	}
	r.open[c] = true
	return true
}

func (r *relay) leave(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
}

// attempts is how many came between two times.
func (r *relay) attempts(from, to time.Time) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, at := range r.came {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return n
}

// lastBefore is when somebody came for the last time before a time; zero for never.
func (r *relay) lastBefore(end time.Time) (last time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, at := range r.came {
		if at.Before(end) {
			last = at
		}
	}
	return last
}

// parts has hook see each part of what a client sends to a server of HTTP, before it passes. A request begins a part.
func parts(hook func(part []byte)) func(to io.Writer, from io.Reader) {
	return func(to io.Writer, from io.Reader) {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				hook(buf[:n])
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}

// frame is a value of the protocol of Redis, and how it travels.
type frame struct {
	raw   []byte
	kind  byte
	text  []byte // of a string
	items []frame
}

// readFrame reads the next value.
func readFrame(r *bufio.Reader) (f frame, err error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return f, err
	}
	f = frame{raw: bytes.Clone(line), kind: line[0]}
	n := 0
	for _, c := range line[1 : len(line)-1] {
		if c >= '0' && c <= '9' {
			n = 10*n + int(c-'0')
		}
	}
	if len(line) > 1 && line[1] == '-' { // there is none
		n = 0
		if f.kind == '$' {
			return f, nil
		}
	}
	switch f.kind {
	case '$', '=', '!':
		text := make([]byte, n+2)
		if _, err := io.ReadFull(r, text); err != nil {
			return f, err
		}
		f.raw, f.text = append(f.raw, text...), text[:n]
	case '%':
		n *= 2
		fallthrough
	case '*', '>', '~':
		for range n {
			item, err := readFrame(r)
			if err != nil {
				return f, err
			}
			f.raw, f.items = append(f.raw, item.raw...), append(f.items, item)
		}
	}
	return f, nil
}

// published is the channel and the payload of a message that a client publishes.
func (f frame) published() (channel string, payload []byte, ok bool) {
	if f.kind != '*' || len(f.items) != 3 || !bytes.EqualFold(f.items[0].text, []byte("PUBLISH")) {
		return "", nil, false
	}
	return string(f.items[1].text), f.items[2].text, true
}

// delivered is the channel and the payload of a message that a listener gets.
func (f frame) delivered() (channel string, payload []byte, ok bool) {
	if f.kind != '>' || len(f.items) != 4 || string(f.items[0].text) != "pmessage" {
		return "", nil, false
	}
	return string(f.items[2].text), f.items[3].text, true
}

// frames has hook see each value that passes, and passes on what it returns.
func frames(hook func(f frame) (out [][]byte)) func(to io.Writer, from io.Reader) {
	return func(to io.Writer, from io.Reader) {
		r := bufio.NewReaderSize(from, 64<<10)
		for {
			f, err := readFrame(r)
			if err != nil {
				return
			}
			for _, raw := range hook(f) {
				if _, err := to.Write(raw); err != nil {
					return
				}
			}
		}
	}
}

// publishes has hook see each message that a client publishes, before it passes.
func publishes(hook func(channel string, payload []byte)) func(to io.Writer, from io.Reader) {
	return frames(func(f frame) [][]byte {
		if channel, payload, ok := f.published(); ok {
			hook(channel, payload)
		}
		return [][]byte{f.raw}
	})
}
