// Package robots reads what a host's robots.txt says to one crawler: the Robots Exclusion Protocol, RFC 9309, whose
// sections the comments name.
//
// Parse reads a file for one product token and keeps what concerns it, in a form of a few hundred bytes: the rules in
// the order in which they decide, the lines they stand in, the crawl delay, and the sitemaps. That form is what a
// store keeps too. Parse never fails: a line that can't be understood is left out.
//
// The file is asked for at /robots.txt of each scheme, host and port. Whoever asks follows redirects (301, 302, 303,
// 307, 308), also to other hosts, up to MaxRedirects of them; the rules are those of the host that was asked first
// (2.3.1.2). What came in the end is an Answer, which says what the rules are and when to ask again:
//
//	2xx                      what the file says; a day, or max-age if that is shorter
//	3xx                      too many redirects, or one to nowhere: all is allowed, as with 4xx
//	4xx, but 429             all is allowed (2.3.1.3)
//	5xx, 429, no answer      all is forbidden until an answer comes (2.3.1.4); asked again in a quarter of an hour
//
// RFC 9309 lets a crawler take a file that can't be had for 30 days as one that is not there. This one waits.
//
// Called by the job crawl.
package robots

import (
	"strings"
	"time"
)

// The bounds of what is kept of a file.
const (
	MaxBytes = 500 << 10      // what is read of it, which is as much as RFC 9309 asks for (2.5)
	MaxDelay = 24 * time.Hour // a longer Crawl-delay is taken for this
)

// State says where rules come from.
type State uint8

// The states. A host that was never asked has none of them: it is to be asked first.
const (
	Missing     State = iota // there is no file: all is allowed. The zero Rules are these
	Parsed                   // a file was read
	Unreachable              // there may be a file: all is forbidden
	Ignored                  // the crawl does not ask: all is allowed
	Custom                   // the crawl has rules of its own
)

// String returns the state as operators read it.
func (s State) String() string {
	return [...]string{"missing", "parsed", "unreachable", "ignored", "custom"}[min(s, Custom)]
}

// Rules are what one crawler may ask of one host. They are never changed; the zero value allows all.
type Rules struct {
	enc string // as Encode gives it, "" for the zero value
}

// The rules that hold without a file.
var (
	forbidden = Rules{enc: string([]byte{version, byte(Unreachable), 0, 0})}
	ignored   = Rules{enc: string([]byte{version, byte(Ignored), 0, 0})}
)

// State returns where the rules come from.
func (r Rules) State() State {
	if r.enc == "" {
		return Missing
	}
	return State(r.enc[1])
}

// Allowed reports whether a URL may be fetched, by its path and query as they are sent. The line is that of the rule
// that decided, from 1; 0 if none did. /robots.txt is always allowed (2.2.2).
func (r Rules) Allowed(path string) (ok bool, line int) {
	switch {
	case r.enc == "" || path == "/robots.txt":
		return true, 0
	case r.State() == Unreachable:
		return false, 0
	}
	_, rules, _ := r.parts()
	if rules == "" {
		return true, 0
	}
	path = target(path)
	for rules != "" {
		head, line, pattern, rest := nextRule(rules)
		if matches(pattern, path, head) {
			return head&allows != 0, line
		}
		rules = rest
	}
	return true, 0
}

// Delay returns the crawl delay, 0 if there is none; it is not part of the standard.
func (r Rules) Delay() time.Duration {
	if r.enc == "" {
		return 0
	}
	delay, _, _ := r.parts()
	return delay
}

// Sitemaps returns the addresses of sitemaps as they are written: they may be relative, or no URLs.
func (r Rules) Sitemaps() []string {
	if r.enc == "" {
		return nil
	}
	var all []string
	for _, _, rest := r.parts(); rest != ""; {
		var s string
		s, rest = cutString(rest)
		all = append(all, s)
	}
	return all
}

// Size returns how many bytes of memory the rules take: some hundred, and six times MaxBytes at most, where every octet
// has to be encoded.
func (r Rules) Size() int { return len(r.enc) + 16 }

// Token returns the product token of a User-Agent, by which robots.txt names a crawler: Holdfast of "Holdfast/1.0
// (+https://example.com)". A token has letters, - and _ (2.2.1); names with digits and dots are in use and are taken
// whole, so that a rule for MJ12bot is none for an MJ.
func Token(agent string) string {
	agent = strings.TrimLeft(agent, " \t")
	for i := range len(agent) {
		if b := agent[i]; !alphanumeric(b) && b != '-' && b != '_' && b != '.' {
			return agent[:i]
		}
	}
	return agent
}

func alphanumeric(b byte) bool {
	return 'a' <= b|0x20 && b|0x20 <= 'z' || '0' <= b && b <= '9'
}
