package crawl

import (
	"strconv"
	"time"

	"holdfast/base/robots"
	"holdfast/base/weburl"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/scope"
	"holdfast/kernel/store"
)

// Why is all that is known of a URL, and why it is or is not fetched.
type Why struct {
	URL string `json:"url"`
	Key string `json:"key"` // the same for all URLs that are one: a SURT
	// State is unknown, queued, in flight, waiting, done, failed or left; Status is as crawl.log has it, of one that has ended.
	State  string `json:"state"`
	Status int    `json:"status,omitempty"`
	Seed   bool   `json:"seed"`
	// Scope says which rule decides, for a URL that was found like this: by Hops from its seed, in the page Via.
	Hops  string     `json:"hops,omitempty"`
	Via   string     `json:"via,omitempty"`
	Scope ScopeWhy   `json:"scope"`
	Rules []RuleSays `json:"rules"`
	// Robots is what the rules of its host say.
	Robots RobotsWhy `json:"robots"`
	// Settings are those in force for it; Sheets the prefixes of the sheets that say something of it, the strongest last;
	// Set what a person has changed.
	Settings map[string]string `json:"settings"`
	Sheets   []string          `json:"sheets"`
	Set      map[string]string `json:"set"`
	// Pattern is what it has in common with other URLs of an endless series, of which no more than PatternBudget are queued.
	Pattern       string `json:"pattern,omitempty"`
	PatternBudget uint64 `json:"pattern_budget,omitempty"`
	// Host is that of its queue; nil if it is not known.
	Host *HostRow `json:"host,omitempty"`
}

// ScopeWhy is the rule that decides.
type ScopeWhy struct {
	Accept bool   `json:"accept"`
	Rule   int    `json:"rule"` // from 1 as in the list; 0 if none is about the URL
	Name   string `json:"name,omitempty"`
	Why    string `json:"why"`
}

// RuleSays is what one rule says of the URL.
type RuleSays struct {
	Rule    int    `json:"rule"` // from 1
	Name    string `json:"name"`
	Verdict string `json:"verdict"` // accept, reject, pass, or later: when the head of the answer is there
	Why     string `json:"why"`
	Decides bool   `json:"decides"`
}

// RobotsWhy is what a robots.txt says of a URL.
type RobotsWhy struct {
	// From is unasked, missing, parsed, unreachable, or configured, if no host is asked.
	From    string        `json:"from"`
	Allowed bool          `json:"allowed"`
	Line    int           `json:"line,omitempty"`  // of the rule that decides; 0 if none does
	Delay   time.Duration `json:"delay,omitempty"` // that it asks for
	Until   time.Time     `json:"until,omitzero"`  // when it is asked for again
	Tried   int           `json:"tried,omitempty"` // how often in a row it was not to be had
}

// Asked is a URL that somebody asks about, and how it was found.
type Asked struct {
	URL, Hops, Via, Source string
}

// ExplainURL says what is known of a URL, and which rule of the configuration decides about it. The URLs in flight are not
// known to the store.
func ExplainURL(r store.Reader, cfg Config, ask Asked) (w Why, err error) {
	u, err := SeedURL(ask.URL)
	if err != nil {
		return w, err
	}
	via, err := viaOf(ask)
	if err != nil {
		return w, err
	}
	key := cfg.Rules.Canonical(u).Key()
	w = Why{URL: u.String(), Key: key, State: "unknown", Hops: ask.Hops, Via: via.String()}
	state, status, known, err := frontier.Find(r, key)
	if err != nil {
		return w, err
	}
	if known {
		w.State, w.Status = stateNames[state], status
	}
	if _, w.Seed, err = r.Get(seedKey('s', u.String())); err != nil {
		return w, err
	}
	if err := w.explainScope(r, cfg, scope.Candidate{URL: u, Hops: ask.Hops, Via: via, Source: ask.Source}); err != nil {
		return w, err
	}
	if err := w.explainSettings(r, cfg, u); err != nil {
		return w, err
	}
	h, known, err := frontier.FindHost(r, u.QueueKey())
	if err == nil && known {
		row := hostRow(h)
		w.Host = &row
	}
	return w, err
}

func viaOf(ask Asked) (via weburl.URL, err error) {
	if ask.Via != "" {
		via, err = SeedURL(ask.Via)
	}
	return via, err
}

var stateNames = map[frontier.State]string{frontier.Queued: "queued", frontier.Waiting: "waiting", frontier.Done: "done",
	frontier.Failed: "failed", frontier.Left: "left"}

func (w *Why) explainScope(r store.Reader, cfg Config, c scope.Candidate) error {
	s, err := scopeOf(r, cfg.Scope)
	if err != nil {
		return err
	}
	d := s.Decide(c)
	w.Scope = ScopeWhy{d.Accept, d.Rule + 1, d.Name, d.Why}
	for _, o := range s.Explain(c, nil) {
		w.Rules = append(w.Rules, RuleSays{o.Rule + 1, o.Name, string(o.Verdict), o.Why, o.Decides})
	}
	return nil
}

func (w *Why) explainSettings(r store.Reader, cfg Config, u weburl.URL) error {
	c, err := readControl(r)
	if err != nil {
		return err
	}
	sheets, err := sheetsOf(cfg.Settings, c.Set, cfg.Sheets)
	if err != nil {
		return err
	}
	set := defaults.over(sheets.For(u))
	w.Settings, w.Sheets, w.Set = set.words(), append([]string{}, sheets.Applied(u)...), c.Set
	if w.Set == nil {
		w.Set = map[string]string{}
	}
	if cfg.PerPattern > 0 {
		if w.Pattern = scope.PatternOf(u); w.Pattern != "" {
			w.PatternBudget = cfg.PerPattern
		}
	}
	w.Robots, err = robotsWhy(r, u, set, cfg.Agent)
	return err
}

// words returns settings as a configuration has them.
func (s settings) words() map[string]string {
	size := "any"
	if s.maxBytes > 0 {
		size = strconv.FormatInt(s.maxBytes, 10)
	}
	bandwidth := "any"
	if s.bandwidth > 0 {
		bandwidth = strconv.FormatInt(s.bandwidth, 10)
	}
	mode := s.robots.Mode
	if mode == "" {
		mode = robots.Obey
	}
	return map[string]string{"delay_factor": strconv.FormatFloat(s.factor, 'g', -1, 64), "min_delay": s.min.String(), "max_delay": s.max.String(),
		"max_crawl_delay": s.maxCrawl.String(), "robots": mode, "max_bytes": size, "max_links": strconv.Itoa(s.maxLinks),
		"retries": strconv.Itoa(s.retries), "retry_after": s.retryAfter.String(), "conditional": strconv.FormatBool(s.conditional), "cookies": strconv.FormatBool(s.cookies), "metadata": strconv.FormatBool(s.metadata), "bandwidth": bandwidth, "pdf_links": strconv.FormatBool(s.pdfLinks)}
}

var robotStates = map[robots.State]string{robots.Missing: "missing", robots.Parsed: "parsed", robots.Unreachable: "unreachable"}

func robotsWhy(r store.Reader, u weburl.URL, set settings, agent string) (w RobotsWhy, err error) {
	rules, known := set.robots.Rules(agent)
	w.From = "configured"
	if !known {
		is, ok, err := readRules(r, u.QueueKey())
		if err != nil || !ok {
			return RobotsWhy{From: "unasked", Allowed: true}, err
		}
		rules, w.From, w.Tried = is.Rules, robotStates[is.State()], is.tried
		if w.Until, err = frontier.TimeOf(r, is.until.UnixMilli()); err != nil {
			return w, err
		}
	}
	w.Allowed, w.Line = rules.Allowed(pathOf(u))
	w.Delay = rules.Delay()
	return w, nil
}

// pathOf returns the part of a URL that the rules of a robots.txt are about.
func pathOf(u weburl.URL) string {
	if q := u.Query(); q != "" {
		return u.Path() + "?" + q
	}
	return u.Path()
}
