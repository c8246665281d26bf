package web

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"holdfast/base/fault"
	"holdfast/connector"
)

// proxy is one that speaks HTTP. It looks for the addresses of hosts by itself: the guard can refuse what this machine's name
// system says, and what stands in a URL, but not what the proxy finds.
type proxy struct {
	address string // host:port
	shown   string // without its password
	proof   string // the field that proves us to it, "" without a user
}

// newProxy reads the URL of a proxy, nil for none.
func newProxy(raw string) (*proxy, error) {
	if raw == "" {
		return nil, nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.Path != "" && u.Path != "/" {
		// Not with the text: a password may be in it.
		return nil, fault.WithHint(fault.New(fault.Permanent, "the proxy's URL can't be read"),
			"write it as http://USER:PASSWORD@HOST:PORT")
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	p := &proxy{address: net.JoinHostPort(u.Hostname(), port)}
	p.shown = "the proxy " + p.address
	if u.User != nil {
		password, _ := u.User.Password()
		user := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
		p.proof = "Proxy-Authorization: Basic " + user + "\r\n"
	}
	return p, nil
}

// sign is a request with the field that proves us. What is archived has it not.
func (p *proxy) sign(request []byte) []byte {
	if p.proof == "" {
		return request
	}
	end := len(request) - len("\r\n")
	signed := make([]byte, 0, len(request)+len(p.proof))
	return append(append(append(signed, request[:end]...), p.proof...), "\r\n"...)
}

// tunnel has the proxy connect w to a server, of whose bytes it understands nothing from then on.
func (p *proxy) tunnel(ctx context.Context, w *wire, t target) error {
	end, _ := ctx.Deadline()
	w.begin(clock{ctx: ctx, end: end, head: end})
	stop := context.AfterFunc(ctx, w.interrupt)
	err := p.ask(w, t)
	w.rest()
	if !stop() { // the connection is being cut
		return p.silent(ctx.Err())
	}
	return err
}

// ask is the exchange of a tunnel.
func (p *proxy) ask(w *wire, t target) error {
	to := net.JoinHostPort(t.host, strconv.Itoa(int(t.port)))
	if err := w.write(p.sign([]byte("CONNECT " + to + " HTTP/1.1\r\nHost: " + to + "\r\n\r\n"))); err != nil {
		return p.silent(err)
	}
	a := answer{w: w, s: &spool{most: maxHead, limit: maxHead}, x: &connector.Exchange{}}
	defer func() { _ = a.s.Close() }()
	h, err := a.head()
	switch {
	case err != nil:
		return p.silent(err)
	case h.status/100 != 2:
		return p.refused(h.status)
	case w.buffered() != nil:
		return p.silent(errForm) // a server of TLS waits for us
	}
	return nil
}

func (p *proxy) silent(err error) error {
	return failed(connector.FetchNoConnect, fault.Transient, "ask %s for a connection: %w", p.shown, err)
}

// refused says what a status of the proxy means.
func (p *proxy) refused(status int) error {
	if status == http.StatusProxyAuthRequired {
		failure := failed(connector.FetchNoConnect, fault.Credentials, "%s does not let us in", p.shown)
		failure.Err = fault.WithHint(failure.Err, "look at the user and password in the proxy's URL")
		return failure
	}
	return failed(connector.FetchNoConnect, fault.Transient, "%s gives no connection: %d %s", p.shown, status,
		http.StatusText(status))
}
