package weburl

import (
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// SURT returns the form that scopes compare (Heritrix's SURT, "sort-friendly URI reordering transform"):
// http://(com,example,www,:8080@user:password)/path?query, all in lower case. https is http, as in Heritrix's
// prefix sets; an address is not reversed.
func (u URL) SURT() string {
	b := make([]byte, 0, len(u.href)+8)
	b = append(b, "http://("...)
	b = u.appendHost(b)
	b = append(b, u.href[u.hostEnd:u.path]...)
	if user := u.Userinfo(); user != "" {
		b = append(append(b, '@'), user...)
	}
	b = append(append(b, ')'), u.href[u.path:]...)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// Key tells u from every other URL, and sorts it to its host: the scheme, the host as a SURT has it, and the rest as it is.
func (u URL) Key() string {
	b := make([]byte, 0, len(u.href)+8)
	b = u.appendHost(b)
	b = append(b, u.href[u.hostEnd:u.path]...)
	if u.Secure() {
		b = append(b, '!')
	}
	if user := u.Userinfo(); user != "" {
		b = append(append(b, '@'), user...)
	}
	return string(append(append(b, ')'), u.href[u.path:]...))
}

// QueueKey names the queue of u's host, and so the server that is spared: com,example,www, and #port, unless that
// is 80. https has #443: it may be another server.
func (u URL) QueueKey() string {
	b := u.appendHost(make([]byte, 0, u.hostEnd-u.host+8))
	switch {
	case u.Port() != "":
		b = append(append(b, '#'), u.Port()...)
	case u.Secure():
		b = append(b, "#443"...)
	}
	return string(b)
}

// appendHost appends the labels of the host from last to first, each with a comma; an address as it is.
func (u URL) appendHost(b []byte) []byte {
	host := u.Host()
	if u.IsAddress() {
		return append(b, host...)
	}
	for host != "" {
		i := strings.LastIndexByte(host, '.')
		b = append(append(b, host[i+1:]...), ',')
		host = host[:max(i, 0)]
	}
	return b
}

// SURTPrefix returns the prefix of SURTs that a seed, as a person wrote it, stands for: all below its path up to
// the last slash. Without any slash behind the host the prefix stays open, http://(com,example, and takes the
// hosts below it too. A seed without a scheme is http.
func SURTPrefix(seed string) (string, error) {
	seed = trim(seed)
	if web, _ := schemeOf(seed); web == 0 && !strings.Contains(seed, "://") {
		seed = "http://" + seed
	}
	u, err := Parse(seed)
	if err != nil {
		return "", err
	}
	web, _ := schemeOf(seed)
	if !strings.ContainsAny(seed[web:], `/\?#`) {
		return strings.TrimSuffix(u.SURT(), ")/"), nil
	}
	s := locate(u.href[:u.query]).SURT()
	return s[:strings.LastIndexByte(s, '/')+1], nil
}

// Domain returns the registrable domain of the host by the public suffix list, example.co.uk; the host itself if
// it is an address or a public suffix.
func (u URL) Domain() string {
	if u.IsAddress() {
		return u.Host()
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(strings.TrimSuffix(u.Host(), "."))
	if err != nil {
		return u.Host()
	}
	return domain
}

// IndexKey returns the key of u in a CDXJ index as pywb makes and asks it (the Python package surt in its default
// setting): com,example)/path?a=1&b=2 without scheme, userinfo and www, in lower case, unescaped as far as that
// goes, the query sorted, without session ids and a slash at the end. That package reverses IPv4 addresses as
// it does names, so this does too.
func (u URL) IndexKey() string {
	host := withoutWWW(u.Host())
	if host == "" || host[0] != '[' {
		labels := strings.Split(host, ".")
		slices.Reverse(labels)
		host = strings.Join(labels, ",")
	}
	path := squeeze(escaped(unescaped(u.Path())))
	path = pathWithoutSessions(strings.ToLower(path))
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	query := ""
	if int(u.query) < len(u.href) {
		query = strings.ToLower(escaped(unescaped(u.href[u.query:])))
		query = queryWithoutSessions(query)
		args := strings.Split(query[1:], "&")
		slices.Sort(args)
		if query = strings.Join(args, "&"); query != "" {
			query = "?" + query
		}
	}
	return host + u.href[u.hostEnd:u.path] + ")" + path + query
}

// IndexKeyOf is IndexKey of the address of any WARC record: dns:example.com is com,example), what is no URL stays
// as it is, but for spaces.
func IndexKeyOf(raw string) string {
	u, err := Limit(len(raw)*3 + 1).Parse(raw)
	if err == nil {
		return u.IndexKey()
	}
	if host, ok := strings.CutPrefix(raw, "dns:"); ok {
		labels := strings.Split(host, ".")
		slices.Reverse(labels)
		raw = strings.Join(labels, ",") + ")"
	}
	return spaces.Replace(raw)
}

// spaces would end a field of an index.
var spaces = strings.NewReplacer(" ", "%20", "\t", "%09", "\n", "%0A", "\r", "%0D")

// squeeze makes one slash of several.
func squeeze(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// unescaped decodes %XX again and again until none is left that could be.
func unescaped(s string) string {
	for strings.IndexByte(s, '%') >= 0 {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if s[i] == '%' && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0 {
				b = append(b, byte(hex(s[i+1])<<4|hex(s[i+2])))
				i += 2
				continue
			}
			b = append(b, s[i])
		}
		if len(b) == len(s) {
			break
		}
		s = string(b)
	}
	return s
}

// hex is the value of a hexadecimal digit, -1 if it is none.
func hex(b byte) int {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0')
	case 'a' <= b|0x20 && b|0x20 <= 'f':
		return int(b|0x20-'a') + 10
	}
	return -1
}

// escaped encodes what can't stand in a line of an index, and the signs that would be read as something else.
func escaped(s string) string {
	const digits = "0123456789ABCDEF"
	var b []byte
	for i := range len(s) {
		c := s[i]
		if c > 0x20 && c < 0x7f && c != '%' && c != '#' {
			if b != nil {
				b = append(b, c)
			}
			continue
		}
		if b == nil {
			b = append(make([]byte, 0, len(s)+16), s[:i]...)
		}
		b = append(b, '%', digits[c>>4], digits[c&15])
	}
	if b == nil {
		return s
	}
	return string(b)
}
