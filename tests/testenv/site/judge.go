package site

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Outcome is what a crawl says of a URL.
type Outcome struct {
	Status    int    // in the last line that crawl.log has of it
	Archived  bool   // a WARC has a response or revisit of it
	Truncated string // as its record says, "" if it says nothing
	Payload   string // the payload's digest, "sha1:" and Base32, as its record says
}

// Judge says what is wrong with a crawl that has ended, by what it says of each URL that it knows, and by what it was seen to ask
// for (Faults). A crawl that was killed asks for more: its requests are not to be judged so, and asked is false.
func (n *Nasty) Judge(outcomes map[string]Outcome, asked bool) []string {
	var faults []string
	for _, c := range n.Cases {
		o, known := outcomes[c.URL]
		for _, wrong := range c.judge(o, known) {
			faults = append(faults, fmt.Sprintf("%s: %s: %s", brief(c.URL), wrong, c.Why))
		}
	}
	counts := n.Counts()
	for _, c := range n.Cases {
		if c.Most == 0 {
			counts[c.URL]++ // that it is asked for can't be seen: no server of ours understands it
		}
	}
	for url, o := range outcomes {
		if o.Archived && counts[url] == 0 && strings.HasPrefix(url, "http://") {
			faults = append(faults, brief(url)+": it is archived, and was never asked for")
		}
	}
	slices.Sort(faults)
	if asked {
		faults = append(faults, n.Faults()...)
	}
	return faults
}

// JudgeAgain says what is wrong with a second crawl, of those URLs that have an Again.
func (n *Nasty) JudgeAgain(outcomes map[string]Outcome) (faults []string) {
	for _, c := range n.Cases {
		if len(c.Again) == 0 {
			continue
		}
		c.Status, c.Payload, c.Truncated = c.Again, "", nil
		o, known := outcomes[c.URL]
		for _, wrong := range c.judge(o, known) {
			faults = append(faults, fmt.Sprintf("%s, crawled again: %s: %s", brief(c.URL), wrong, c.Why))
		}
	}
	return faults
}

func (c Case) judge(o Outcome, known bool) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if !known {
		if len(c.Status) > 0 || c.Archived == Must {
			say("nothing is said of it")
		}
		return wrong
	}
	if len(c.Status) > 0 && !slices.Contains(c.Status, o.Status) {
		say("its status is %d, want %v", o.Status, c.Status)
	}
	if c.Archived == Must && !o.Archived {
		say("it is not archived")
	}
	if c.Archived == Never && o.Archived {
		say("it is archived")
	}
	if o.Archived && len(c.Truncated) > 0 && !slices.Contains(c.Truncated, o.Truncated) {
		say("it is cut by %q, want %q", o.Truncated, c.Truncated)
	}
	if o.Archived && c.Payload != "" && o.Payload != c.Payload {
		say("its payload is %s, want %s", o.Payload, c.Payload)
	}
	return wrong
}

// Faults are what requests were made that a right crawler does not make, or left out, going by the cases, the traps and the
// forbidden hosts. It is for a crawl that has ended and was not killed; what crawl.log and the WARC files say is for the test.
func (n *Nasty) Faults() []string {
	var faults []string
	counts := n.Counts()
	for _, c := range n.Cases {
		if got := counts[c.URL]; got < c.Least || got > c.Most {
			faults = append(faults, fmt.Sprintf("%s was asked for %d times, want %d to %d: %s", brief(c.URL), got, c.Least, c.Most, c.Why))
		}
		if gap := n.gap(c.URL); c.Gap > 0 && gap > 0 && gap < c.Gap {
			faults = append(faults, fmt.Sprintf("%s was asked for again after %s, want %s: %s", brief(c.URL), gap, c.Gap, c.Why))
		}
	}
	for _, trap := range n.Traps {
		got := 0
		for url := range counts {
			if strings.HasPrefix(url, trap.Prefix) {
				got++
			}
		}
		if got > trap.Most {
			faults = append(faults, fmt.Sprintf("%d URLs of %s were asked for, want at most %d: %s", got, trap.Prefix, trap.Most,
				trap.Why))
		}
	}
	for _, h := range n.Forbidden {
		if conns := h.Conns(); conns > 0 {
			faults = append(faults, fmt.Sprintf("%s was asked: %d connections, %v", h.URL, conns, h.Counts()))
		}
	}
	return faults
}

// gap is the time between the first and the second request for a URL, 0 if there were fewer.
func (n *Nasty) gap(url string) time.Duration {
	var first time.Time
	for _, h := range n.everyone() {
		if !strings.HasPrefix(url, h.URL) {
			continue
		}
		for _, r := range h.Requests() {
			if r.URL == url && !first.IsZero() {
				return r.Begun.Sub(first)
			} else if r.URL == url {
				first = r.Begun
			}
		}
	}
	return 0
}

// brief is the beginning of a URL, for a message.
func brief(url string) string {
	const most = 200
	if len(url) <= most {
		return url
	}
	return fmt.Sprintf("%s... (%d bytes)", url[:most], len(url))
}
