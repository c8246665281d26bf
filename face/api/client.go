package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"holdfast/app/desk"
	"holdfast/base/fault"
)

// Client asks and orders: a running engine through its socket, or a handler in this process.
type Client struct {
	http   *http.Client
	Remote bool // an engine answers
}

// Dial returns a client of the engine that listens on the socket of a data directory.
func Dial(dir string) (*Client, error) {
	conn, err := dialSocket(context.Background(), dir)
	if err != nil {
		return nil, err
	}
	conn.Close()
	return &Client{Remote: true, http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialSocket(ctx, dir)
		}}}}, nil
}

// Local returns a client of a handler in this process.
func Local(h http.Handler) *Client {
	return &Client{http: &http.Client{Transport: localTransport{h}}}
}

// Request is one question or order. Result is filled with the answer; Item and Progress, if not
// nil, hear of the parts of a stream and of how far long work is.
type Request struct {
	Method, Path string
	Body         any
	Result       any
	Item         func(json.RawMessage) error
	Progress     func(desk.Progress)
	// File, if not nil, is where an answer goes that is a file; Result is then what is told behind it.
	File io.Writer
}

// Do sends a request and waits for the end of its answer.
func (c *Client) Do(ctx context.Context, r Request) error {
	var body io.Reader
	if r.Body != nil {
		b, err := json.Marshal(r.Body)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, "http://holdfast"+r.Path, body)
	if err != nil {
		return err
	}
	if r.File == nil {
		req.Header.Set("Accept", lines)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask holdfast: %w", errors.Unwrap(err))
	}
	defer resp.Body.Close()
	return r.read(resp)
}

// readFile takes an answer that is a file, and what stands behind it.
func (r Request) readFile(resp *http.Response) error {
	if _, err := io.Copy(r.File, resp.Body); err != nil {
		return fmt.Errorf("take the answer of holdfast: %w", err)
	}
	if text := resp.Trailer.Get(failureTrailer); text != "" {
		f := Failure{}
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			return fmt.Errorf("read answer of holdfast: %w", err)
		}
		return f.err()
	}
	text := resp.Trailer.Get(shownTrailer)
	if text == "" {
		return fault.WithHint(fault.New(fault.Transient, "the answer of holdfast broke off"),
			"it may have been stopped; ask again")
	}
	if err := json.Unmarshal([]byte(text), r.Result); err != nil {
		return fmt.Errorf("read answer of holdfast: %w", err)
	}
	return nil
}

func (r Request) read(resp *http.Response) error {
	if r.File != nil && resp.StatusCode == http.StatusOK {
		return r.readFile(resp)
	}
	if resp.Header.Get("Content-Type") != lines {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if f := (Failure{}); json.Unmarshal(b, &f) == nil && f.Message != "" {
			return f.err()
		}
		b = b[:min(len(b), 1000)]
		return fault.New(fault.Permanent, "ask holdfast: %s: %s", resp.Status, bytes.TrimSpace(b))
	}
	dec := json.NewDecoder(resp.Body)
	for {
		var l struct {
			Progress *desk.Progress
			Item     json.RawMessage
			Result   json.RawMessage
			*Failure
		}
		switch err := dec.Decode(&l); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fault.WithHint(fault.New(fault.Transient, "the answer of holdfast broke off: %w", err),
				"it may have been stopped; ask again")
		}
		switch {
		case l.Failure != nil:
			return l.Failure.err()
		case l.Progress != nil && r.Progress != nil:
			r.Progress(*l.Progress)
		case l.Item != nil && r.Item != nil:
			if err := r.Item(l.Item); err != nil {
				return err
			}
		case l.Result != nil && r.Result != nil:
			if err := json.Unmarshal(l.Result, r.Result); err != nil {
				return fmt.Errorf("read answer of holdfast: %w", err)
			}
		}
	}
}

// err is the failure as the error that it was.
func (f *Failure) err() error {
	kind := fault.Unknown
	for k := fault.Unknown; k <= fault.Busy; k++ {
		if k.String() == f.Kind {
			kind = k
		}
	}
	err := error(fault.New(kind, "%s", f.Message))
	if f.Hint != "" {
		err = fault.WithHint(err, "%s", f.Hint)
	}
	if f.Usage {
		err = &fault.Usage{Err: err}
	}
	return err
}

// localTransport hands requests to a handler, which writes while the client reads.
type localTransport struct{ h http.Handler }

func (t localTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	pr, pw := io.Pipe()
	w := &localWriter{pw: pw, header: http.Header{}, ready: make(chan struct{})}
	resp := &http.Response{Trailer: http.Header{}, Body: &localBody{pr, w}, Request: req,
		ProtoMajor: 1, ProtoMinor: 1}
	if req.Body == nil {
		req.Body = http.NoBody
	}
	w.wg.Go(func() { // ends with the handler; the body's Close waits for it
		t.h.ServeHTTP(w, req)
		w.WriteHeader(http.StatusOK)
		for name, v := range w.header { // read behind the end of the body, which the pipe orders
			if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
				resp.Trailer[name] = v
			}
		}
		pw.Close()
	})
	<-w.ready
	resp.StatusCode, resp.Status, resp.Header = w.status, http.StatusText(w.status), w.sent
	return resp, nil
}

type localWriter struct {
	pw     *io.PipeWriter
	header http.Header
	sent   http.Header
	status int
	once   sync.Once
	ready  chan struct{}
	wg     sync.WaitGroup
}

func (w *localWriter) Header() http.Header { return w.header }

func (w *localWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone() // what the handler adds later is for the end
		close(w.ready)
	})
}

func (w *localWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pw.Write(b)
}

func (w *localWriter) FlushError() error { return nil }

type localBody struct {
	*io.PipeReader
	w *localWriter
}

func (b *localBody) Close() error {
	err := b.PipeReader.Close()
	b.w.wg.Wait()
	return err
}
