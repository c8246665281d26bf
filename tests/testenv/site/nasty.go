package site

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// Limits that a crawl of the nasty site is to be given, so that it ends soon and is what the cases expect.
const (
	MaxBytes      = 2 << 20 // of an answer; half a megabyte more may be taken before that is known
	HeaderTimeout = 2 * time.Second
	Silence       = 2 * time.Second
	Timeout       = 6 * time.Second // of a fetch as a whole
	Retries       = 1
	RetryAfter    = 200 * time.Millisecond
	MaxHops       = 20 // as in Heritrix
)

// Verdict is whether something has to be.
type Verdict uint8

const (
	Must Verdict = iota
	May
	Never
)

// Case is a URL of the nasty site, and what a right crawler makes of it: one that has the limits above, obeys robots.txt, keeps
// no cookies of other hosts, and may fetch what is on the hosts of its seeds, which Nasty.Seeds are.
type Case struct {
	URL string
	Why string // what is wrong with it
	// Status are what crawl.log may say of it at last, in Heritrix's numbers: one of them. Empty: anything, or nothing at all.
	Status []int
	// Least and Most are how often it is asked for by a crawl that nothing stops. A crawl that is killed asks for what was in
	// flight once more.
	Least, Most int
	// Archived is whether a WARC has an answer of it, as response or revisit.
	Archived Verdict
	// Truncated are what WARC-Truncated may say; "" is a whole answer. Empty: anything.
	Truncated []string
	// Payload is the digest of its payload, "sha1:" and Base32; "" where that is not determined.
	Payload string
	// Leads are cases that are found by this one alone.
	Leads []string
	// Again are what crawl.log may say of it when it is crawled a second time by one who has it; empty: it is not looked at then.
	Again []int
	// Gap is how long after the first request for it the second may come at the soonest.
	Gap time.Duration
}

// Trap is a part of the nasty site that has no end.
type Trap struct {
	Prefix string // of its URLs
	Why    string
	Most   int // URLs of it that a crawl with the limits above comes to
}

// Nasty is a site of everything that goes wrong on the web. It consists of many hosts: what takes its time has one of its own, so
// that a polite crawl is not held up.
type Nasty struct {
	Seeds []string
	Cases []Case
	Traps []Trap
	// Waits are seeds that make a crawl wait for a quarter of an hour, and what is expected of them. They are in neither of the
	// lists above.
	Waits     []string
	WaitCases []Case
	// Again are the seeds of a second crawl, which the Again of cases is for. Others may be gone by then.
	Again []string
	// Forbidden are hosts that are in no crawl's scope and at no address that a seed names. Whoever asks them is no right crawler.
	Forbidden []*Host
	// Hosts are all the others, by the URL of their root.
	Hosts map[string]*Host
	// Certificate is the root of the host that speaks TLS, as PEM.
	Certificate []byte

	t     testing.TB
	rand  *rand.Rand
	main  *Host
	cases []*Case
}

// NewNasty serves the site until the test ends. What is random in it comes from seed.
func NewNasty(t testing.TB, seed uint64) *Nasty {
	t.Helper()
	n := &Nasty{t: t, rand: rand.New(rand.NewPCG(seed, 6)), Hosts: map[string]*Host{}}
	n.main = n.host()
	n.Forbidden = []*Host{newHost(t), newHost(t)}
	for _, h := range n.Forbidden {
		h.prefix("/", func(x *exchange) bool { return x.page("<p>You should not be here.") })
	}
	for _, part := range []func(){n.traps, n.bodies, n.chunks, n.codings, n.slow, n.broken, n.heads, n.statuses, n.later,
		n.redirects, n.elsewhere, n.robots, n.charsets, n.names, n.pages, n.secure,
		n.validated, n.cookies, n.unwanted, n.away} {
		part()
	}
	for _, c := range n.cases {
		n.Cases = append(n.Cases, *c)
	}
	for _, h := range n.Hosts {
		h.start()
	}
	for _, h := range n.Forbidden {
		h.start()
	}
	return n
}

// Count is how often a URL was asked for, whichever host has it.
func (n *Nasty) Count(url string) int {
	count := 0
	for _, h := range n.everyone() {
		count += h.Count(url)
	}
	return count
}

// Counts is how often each URL was asked for, robots.txt included.
func (n *Nasty) Counts() map[string]int {
	all := map[string]int{}
	for _, h := range n.everyone() {
		for url, count := range h.Counts() {
			all[url] += count
		}
	}
	return all
}

func (n *Nasty) everyone() []*Host {
	all := slices.Clone(n.Forbidden)
	for _, h := range n.Hosts {
		all = append(all, h)
	}
	return all
}

// host is a further host of the site, whose front page is a seed.
func (n *Nasty) host() *Host {
	h := newHost(n.t)
	n.adopt(h)
	return h
}

func (n *Nasty) adopt(h *Host) {
	n.Hosts[h.URL] = h
	n.Seeds = append(n.Seeds, h.URL)
	h.at("/", func(x *exchange) bool { return x.page(h.front()) })
	n.add(&Case{URL: h.URL, Why: "the front page of a host", Status: []int{200}, Least: 1, Most: 1, Truncated: whole})
}

func (n *Nasty) add(c *Case) *Case {
	n.cases = append(n.cases, c)
	return c
}

var whole = []string{""}

// on has a host answer a path, which its front page links to, and says what is expected if nothing else is said: that it is
// asked for once, and archived whole with the status 200.
func (n *Nasty) on(h *Host, path, why string, handle handler) *Case {
	h.link(path)
	return n.found(h, path, why, handle)
}

// found is on without the link: what leads there has to say so.
func (n *Nasty) found(h *Host, path, why string, handle handler) *Case {
	if handle != nil {
		name, _, _ := strings.Cut(path, "?")
		h.at(name, handle)
	}
	return n.add(&Case{URL: h.URL + strings.TrimPrefix(path, "/"), Why: why, Status: []int{200}, Least: 1, Most: 1,
		Truncated: whole})
}

// alone is on at a host that has nothing else.
func (n *Nasty) alone(path, why string, handle handler) *Case {
	return n.on(n.host(), path, why, handle)
}

// target is a page that stands for something to be found: its case says by what.
func (n *Nasty) target(h *Host, path, why string) *Case {
	return n.found(h, path, why, func(x *exchange) bool { return x.page("<p>Found " + x.path) })
}

// noAnswer is what is expected where nothing comes that could be archived. A request over a connection that was kept may be made
// once more over a new one each time, as the server may have closed the other before it came.
func (c *Case) noAnswer(status ...int) *Case {
	c.Status, c.Archived, c.Truncated, c.Most = status, Never, nil, 2*(1+Retries)
	return c
}

// cut is what is expected of an answer that does not come to its end.
func (c *Case) cut(why ...string) *Case {
	c.Truncated = why
	return c
}

// leads notes what is found by this case alone.
func (c *Case) leads(to ...*Case) *Case {
	for _, one := range to {
		c.Leads = append(c.Leads, one.URL)
	}
	return c
}

// pays is the payload that is expected.
func (c *Case) pays(body string) *Case {
	c.Payload = digest(body)
	return c
}

// ends is the status that is expected.
func (c *Case) ends(status ...int) *Case {
	c.Status = status
	return c
}
