package connector

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"time"
)

// FetchRequest is a URL to be fetched, by GET.
type FetchRequest struct {
	URL string // absolute, http or https, as weburl writes it: ASCII, encoded; a fragment and a user's name are not sent
	// Header has further fields: Referer, If-None-Match, Cookie. One that the Fetcher sends by itself is replaced by the one here.
	Header http.Header
	// Literal: the host is an address that a person named, and so is permitted, whatever it is.
	Literal bool
	// MaxBytes of the answer, 0 for the Fetcher's.
	MaxBytes int64
	// Bandwidth of the server in bytes a second, for all exchanges with it together; 0 is no limit beside the Fetcher's.
	Bandwidth int64
	// Wants is asked when the head of an answer with a body is there, whether the body is to be read; nil is always.
	Wants func(status int, h http.Header) bool
}

// Exchange is what was sent for a request and what came, as bytes. It is closed by whoever got it.
type Exchange struct {
	Begun    time.Time      // behind the look-up
	Took     time.Duration  // until the last byte came
	Remote   netip.AddrPort // that the connection leads to; the zero one if a proxy stands between
	Protocol string         // HTTP/1.1, HTTP/1.0 or HTTP/2
	// Sent is the request. Of HTTP/2 it is written as HTTP/1.1 has it, without what only a connection means; Received likewise.
	// What proves us to a proxy is left out.
	Sent []byte
	// Interim is what came before the answer: those with a status of 1xx, as they came. It is no part of Received, as readers
	// of archives take the first head for the answer's.
	Interim []byte
	// Received is the answer from its first byte to its last: status line, fields, and the body as it came, chunks and all.
	Received Bytes
	Status   int
	Header   http.Header // of the answer
	// Truncated says why the answer is not whole, in the words of a WARC: "length", "time", "disconnect", or "unspecified" if its
	// chunks broke their form and where it ends can't be known; "" if it is whole.
	Truncated string
	// Unwanted: Wants did not want the body. Of an answer with one it is Truncated, by "unspecified".
	Unwanted bool
	// Looked is the look-up of the host's name, if it was made for this request and not remembered.
	Looked *Lookup
}

// Close gives up what holds the answer.
func (x *Exchange) Close() error { return x.Received.Close() }

// Bytes are some bytes, in memory or in a file that has no name.
type Bytes interface {
	io.ReaderAt
	Size() int64
	io.Closer
}

// Lookup is what the name system said of a host.
type Lookup struct {
	Host      string
	At        time.Time
	Took      time.Duration
	Server    string // that was asked, host:port; "" if the answer came from a file of this machine
	Addresses []netip.Addr
	TTL       time.Duration
	Answer    []byte // the records as a zone file has them, a line each
}

// FetchError is a request that got no answer. It is a fault of the kind that Err is.
type FetchError struct {
	Status int // as Heritrix has it: one of those below
	Looked *Lookup
	Begun  time.Time
	Took   time.Duration
	// Here: it is this end that is away, and nothing is known of the server. No name server answers, or there is no way out.
	Here bool
	Err  error
}

// Why there was no answer, as Heritrix has it.
const (
	FetchNoName    = -1    // the host's name has no address
	FetchNoConnect = -2    // nobody takes the connection
	FetchBroken    = -3    // the connection ended before the answer's head was there
	FetchTimeout   = -4    // it took too long
	FetchRuntime   = -5    // what should not happen
	FetchIllegal   = -7    // no URL that can be fetched
	FetchForbidden = -5000 // the guard: it leads to an address that is not to be asked
)

func (e *FetchError) Error() string { return e.Err.Error() }
func (e *FetchError) Unwrap() error { return e.Err }

// Fetcher asks web servers. It is safe for use by many at once. It follows no redirect, keeps no cookies, and knows nothing of
// politeness: that is for whoever calls it.
type Fetcher interface {
	// Fetch returns what came, even if that is not whole. An error is a *FetchError: no head of an answer came, or there was no
	// room for the answer; or it is that of ctx, and whatever came until then is dropped.
	Fetch(ctx context.Context, r FetchRequest) (*Exchange, error)
	Close() error
}
