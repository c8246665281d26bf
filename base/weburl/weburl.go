// Package weburl is a web address as an archive uses it: parsed as browsers do (the WHATWG's URL standard),
// without its fragment, and only if it is http or https.
//
// A URL is one string and where its parts begin. Parse and Resolve answer common addresses themselves, in well
// under a microsecond; whatever they are not sure of goes to github.com/nlnwa/whatwg-url. Tests and a fuzz
// target compare the two ways.
//
// From a URL come the forms that a crawler knows it by: Rules.Canonical, what the set of seen URLs stores; SURT,
// what scopes compare; IndexKey, what a CDXJ index is sorted by; QueueKey, whose politeness it falls under. The
// address that is fetched stays as it was written.
//
// Called by the job crawl.
package weburl

import (
	"strings"

	whatwg "github.com/nlnwa/whatwg-url/url"

	"holdfast/base/fault"
)

// MaxLength is how many bytes a URL may have where nothing else is said: Heritrix's limit.
const MaxLength = 2083

// What Parse and Resolve refuse. ErrScheme says nothing bad: mailto, javascript and data are addresses too, and
// not worth a line in a log. All are of the kind Invalid.
var (
	ErrScheme  error = fault.New(fault.Invalid, "neither http nor https")
	ErrTooLong error = fault.New(fault.Invalid, "longer than a URL may be")
	ErrNotURL  error = fault.New(fault.Invalid, "not a URL")
)

// URL is an absolute http or https URL without a fragment. It is never changed, two are equal if their strings
// are, and the zero value is no URL.
type URL struct {
	href string
	// Offsets in href: of the host, of its end, of the path, of the question mark (or the length).
	host, hostEnd, path, query int32
}

// Limit is how long a URL may be, in bytes; 0 means MaxLength. Its methods are those of the package.
type Limit int

// Parse returns the URL that raw spells. The error wraps ErrScheme, ErrTooLong or ErrNotURL.
func Parse(raw string) (URL, error) { return Limit(0).Parse(raw) }

// Resolve returns the URL that ref means in a document whose base is u. Errors are those of Parse.
func (u URL) Resolve(ref string) (URL, error) { return Limit(0).Resolve(u, ref) }

// Parse is the package's Parse under this limit.
func (l Limit) Parse(raw string) (URL, error) {
	return l.Resolve(URL{}, raw)
}

// Resolve is URL.Resolve under this limit; a base that is the zero value is none.
func (l Limit) Resolve(base URL, ref string) (URL, error) {
	ref = trim(ref)
	web, other := schemeOf(ref)
	if other {
		return URL{}, ErrScheme
	}
	limit := int(l)
	if limit <= 0 {
		limit = MaxLength
	}
	// The first # begins the fragment wherever it stands. It is kept itself: spaces before it are not the end.
	bare := ref
	if i := strings.IndexByte(ref, '#'); i >= 0 {
		bare, ref = ref[:i], ref[:i+1]
	}
	if len(bare) > 4*limit { // dot segments shorten, but nobody writes that many
		return URL{}, ErrTooLong
	}
	u, ok := fast(base, bare, web)
	if !ok {
		var err error
		if u, err = slow(base, ref); err != nil {
			return URL{}, err
		}
	}
	if len(u.href) > limit {
		return URL{}, ErrTooLong
	}
	return u, nil
}

// slow asks the library, for all that fast is not sure of.
func slow(base URL, ref string) (URL, error) {
	var parsed *whatwg.Url
	var err error
	if base.href == "" {
		parsed, err = whatwg.Parse(ref)
	} else {
		parsed, err = whatwg.ParseRef(base.href, ref)
	}
	if err != nil {
		return URL{}, fault.New(fault.Invalid, "%w: %q: %v", ErrNotURL, short(ref), err)
	}
	if s := parsed.Scheme(); s != "http" && s != "https" {
		return URL{}, ErrScheme
	}
	u := locate(parsed.Href(true))
	if u.Host() == "" {
		return URL{}, fault.New(fault.Invalid, "%w: %q: no host", ErrNotURL, short(ref))
	}
	return u, nil
}

// short is a string as a message shows it.
func short(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}

// locate finds the parts of a URL that is spelt as the standard spells it.
func locate(href string) URL {
	u := URL{href: href}
	at := strings.Index(href, "://") + 3
	path := at + strings.IndexByte(href[at:], '/')
	if path < at {
		path = len(href)
	}
	if i := strings.LastIndexByte(href[at:path], '@'); i >= 0 {
		at += i + 1
	}
	end := path
	if i := strings.LastIndexByte(href[at:path], ':'); i >= 0 && !strings.HasSuffix(href[at:path], "]") {
		end = at + i
	}
	query := path + strings.IndexByte(href[path:], '?')
	if query < path {
		query = len(href)
	}
	u.host, u.hostEnd, u.path, u.query = int32(at), int32(end), int32(path), int32(query)
	return u
}

// String returns the URL as it is fetched.
func (u URL) String() string { return u.href }

// IsZero reports whether u is no URL.
func (u URL) IsZero() bool { return u.href == "" }

// Secure reports whether the scheme is https.
func (u URL) Secure() bool { return strings.HasPrefix(u.href, "https:") }

// Scheme returns http or https.
func (u URL) Scheme() string {
	if u.Secure() {
		return "https"
	}
	return "http"
}

// Userinfo returns what stands before the @, or "".
func (u URL) Userinfo() string {
	if start := len(u.Scheme()) + 3; int(u.host) > start {
		return u.href[start : u.host-1]
	}
	return ""
}

// Host returns the host: a name in lower case and punycode, an IPv4 address, or an IPv6 address in brackets.
func (u URL) Host() string { return u.href[u.host:u.hostEnd] }

// Port returns the port as it is written, "" for the scheme's own.
func (u URL) Port() string {
	if u.hostEnd == u.path {
		return ""
	}
	return u.href[u.hostEnd+1 : u.path]
}

// Path returns the path with its leading slash, encoded.
func (u URL) Path() string { return u.href[u.path:u.query] }

// Query returns what stands behind the first question mark, encoded; "" also where there is nothing behind it.
func (u URL) Query() string {
	if int(u.query) >= len(u.href) {
		return ""
	}
	return u.href[u.query+1:]
}

// IsAddress reports whether the host is an IP address, not a name.
func (u URL) IsAddress() bool {
	h := u.Host()
	if h == "" {
		return false
	}
	// By the standard a last label that begins with a digit and is a number makes the host an IPv4 address, so
	// in a parsed URL four numbers are enough to tell.
	return h[0] == '[' || dottedQuad(h)
}
