package web

import (
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"holdfast/base/fault"
	"holdfast/base/secret"
)

// Config is how a Fetcher asks.
type Config struct {
	// UserAgent is who asks, and From the mail address of who answers for it. One of them has to name a contact.
	UserAgent, From string
	// Header has further fields of every request: Accept, Accept-Language.
	Header http.Header
	// AcceptEncoding is what answers may be packed in; "gzip, br" if empty, which all that replays archives can unpack.
	AcceptEncoding string

	// MaxBytes of an answer, its head included; 1 GiB if 0.
	MaxBytes int64
	// MemoryPerAnswer is how many bytes of one are held in memory before a file takes them; 256 KiB if 0.
	MemoryPerAnswer int
	// Dir is where these files lie, which have no name; the system's place for temporary files if empty.
	Dir string

	// Timeout of a fetch as a whole; 20 minutes if 0.
	Timeout time.Duration
	// LookupTimeout is for the name; 20 s if 0.
	LookupTimeout time.Duration
	// ConnectTimeout is until the connection is there, TLS and proxy included; 20 s if 0.
	ConnectTimeout time.Duration
	// HeaderTimeout is from the request to the end of the answer's head; 60 s if 0.
	HeaderTimeout time.Duration
	// Silence is how long no byte may come in the midst of an answer; 20 s if 0.
	Silence time.Duration
	// MinRate of a body in bytes a second, looked at after RateGrace (30 s if 0); none if 0. What Bandwidth takes does not count.
	MinRate   int64
	RateGrace time.Duration
	// Bandwidth of all answers together, in bytes a second; no limit if 0.
	Bandwidth int64

	// IdleConnections are kept for later, in all, for IdleTimeout each; 500 and 30 s if 0.
	IdleConnections int
	IdleTimeout     time.Duration
	// HTTP2 is offered to servers that speak TLS.
	HTTP2 bool
	// CheckCertificates: a server whose certificate is no good is not asked. Old forms of TLS are not spoken then.
	CheckCertificates bool
	// Proxy is the URL of one that speaks HTTP, "http://USER:PASSWORD@HOST:PORT"; "" for none.
	Proxy secret.Text

	// AllowAddresses are permitted, though they are private or otherwise not for all.
	AllowAddresses []netip.Prefix
	// Nameservers are asked for addresses; those of /etc/resolv.conf if empty.
	Nameservers []netip.AddrPort
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	setDefault(&c.AcceptEncoding, "gzip, br")
	setDefault(&c.MaxBytes, 1<<30)
	setDefault(&c.MemoryPerAnswer, 256<<10)
	setDefault(&c.Dir, os.TempDir())
	setDefault(&c.Timeout, 20*time.Minute)
	setDefault(&c.LookupTimeout, 20*time.Second)
	setDefault(&c.ConnectTimeout, 20*time.Second)
	setDefault(&c.HeaderTimeout, time.Minute)
	setDefault(&c.Silence, 20*time.Second)
	setDefault(&c.RateGrace, 30*time.Second)
	setDefault(&c.IdleConnections, 500)
	setDefault(&c.IdleTimeout, 30*time.Second)
	return c
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Validate says all that is wrong.
func (c Config) Validate() error {
	var wrong []string
	if c.UserAgent == "" {
		wrong = append(wrong, "no user agent")
	}
	if c.From == "" && !strings.Contains(c.UserAgent, "@") && !strings.Contains(c.UserAgent, "://") {
		wrong = append(wrong, "nobody to turn to: neither a mail address nor a user agent with one or with a URL")
	}
	for _, f := range c.fields() {
		if !f.valid() {
			wrong = append(wrong, "the field "+f.name+" can't be sent: "+f.value)
		}
	}
	if c.MaxBytes < 0 || c.MemoryPerAnswer < 0 || c.MinRate < 0 || c.Bandwidth < 0 || c.IdleConnections < 0 {
		wrong = append(wrong, "a limit below 0")
	}
	if min(c.Timeout, c.LookupTimeout, c.ConnectTimeout, c.HeaderTimeout, c.Silence, c.RateGrace, c.IdleTimeout) < 0 {
		wrong = append(wrong, "a time below 0")
	}
	for _, p := range c.AllowAddresses {
		if !p.IsValid() || p.Addr().Is4In6() {
			wrong = append(wrong, "allowed addresses that are none: "+p.String())
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return fault.WithHint(fault.New(fault.Permanent, "set up the fetcher: %s", strings.Join(wrong, "; ")),
		"name a contact, so that whoever is asked too much knows whom to write to")
}

// field is a line of a head.
type field struct{ name, value string }

// valid reports whether a field can be sent and leaves the framing of messages to us.
func (f field) valid() bool {
	return httpguts.ValidHeaderFieldName(f.name) && httpguts.ValidHeaderFieldValue(f.value) &&
		!slices.Contains(ours, http.CanonicalHeaderKey(f.name))
}

// ours are fields that frame a message or belong to a connection.
var ours = []string{"Host", "Connection", "Content-Length", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Expect",
	"Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Http2-Settings"}

// fields are those of every request, in the order in which browsers send them.
func (c Config) fields() []field {
	all := []field{{"User-Agent", c.UserAgent}}
	if c.From != "" {
		all = append(all, field{"From", c.From})
	}
	if c.Header.Get("Accept") == "" {
		all = append(all, field{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"})
	}
	if c.Header.Get("Accept-Encoding") == "" {
		all = append(all, field{"Accept-Encoding", c.AcceptEncoding})
	}
	return append(all, fieldsOf(c.Header)...)
}

// fieldsOf are the fields of a header, in the order of their names.
func fieldsOf(h http.Header) []field {
	if len(h) == 0 {
		return nil
	}
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	var all []field
	for _, name := range names {
		for _, value := range h[name] {
			all = append(all, field{name, value})
		}
	}
	return all
}
