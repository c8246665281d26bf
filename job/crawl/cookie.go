package crawl

import (
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/publicsuffix"

	"holdfast/base/fault"
	"holdfast/base/weburl"
)

// cookie is a cookie that a server has set (RFC 6265, 5.3).
type cookie struct {
	Name    octets `json:"n"`
	Value   octets `json:"v"` // as it came, with the quotes that may stand around it
	Domain  string `json:"d"`
	Alone   bool   `json:"o,omitempty"` // no host below Domain is told
	Path    string `json:"p"`
	Secure  bool   `json:"s,omitempty"`
	Expires int64  `json:"e,omitempty"` // in milliseconds; 0: it lasts as long as the crawl
}

// Bounds of what a site may have kept: RFC 6265 (6.1) asks for 50 cookies of 4096 bytes a domain; servers refuse heads
// that are much longer than the last of these.
const (
	mostCookies     = 50
	mostCookieBytes = 4096
	mostSiteBytes   = 16 << 10
)

func (c *cookie) size() int { return len(c.Name) + len(c.Value) + len(c.Domain) + len(c.Path) }

// octets are bytes. In JSON, which can't hold bytes, each is a rune of a text.
type octets string

// MarshalText implements encoding.TextMarshaler.
func (o octets) MarshalText() ([]byte, error) {
	text := make([]byte, 0, len(o))
	for i := range len(o) {
		text = utf8.AppendRune(text, rune(o[i]))
	}
	return text, nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *octets) UnmarshalText(text []byte) error {
	b := make([]byte, 0, len(text))
	for _, r := range string(text) {
		if r > 0xff {
			return fault.New(fault.Corrupt, "%q is no byte", r)
		}
		b = append(b, byte(r))
	}
	*o = octets(b)
	return nil
}

// cookies are those of a site: a registrable domain, or a host that has none. The ones that were made first stand first.
type cookies []cookie

// cookieFrom reads a Set-Cookie field of an answer from u. gone says that the cookie is to be forgotten. Name and value are
// taken as they stand (RFC 6265, 5.2), because servers send what its grammar does not allow: JSON, quotes, other alphabets.
func cookieFrom(line string, u weburl.URL, now time.Time) (c cookie, gone, ok bool) {
	pair, attributes, _ := strings.Cut(line, ";")
	name, value, ok := strings.Cut(pair, "=")
	name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
	if !ok || name == "" || len(name)+len(value) > mostCookieBytes || !httpguts.ValidHeaderFieldValue(pair) {
		return c, false, false
	}
	h, err := http.ParseSetCookie("a=;" + attributes)
	if err != nil {
		return c, false, false
	}
	c = cookie{Name: octets(name), Value: octets(value), Path: h.Path, Secure: h.Secure}
	if c.Domain, c.Alone, ok = cookieDomain(u, h.Domain); !ok {
		return c, false, false
	}
	if c.Path == "" || c.Path[0] != '/' {
		c.Path = "/"
		if i := strings.LastIndexByte(u.Path(), '/'); i > 0 {
			c.Path = u.Path()[:i]
		}
	}
	if len(c.Path) > mostCookieBytes {
		return c, false, false
	}
	switch {
	case h.MaxAge < 0:
		return c, true, true
	case h.MaxAge > 0:
		const most = 400 * 24 * time.Hour // as browsers have it
		c.Expires = now.Add(min(time.Duration(min(h.MaxAge, int(most/time.Second)))*time.Second, most)).UnixMilli()
	case !h.Expires.IsZero():
		c.Expires = h.Expires.UnixMilli()
		return c, c.Expires <= now.UnixMilli(), true
	}
	return c, false, true
}

// cookieDomain returns the domain of a cookie from u that claims the given attribute (5.2.3, 5.3): none of another site, and
// none under which strangers have hosts.
func cookieDomain(u weburl.URL, attribute string) (domain string, alone, ok bool) {
	host := strings.TrimSuffix(u.Host(), ".")
	if u.IsAddress() {
		return host, true, attribute == "" || attribute == host
	}
	domain = strings.ToLower(strings.TrimPrefix(attribute, "."))
	switch {
	case domain == "":
		return host, true, true
	case domain == host:
		return host, isSuffix(host), true
	}
	return domain, false, !isSuffix(domain) && strings.HasSuffix(host, "."+domain)
}

// isSuffix reports whether a name is a public suffix: co.uk.
func isSuffix(name string) bool {
	suffix, _ := publicsuffix.PublicSuffix(name)
	return suffix == name
}

// set adds a cookie, in the place of the one with the same name, domain and path. If there are too many, those that expire
// soonest make room, the oldest first.
func (all cookies) set(c cookie, gone bool, now time.Time) cookies {
	next := make(cookies, 0, len(all)+1)
	placed := false
	for _, was := range all {
		switch {
		case was.Name == c.Name && was.Domain == c.Domain && was.Path == c.Path:
			if !gone {
				next = append(next, c)
			}
			placed = true
		case !was.over(now):
			next = append(next, was)
		}
	}
	if !placed && !gone {
		next = append(next, c)
	}
	for len(next) > mostCookies || next.size() > mostSiteBytes {
		next = slices.Delete(next, next.leastOf(c), next.leastOf(c)+1)
	}
	return next
}

func (c *cookie) over(now time.Time) bool { return c.Expires != 0 && c.Expires <= now.UnixMilli() }

func (all cookies) size() (n int) {
	for i := range all {
		n += all[i].size()
	}
	return n
}

// leastOf returns the index of the cookie that matters least; that is c only if there is no other.
func (all cookies) leastOf(c cookie) int {
	least := 0
	for i := range all {
		if all[i] != c && (all[least] == c || all[least].Expires == 0 && all[i].Expires != 0 ||
			all[i].Expires != 0 && all[i].Expires < all[least].Expires) {
			least = i
		}
	}
	return least
}

// of returns the Cookie field of a request for u (5.4), "" for none.
func (all cookies) of(u weburl.URL, now time.Time) string {
	host := strings.TrimSuffix(u.Host(), ".")
	path := u.Path()
	if path == "" {
		path = "/"
	}
	var send []*cookie
	for i := range all {
		c := &all[i]
		if c.over(now) || c.Secure && !u.Secure() || c.Domain != host && (c.Alone || !strings.HasSuffix(host, "."+c.Domain)) ||
			!underPath(path, c.Path) {
			continue
		}
		send = append(send, c)
	}
	slices.SortStableFunc(send, func(a, b *cookie) int { return len(b.Path) - len(a.Path) })
	var b strings.Builder
	for _, c := range send {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(string(c.Name + "=" + c.Value))
	}
	return b.String()
}

// underPath reports whether a path is the path of a cookie, or below it (5.1.4).
func underPath(path, of string) bool {
	rest, ok := strings.CutPrefix(path, of)
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(of, "/"))
}
