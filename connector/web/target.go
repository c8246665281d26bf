package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"holdfast/base/fault"
	"holdfast/connector"
)

// target is where a URL leads. It is taken apart by hand: net/url refuses a path with "%zz", which the web has.
type target struct {
	secure    bool
	origin    string     // scheme, host and port: whose connections serve it
	authority string     // as the field Host has it
	host      string     // without brackets
	literal   netip.Addr // if the host is an address
	port      uint16
	path      string // with the query
}

// parseTarget takes a URL apart. What would break a line of the request is an error.
func parseTarget(raw string) (target, error) {
	var t target
	scheme, rest, ok := strings.Cut(raw, "://")
	t.secure, t.port = scheme == "https", 80
	if t.secure {
		t.port = 443
	}
	if !ok || scheme != "http" && scheme != "https" {
		return t, illegal(raw, "neither http nor https")
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] <= ' ' || raw[i] >= 0x7f {
			return t, illegal(raw, "a character that is not encoded")
		}
	}
	rest, _, _ = strings.Cut(rest, "#")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	t.authority, t.path = rest[:end], rest[end:]
	t.origin = raw[:len(scheme)+3+end]
	if user := strings.LastIndexByte(t.authority, '@'); user >= 0 {
		t.authority = t.authority[user+1:]
		t.origin = scheme + "://" + t.authority
	}
	if !strings.HasPrefix(t.path, "/") {
		t.path = "/" + t.path
	}
	return t, t.parseHost(raw)
}

// parseHost takes the authority apart.
func (t *target) parseHost(raw string) error {
	host, port := t.authority, ""
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		host, port = host[:colon], host[colon+1:]
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return illegal(raw, "no port: "+strconv.Quote(port))
		}
		t.port = uint16(n)
	}
	if strings.HasPrefix(host, "[") {
		addr, err := netip.ParseAddr(strings.TrimSuffix(host[1:], "]"))
		if err != nil || !strings.HasSuffix(host, "]") || !addr.Is6() || addr.Zone() != "" {
			return illegal(raw, "no address: "+host)
		}
		t.host, t.literal = addr.String(), addr.Unmap()
		return nil
	}
	t.host = strings.ToLower(host)
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is4() {
		t.literal = addr
		return nil
	}
	if !validName(t.host) {
		return illegal(raw, "no host: "+strconv.Quote(host))
	}
	return nil
}

// validName reports whether a host can be asked for. One that ends in a number is an address in a form that is none.
func validName(host string) bool {
	host = strings.TrimSuffix(host, ".")
	if len(host) > 253 {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(host, ".") {
		if len(label) == 0 || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
		last = label
	}
	hex, isHex := strings.CutPrefix(last, "0x")
	return strings.Trim(last, "0123456789") != "" && (!isHex || strings.Trim(hex, "0123456789abcdef") != "")
}

func illegal(raw, why string) error {
	return failed(connector.FetchIllegal, fault.Invalid, "fetch %.200q: %s", raw, why)
}

// checkFields reports what can't be sent of a request's own fields.
func checkFields(h http.Header) error {
	for name, values := range h {
		for _, value := range values {
			if f := (field{name, value}); !f.valid() {
				return failed(connector.FetchIllegal, fault.Invalid, "the field %.100q can't be sent: %.100q", name, value)
			}
		}
	}
	return nil
}

// lines are the fields of the request, in order; its own ones replace those of every request.
func (c *call) lines() []field {
	if len(c.request.Header) == 0 {
		return c.f.fields
	}
	own := fieldsOf(c.request.Header)
	all := make([]field, 0, len(c.f.fields)+len(own))
	for _, f := range c.f.fields {
		if !slices.ContainsFunc(own, func(o field) bool { return strings.EqualFold(o.name, f.name) }) {
			all = append(all, f)
		}
	}
	return append(all, own...)
}

// message is the request as HTTP/1.1 writes it. For a proxy it says the whole URL.
func (c *call) message(absolute bool) []byte {
	lines := c.lines()
	t := c.target
	size := len("GET  HTTP/1.1\r\nHost: \r\n\r\n") + len(t.origin) + len(t.path) + len(t.authority)
	for _, f := range lines {
		size += len(f.name) + len(f.value) + 4
	}
	b := append(make([]byte, 0, size), "GET "...)
	if absolute {
		b = append(b, t.origin...)
	}
	b = append(append(b, t.path...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, t.authority...), "\r\n"...)
	for _, f := range lines {
		b = append(append(b, f.name...), ": "...)
		b = append(append(b, f.value...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}
