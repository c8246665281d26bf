package crawl

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"holdfast/base/fault"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/store"
)

// Reports are the names of the reports, in the order in which they are shown. The words are Heritrix's.
var Reports = []string{"crawl", "seeds", "hosts", "mimetype", "responsecode", "frontier", "source"}

// Report is a page of a report: the part that its name says is set.
type Report struct {
	Name     string       `json:"name"`
	Job      string       `json:"job"`
	At       time.Time    `json:"at"`
	Crawl    *Summary     `json:"crawl,omitempty"`
	Seeds    []SeedRow    `json:"seeds,omitempty"`
	Hosts    []HostRow    `json:"hosts,omitempty"`
	Types    []Tally      `json:"types,omitempty"` // the most frequent first
	Codes    []Tally      `json:"codes,omitempty"`
	Frontier *FrontierRow `json:"frontier,omitempty"`
	Sources  []SourceRow  `json:"sources,omitempty"`
	Next     string       `json:"next,omitempty"` // where the next page begins; "" at the end
}

// Summary is the crawl as a whole.
type Summary struct {
	State          string        `json:"state"`
	Elapsed        time.Duration `json:"elapsed"` // at work
	Known          uint64        `json:"known"`   // the sum of the next five
	Queued         uint64        `json:"queued"`
	Waiting        uint64        `json:"waiting"`
	Done           uint64        `json:"done"`
	Failed         uint64        `json:"failed"`
	Left           uint64        `json:"left"`
	Bytes          uint64        `json:"bytes"`
	Hosts          uint64        `json:"hosts"`
	HeldHosts      uint64        `json:"held_hosts"`
	ExhaustedHosts uint64        `json:"exhausted_hosts"`
	Exhausted      uint64        `json:"exhausted"` // URLs of those
	Refused        uint64        `json:"refused"`   // links that a pattern's budget left out
	Draining       bool          `json:"draining"`
	Budget         string        `json:"budget"`
	Seeds          uint64        `json:"seeds"`
	SeedsCrawled   uint64        `json:"seeds_crawled"` // that have an answer of a server
	Novelties
}

// SeedRow is what became of a seed.
type SeedRow struct {
	URL      string    `json:"url"`
	Added    time.Time `json:"added"`
	State    string    `json:"state"`
	Status   int       `json:"status"`
	Redirect string    `json:"redirect,omitempty"` // where it leads
}

// HostRow is what is known of a host.
type HostRow struct {
	Host      string    `json:"host"`
	Queued    uint64    `json:"queued"`
	Waiting   uint64    `json:"waiting"`
	Done      uint64    `json:"done"`
	Failed    uint64    `json:"failed"`
	Left      uint64    `json:"left"`
	Bytes     uint64    `json:"bytes"`
	Due       time.Time `json:"due,omitzero"` // when it may be asked again
	Held      bool      `json:"held"`
	Exhausted bool      `json:"exhausted"` // over its budget
	Novelties
}

// Tally is how many URLs had a certain property, such as a status.
type Tally struct {
	Of    string `json:"of"`
	N     uint64 `json:"n"`
	Bytes uint64 `json:"bytes,omitempty"` // of a MIME type
}

// Novelties count answers, each time that a URL was fetched, by whether they had what was not archived before.
type Novelties struct {
	NovelURLs        uint64 `json:"novel_urls"`
	NovelBytes       uint64 `json:"novel_bytes"`
	DuplicateURLs    uint64 `json:"duplicate_urls"` // by their digest
	DuplicateBytes   uint64 `json:"duplicate_bytes"`
	NotModifiedURLs  uint64 `json:"not_modified_urls"` // as the server says
	NotModifiedBytes uint64 `json:"not_modified_bytes"`
}

func novelties(n frontier.Novelties, bytes uint64) Novelties {
	return Novelties{NovelURLs: n.Novel, NovelBytes: bytes - min(bytes, n.ByHashBytes+n.NotModifiedBytes), DuplicateURLs: n.ByHash,
		DuplicateBytes: n.ByHashBytes, NotModifiedURLs: n.NotModified, NotModifiedBytes: n.NotModifiedBytes}
}

// FrontierRow is what waits to be fetched, beside what does not any more.
type FrontierRow struct {
	Known     uint64    `json:"known"`
	Done      uint64    `json:"done"`
	Failed    uint64    `json:"failed"`
	Left      uint64    `json:"left"`
	Queued    uint64    `json:"queued"`
	Waiting   uint64    `json:"waiting"`
	Hosts     uint64    `json:"hosts"`
	Held      uint64    `json:"held_hosts"`
	Exhausted uint64    `json:"exhausted_hosts"`
	InFlight  []Flight  `json:"in_flight"` // nothing if the crawl does not run
	Largest   []HostRow `json:"largest"`   // queues
}

// SourceRow is what came of a seed and all that was found from it on.
type SourceRow struct {
	Source string `json:"source"`
	Open   uint64 `json:"open"`
	Done   uint64 `json:"done"`
	Failed uint64 `json:"failed"`
	Left   uint64 `json:"left"`
	Bytes  uint64 `json:"bytes"`
}

// largestQueues is how many a frontier report has.
const largestQueues = 20

// ReadReport reads a page of a report of at most n rows, from behind after; "" is the beginning. rules are those of the
// crawl. What is in flight is not known to the store.
func ReadReport(r store.Reader, cfg Config, name, after string, n int) (rep Report, err error) {
	rep = Report{Name: name, At: time.Now().UTC()}
	switch name {
	case "crawl":
		rep.Crawl, err = summary(r, cfg)
	case "seeds":
		rep.Seeds, err = seedRows(r, cfg, after, n)
		rep.Next = nextOf(rep.Seeds, n, func(s SeedRow) string { return s.URL })
	case "hosts":
		var all []frontier.Host
		all, err = frontier.Hosts(r, after, n)
		for _, h := range all {
			rep.Hosts = append(rep.Hosts, hostRow(h))
		}
		rep.Next = nextOf(rep.Hosts, n, func(h HostRow) string { return h.Host })
	case "mimetype":
		var all map[string]frontier.TypeCount
		all, err = frontier.Types(r)
		rep.Types = tallies(all, func(of string, t frontier.TypeCount) Tally { return Tally{Of: of, N: t.URLs, Bytes: t.Bytes} })
	case "responsecode":
		var all map[int]uint64
		all, err = frontier.Statuses(r)
		rep.Codes = tallies(all, func(code int, n uint64) Tally { return Tally{Of: strconv.Itoa(code), N: n} })
	case "frontier":
		rep.Frontier, err = frontierRow(r)
	case "source":
		var all []frontier.Source
		all, err = frontier.Sources(r, after, n)
		for _, s := range all {
			rep.Sources = append(rep.Sources, SourceRow{s.Name, s.Open, s.Done, s.Failed, s.Left, s.Bytes})
		}
		rep.Next = nextOf(rep.Sources, n, func(s SourceRow) string { return s.Source })
	default:
		return rep, fault.WithHint(fault.New(fault.Invalid, "there is no report %.100q", name), "reports are: %v", Reports)
	}
	return rep, err
}

// nextOf returns where the next page begins. A page that is not full is the last.
func nextOf[T any](page []T, n int, name func(T) string) string {
	if len(page) < n || n == 0 {
		return ""
	}
	return name(page[len(page)-1])
}

func tallies[K comparable, V any](all map[K]V, row func(K, V) Tally) (rows []Tally) {
	for k, v := range all {
		rows = append(rows, row(k, v))
	}
	slices.SortFunc(rows, func(a, b Tally) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Of, b.Of)) })
	return rows
}

func hostRow(h frontier.Host) HostRow {
	return HostRow{Host: h.Name, Queued: h.Queued, Waiting: h.Waiting, Done: h.Done, Failed: h.Failed, Left: h.Left, Bytes: h.Bytes, Due: h.Due,
		Held: h.Held, Exhausted: h.Exhausted, Novelties: novelties(h.Novelties, h.Bytes)}
}

// summary reads the counters, and looks at each seed.
func summary(r store.Reader, cfg Config) (*Summary, error) {
	c, err := frontier.ReadCounts(r)
	if err != nil {
		return nil, err
	}
	b, err := frontier.ReadBudget(r)
	if err != nil {
		return nil, err
	}
	order, err := readControl(r)
	if err != nil {
		return nil, err
	}
	at, err := elapsed(r)
	if err != nil {
		return nil, err
	}
	seeds, crawled, err := countSeeds(r, cfg)
	return &Summary{Seeds: seeds, SeedsCrawled: crawled, State: stateAtRest(c, at), Elapsed: at, Known: c.Known, Queued: c.Queued, Waiting: c.Waiting, Done: c.Done, Failed: c.Failed,
		Left: c.Left, Bytes: c.Bytes, Hosts: c.Hosts, HeldHosts: c.HeldHosts, ExhaustedHosts: c.ExhaustedHosts, Exhausted: c.Exhausted,
		Refused: c.Refused, Draining: order.Draining, Budget: budgetText(b),
		Novelties: novelties(c.Novelties, c.Bytes)}, err
}

func frontierRow(r store.Reader) (*FrontierRow, error) {
	c, err := frontier.ReadCounts(r)
	if err != nil {
		return nil, err
	}
	f := &FrontierRow{Known: c.Known, Done: c.Done, Failed: c.Failed, Left: c.Left, Queued: c.Queued, Waiting: c.Waiting, Hosts: c.Hosts, Held: c.HeldHosts, Exhausted: c.ExhaustedHosts,
		InFlight: []Flight{}, Largest: []HostRow{}}
	all, err := frontier.Largest(r, largestQueues)
	for _, h := range all {
		f.Largest = append(f.Largest, hostRow(h))
	}
	return f, err
}

// countSeeds counts the seeds, and those that were crawled, as Heritrix calls that.
func countSeeds(r store.Reader, cfg Config) (all, crawled uint64, err error) {
	const page = 1000
	for after := ""; ; {
		rows, err := seedRows(r, cfg, after, page)
		if err != nil {
			return 0, 0, err
		}
		for _, row := range rows {
			if all++; row.Crawled() {
				crawled++
			}
		}
		if len(rows) < page {
			return all, crawled, nil
		}
		after = rows[page-1].URL
	}
}

// Crawled reports whether a server gave an answer, whatever that was.
func (s SeedRow) Crawled() bool { return s.Status > 0 }

// seedRows returns seeds in the order of their URLs, from behind one.
func seedRows(r store.Reader, cfg Config, after string, n int) (rows []SeedRow, err error) {
	from := seedKey('s', after)
	if after != "" {
		from = append(from, 0)
	}
	entries, failed := r.Scan(from, seedKey('s', "").End())
	for k, v := range entries {
		if len(rows) == n {
			break
		}
		if len(k) < 4 || len(v) != 8 {
			return nil, fault.New(fault.Corrupt, "a seed is %x: %x", k, v)
		}
		row := SeedRow{URL: string(k[3:]), Added: time.UnixMilli(int64(binary.BigEndian.Uint64(v))).UTC(), State: "unknown"}
		if err := row.look(r, cfg); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, failed()
}

func (s *SeedRow) look(r store.Reader, cfg Config) error {
	u, err := SeedURL(s.URL)
	if err != nil {
		return fmt.Errorf("a seed of the store: %w", err)
	}
	state, status, known, err := frontier.Find(r, cfg.Rules.Canonical(u).Key())
	if err != nil {
		return err
	}
	if known {
		s.State, s.Status = stateNames[state], status
	}
	to, _, err := r.Get(seedKey('t', s.URL))
	s.Redirect = string(to)
	return err
}
