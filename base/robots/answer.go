package robots

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
)

// Limits for those who ask for a robots.txt.
const (
	MaxRedirects = 5                // one after another, before the file counts as missing (2.3.1.2)
	Validity     = 24 * time.Hour   // how long rules hold at most (2.4)
	minValidity  = time.Hour        // and at least: many servers say max-age=0 of all that they have
	Again        = 15 * time.Minute // until a host that did not answer is asked again, if it does not say itself
)

// Answer is what came of asking for a robots.txt, behind its redirects.
type Answer struct {
	// Status is that of HTTP; 0 or less if there was no answer: no address, no connection, a time-out.
	Status int
	Header http.Header // may be nil
	// Body is the content, its Content-Encoding undone. No more than MaxBytes+1 of it is needed.
	Body []byte
	// Broken: the body ended before it was whole, other than by a limit of ours. A rule may be missing, so the file
	// counts as unreachable.
	Broken bool
}

// Rules returns what the answer means to the crawler that calls itself agent, and how long that holds. After that the
// host is to be asked again; if it is Unreachable, before anything else is fetched from it. A 304 counts as no answer:
// nobody should have asked with a condition.
func (a Answer) Rules(agent string, now time.Time) (r Rules, valid time.Duration) {
	switch s := a.Status; {
	case s == http.StatusTooManyRequests: // RFC 9309 would allow all, to a host that asks to be left alone
		return forbidden, a.retryAfter(now)
	case s >= 200 && s < 300 && !a.Broken:
		return Parse(a.Body, agent), a.maxAge()
	case s >= 300 && s < 500 && s != http.StatusNotModified:
		return Rules{}, a.maxAge()
	}
	return forbidden, a.retryAfter(now)
}

// maxAge is how long an answer holds by its Cache-Control (RFC 9111, 5.2.2.1), within our bounds.
func (a Answer) maxAge() time.Duration {
	for _, line := range a.Header.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			if !strings.EqualFold(name, "max-age") {
				continue
			}
			if seconds, err := strconv.ParseUint(strings.Trim(value, `" `), 10, 31); err == nil {
				return min(max(time.Duration(seconds)*time.Second, minValidity), Validity)
			}
		}
	}
	return Validity
}

// retryAfter is when the host wants to be asked again (RFC 9110, 10.2.3), no sooner than Again and within a day. A date is
// by the clock of the host, if it says how late that is.
func (a Answer) retryAfter(now time.Time) time.Duration {
	value := strings.TrimSpace(a.Header.Get("Retry-After"))
	wait := Again
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil { // a larger number makes no sense
		wait = time.Duration(min(seconds, uint64(Validity/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		if its, err := http.ParseTime(a.Header.Get("Date")); err == nil {
			now = its
		}
		wait = at.Sub(now)
	}
	return min(max(wait, Again), Validity)
}

// The ways of Policy.Mode.
const (
	Obey   = "obey"
	Ignore = "ignore"
	Own    = "custom"
)

// Policy is how a crawl treats robots.txt.
type Policy struct {
	// Mode: it is obeyed, or ignored; with custom, text is taken for every host's robots.txt; default obey.
	Mode string `yaml:"mode" jsonschema:"enum=obey,enum=ignore,enum=custom"`
	// Text is a robots.txt, for mode custom.
	Text string `yaml:"text"`
}

// Validate returns all faults of the policy, each beginning with the name of its key.
func (p Policy) Validate() (faults []error) {
	switch p.Mode {
	case "", Obey, Ignore, Own:
	default:
		faults = append(faults, fault.New(fault.Invalid, "mode: want obey, ignore or custom, got %q", p.Mode))
	}
	switch {
	case p.Mode == Own && p.Text == "":
		faults = append(faults, fault.New(fault.Invalid, "text: is missing; mode custom takes it for a robots.txt"))
	case p.Mode != Own && p.Text != "":
		faults = append(faults, fault.New(fault.Invalid, "text: means nothing without mode: custom"))
	case len(p.Text) > MaxBytes:
		faults = append(faults, fault.New(fault.Invalid, "text: has %d bytes, more than the %d that are read", len(p.Text), MaxBytes))
	}
	return faults
}

// Rules returns the rules of a policy that needs no host's answer; ok is false for one that does.
func (p Policy) Rules(agent string) (r Rules, ok bool) {
	switch p.Mode {
	case Ignore:
		return ignored, true
	case Own:
		return parse([]byte(p.Text), agent, Custom), true
	}
	return Rules{}, false
}
