package robots

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// byteOrderMark may stand in front of a file, whole or not.
var byteOrderMark = []byte("\xef\xbb\xbf")

// Parse returns the rules that body, a robots.txt, has for the crawler that calls itself agent: a product token, or a
// User-Agent that begins with it. Groups of that token are one (2.2.1); without any, those of * count.
func Parse(body []byte, agent string) Rules { return parse(body, agent, Parsed) }

func parse(body []byte, agent string, s State) Rules {
	if len(body) > MaxBytes {
		body = body[:MaxBytes]
		if i := bytes.LastIndexAny(body, "\r\n"); i >= 0 { // half a rule may be another rule
			body = body[:i]
		}
	}
	for i := range byteOrderMark {
		if len(body) == 0 || body[0] != byteOrderMark[i] {
			break
		}
		body = body[1:]
	}
	p := parser{agent: Token(agent)}
	for line := 1; len(body) > 0; line++ {
		end := bytes.IndexAny(body, "\r\n")
		next := end + 1
		switch {
		case end < 0:
			end, next = len(body), len(body)
		case bytes.HasPrefix(body[end:], []byte("\r\n")):
			next++
		}
		p.line(string(body[:end]), line)
		body = body[next:]
	}
	return p.rules(s)
}

// parser reads one file.
type parser struct {
	agent string
	own   group // for the agent by its name
	any   group // for *
	named bool  // there is a group of the agent's name

	// The group that is being read.
	inOwn, inAny bool
	ruled        bool // it has a rule: a user-agent line begins another group
	sitemaps     []string
}

// group is what stands in all groups of one name.
type group struct {
	rules []rule
	delay time.Duration
}

// line reads one line (2.2).
func (p *parser) line(s string, number int) {
	key, value := field(s)
	switch key {
	case "useragent":
		p.userAgent(value)
	case "allow":
		p.rule(value, true, number)
	case "disallow", "dissallow", "dissalow", "disalow", "diasllow", "disallaw": // as people write it
		p.rule(value, false, number)
	case "crawldelay": // no record but these begins or ends a group (2.2.4)
		p.delay(value)
	case "sitemap":
		if value != "" {
			p.sitemaps = append(p.sitemaps, value)
		}
	}
}

// field splits a line into its key, in lower case and without the signs that people leave out or put in, and its value.
func field(s string) (key, value string) {
	s, _, _ = strings.Cut(s, "#")
	s = strings.Trim(s, " \t")
	key, value, ok := strings.Cut(s, ":")
	if !ok { // Google's parser takes a key and a value without a colon for what it is
		words := strings.Fields(s)
		if len(words) != 2 {
			return "", ""
		}
		key, value = words[0], words[1]
	}
	if len(key) > 64 {
		return "", ""
	}
	return keyLetters.Replace(strings.ToLower(key)), strings.Trim(value, " \t")
}

var keyLetters = strings.NewReplacer("-", "", "_", "", " ", "", "\t", "")

func (p *parser) userAgent(value string) {
	if p.ruled {
		p.inOwn, p.inAny, p.ruled = false, false, false
	}
	if value == "*" || strings.HasPrefix(value, "* ") || strings.HasPrefix(value, "*\t") {
		p.inAny = true
		return
	}
	if token := Token(value); token != "" && strings.EqualFold(token, p.agent) {
		p.inOwn, p.named = true, true
	}
}

// rule takes an allow or a disallow. A line before any user-agent belongs to nobody (2.2.2).
func (p *parser) rule(pattern string, allow bool, number int) {
	p.ruled = true
	if pattern == "" || !p.inOwn && !p.inAny {
		return
	}
	for _, r := range newRules(pattern, allow, number) {
		if p.inOwn {
			p.own.rules = append(p.own.rules, r)
		}
		if p.inAny {
			p.any.rules = append(p.any.rules, r)
		}
	}
}

// delay takes a Crawl-delay, in seconds, for those that were named in this group so far; the longest counts.
func (p *parser) delay(value string) {
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil || !(seconds >= 0) {
		return
	}
	d := MaxDelay
	if seconds < MaxDelay.Seconds() {
		d = time.Duration(math.Ceil(seconds*1000)) * time.Millisecond
	}
	if p.inOwn {
		p.own.delay = max(p.own.delay, d)
	}
	if p.inAny {
		p.any.delay = max(p.any.delay, d)
	}
}

// rules puts together what counts for the agent. The order is that in which rules decide: the longest first, of those
// that are equally long one that allows (2.2.2).
func (p *parser) rules(s State) Rules {
	g := p.any
	if p.named {
		g = p.own
	}
	slices.SortFunc(g.rules, func(a, b rule) int {
		return cmp.Or(cmp.Compare(b.octets, a.octets), cmp.Compare(b.flags&allows, a.flags&allows), cmp.Compare(a.pattern, b.pattern),
			cmp.Compare(a.flags, b.flags), cmp.Compare(a.line, b.line))
	})
	g.rules = slices.CompactFunc(g.rules, func(a, b rule) bool {
		return a.octets == b.octets && a.flags == b.flags && a.pattern == b.pattern
	})
	return encode(s, g, p.sitemaps)
}
