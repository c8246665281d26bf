package testenv

import (
	"bytes"
	"io"
	"net/http"
)

// ReadFirst is the transport of an [net/http/httputil.ReverseProxy] that reads a request's body to its end before it
// passes the request on through To, nil for the default transport.
//
// Without it a server may answer while the proxy still looks whether the body has ended. The proxy then closes the body
// as it begins to answer, takes that for an error of writing, and cuts the answer off.
type ReadFirst struct{ To http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (f ReadFirst) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Header.Del("Expect") // reading has asked for the body already
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	}
	to := f.To
	if to == nil {
		to = http.DefaultTransport
	}
	return to.RoundTrip(r)
}
