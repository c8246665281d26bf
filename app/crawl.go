package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/fault"
	"holdfast/base/identifier"
	"holdfast/base/secret"
	"holdfast/base/strictyaml"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/connector/web"
	"holdfast/job/crawl"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/scope"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// CrawlKind is the kind of job.
const CrawlKind = "crawl"

// crawlConfig is an archive of web sites, in WARC files. One of contact and user_agent is needed.
type crawlConfig struct {
	// Seeds are the URLs where it begins.
	Seeds []string `yaml:"seeds"`
	// SeedsFile has more, one a line, with # before comments; below the data directory if it is relative.
	SeedsFile string `yaml:"seeds_file"`
	// Contact is a mail address or a URL of who answers for the crawl: the user agent names it.
	Contact string `yaml:"contact"`
	// UserAgent is what servers are told; default holdfast, its version and the contact.
	UserAgent string `yaml:"user_agent"`
	// RobotsAgent is the name that robots.txt has for it; default holdfast.
	RobotsAgent string `yaml:"robots_agent"`
	// WARC are the files in which what was fetched is kept.
	WARC warcFiles `yaml:"warc"`
	// Logs is the directory of crawl.log and the others; default logs/NAME in the data directory.
	Logs string `yaml:"logs"`
	// RecoverLog keeps a recover journal as Heritrix does, frontier.recover.gz beside the logs; default false.
	RecoverLog bool `yaml:"recover_log"`
	// Dedupe are CDXJ files of earlier crawls, or directories of them: what they have is kept as a revisit.
	Dedupe []string `yaml:"dedupe"`
	// Scope says which URLs are crawled, by rules of which the last that is about a URL decides; default the hosts of the
	// seeds, and what their pages are made of.
	Scope scope.List `yaml:"scope"`
	// Canonical are rules by which several URLs are one; default none.
	Canonical canonical `yaml:"canonical"`
	// Settings are how hosts are treated.
	Settings crawl.Settings `yaml:"settings"`
	// Sheets are what of the settings is other for some URLs.
	Sheets []scope.Sheet[crawl.Settings] `yaml:"sheets"`
	// Workers is how many URLs are fetched at once; default 50.
	Workers int `yaml:"workers"`
	// PerHost is how many of them may be of one host, for one's own sites; default 1.
	PerHost int `yaml:"per_host"`
	// AllowAddresses are networks that may be asked though they are not public: 10.1.0.0/16.
	AllowAddresses []string `yaml:"allow_addresses"`
	// MaxSize is the most of an answer; default 1GiB.
	MaxSize Bytes `yaml:"max_size"`
	// Timeout of a fetch as a whole; default 20m.
	Timeout time.Duration `yaml:"timeout"`
	// Limits are how much is fetched at most, in all and of each host.
	Limits crawlLimits `yaml:"limits"`
	// Limit is what may come in a second, from all hosts together; default off.
	Limit Bytes `yaml:"limit"`
	// Proxy is the URL of one that speaks HTTP, http://user:password@host:port; default none.
	Proxy secret.Text `yaml:"proxy"`
	// HTTP1 has servers asked by HTTP/1.1 only; default false.
	HTTP1 bool `yaml:"http1"`
	// CheckCertificates: a server whose certificate is no good is not asked; default false, for an archive rather has what
	// is there.
	CheckCertificates bool `yaml:"check_certificates"`

	networks []netip.Prefix
	once     bool // it ends when nothing is left
	again    bool
	beside   bool
	given    []string // keys that stand above what a person ordered before
}

// limits are how much may be fetched.
type limits struct {
	// URLs is their number; default as many as there are.
	URLs uint64 `yaml:"urls"`
	// Bytes is what comes over the network; default as much as there is.
	Bytes Bytes `yaml:"bytes"`
}

func (l limits) limits() frontier.Limits {
	return frontier.Limits{URLs: l.URLs, Bytes: uint64(l.Bytes)}
}

// crawlLimits are those of a crawl, of each of its hosts, and of endless series.
type crawlLimits struct {
	// URLs is their number; default as many as there are.
	URLs uint64 `yaml:"urls"`
	// Bytes is what comes over the network; default as much as there is.
	Bytes Bytes `yaml:"bytes"`
	// PerHost are the limits of each host.
	PerHost limits `yaml:"per_host"`
	// PerPattern is how many URLs of a host are queued that differ only in numbers, dates or ids, as those of a calendar do;
	// default 5000, 0 is all of them.
	PerPattern *uint64 `yaml:"per_pattern"`
}

// perPattern stops calendars.
const perPattern = 5000

func (l crawlLimits) pattern() uint64 { return *l.WithDefaults().PerPattern }

// warcFiles are the files of an archive.
type warcFiles struct {
	// Directory is where they are; default warc/NAME in the data directory.
	Directory string `yaml:"directory"`
	// Name is what their names begin with; default the name of the job.
	Name string `yaml:"name"`
	// MaxSize is how large a file gets before the next one is begun; default 1GB.
	MaxSize Bytes `yaml:"max_size"`
	// MaxAge is how old a file gets before the next one is begun; default any age.
	MaxAge time.Duration `yaml:"max_age"`
	// Beside lets a crawl that knows nothing begin where WARC files of that name are; default false.
	Beside bool `yaml:"beside"`
	// Info are fields of the first record of each file: operator, description and others.
	Info map[string]string `yaml:"info"`
}

// canonical are the rules of weburl.Rules.
type canonical struct {
	// Lowercase makes path and query lower case; default false. The host is lower case anyway.
	Lowercase bool `yaml:"lowercase"`
	// Userinfo takes user and password away; default false.
	Userinfo bool `yaml:"userinfo"`
	// WWW takes www., www1. and the like from the host, unless it is a home page; default false.
	WWW bool `yaml:"www"`
	// Sessions takes away session ids, as PHP, Java, ASP and ColdFusion write them; default false.
	Sessions bool `yaml:"sessions"`
	// Query takes away a ? with nothing behind it and the & at both ends of a query; default false.
	Query bool `yaml:"query"`
	// DefaultDocuments takes index.html, default.aspx and the like from the end of a path; default false.
	DefaultDocuments bool `yaml:"default_documents"`
}

func (c *crawlConfig) check(d *decoder, n ast.Node, path string) {
	bad := func(key, format string, args ...any) {
		d.Bad(d.at(n, key), strictyaml.Join(path, key), format, args...)
	}
	for i, s := range c.Seeds {
		if _, err := crawl.SeedURL(s); err != nil {
			bad("seeds", "[%d]: %v", i, err)
		}
	}
	switch {
	case c.Contact == "" && c.UserAgent == "":
		d.Bad(n, path, "contact is missing: whoever is asked too much must know whom to write to")
	case c.Contact != "" && !strings.Contains(c.Contact, "@") && !strings.Contains(c.Contact, "://"):
		bad("contact", "want a mail address or a URL, got %q", c.Contact)
	}
	for i, text := range c.AllowAddresses {
		p, err := network(text)
		if err != nil {
			bad("allow_addresses", "[%d]: %v", i, err)
		}
		c.networks = append(c.networks, p)
	}
	if len(c.Scope) > 0 {
		for _, err := range c.Scope.Validate() {
			d.complain(entry{At: n, Value: n}, path, err)
		}
	}
	for _, err := range c.Settings.Validate() {
		d.complain(entry{At: n, Value: d.at(n, "settings")}, strictyaml.Join(path, "settings"), err)
	}
	for i, s := range c.Sheets {
		for _, err := range s.Set.Validate() {
			bad("sheets", "[%d].set.%v", i, err)
		}
	}
	if _, err := scope.NewSheets(c.Settings, c.Sheets, func(a, _ crawl.Settings) crawl.Settings { return a }); err != nil {
		d.complain(entry{At: n, Value: n}, path, err)
	}
	if c.WARC.Name != "" && !identifier.Pattern.MatchString(c.WARC.Name) {
		d.Bad(d.at(n, "warc", "name"), strictyaml.Join(path, "warc.name"), "want letters, digits, - and _, got %q", c.WARC.Name)
	}
	for _, x := range []struct {
		key   string
		value int64
	}{{"workers", int64(c.Workers)}, {"per_host", int64(c.PerHost)}, {"max_size", int64(c.MaxSize)}, {"timeout", int64(c.Timeout)},
		{"limit", int64(c.Limit)}, {"limits.bytes", int64(c.Limits.Bytes)}, {"limits.per_host.bytes", int64(c.Limits.PerHost.Bytes)}} {
		if x.value < 0 {
			bad(x.key, "want a number from 1, got %d", x.value)
		}
	}
	if len(d.Mistakes) == 0 {
		if err := c.fetcher("").Validate(); err != nil {
			d.Bad(n, path, "%v", err)
		}
	}
}

// network is one in the form 10.1.0.0/16, or a single address.
func network(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("want a network such as 10.1.0.0/16, got %q", text)
	}
	return p, nil
}

// fetcher is how web servers are asked; dir is where answers lie until they are written down.
func (c *crawlConfig) fetcher(dir string) web.Config {
	cfg := web.Config{UserAgent: orElse(c.UserAgent, "holdfast/"+Version+" (+"+c.Contact+")"), MaxBytes: int64(c.MaxSize), Dir: dir,
		Timeout: c.Timeout, Bandwidth: int64(c.Limit), HTTP2: !c.HTTP1, CheckCertificates: c.CheckCertificates, Proxy: c.Proxy,
		AllowAddresses: c.networks}
	if strings.Contains(c.Contact, "@") {
		cfg.From = c.Contact
	}
	return cfg
}

// Spec declares the job to the engine.
func (c *crawlConfig) spec(p *Plan, job Job) engine.Spec {
	first := true // of the runner alone, which calls New
	return engine.Spec{Name: job.Name, Kind: job.Kind, Config: job.Text,
		New: func(_ context.Context, env engine.Env) (engine.Job, error) {
			made, err := c.build(p.Place.Dir, env, first)
			first = first && err != nil
			if c.once && crawl.NeedsPerson(err) {
				err = engine.Hopeless(err)
			}
			return made, err
		}}
}

// warcDir and logsDir are where a job's files are.
func (c *crawlConfig) warcDir(dataDir, job string) string {
	return below(dataDir, orElse(c.WARC.Directory, filepath.Join("warc", job)))
}

func (c *crawlConfig) logsDir(dataDir, job string) string {
	return below(dataDir, orElse(c.Logs, filepath.Join("logs", job)))
}

// build makes the job. What its flags have it do anew is done the first time.
func (c *crawlConfig) build(dataDir string, env engine.Env, first bool) (made engine.Job, err error) {
	var open opens
	defer func() {
		if err != nil {
			err = errors.Join(err, open.close())
		}
	}()
	seeds := c.Seeds
	if c.SeedsFile != "" {
		more, err := ReadSeeds(below(dataDir, c.SeedsFile))
		if err != nil {
			return nil, err
		}
		seeds = append(seeds[:len(seeds):len(seeds)], more...)
	}
	fetch, err := web.New(c.fetcher(env.Dir))
	if err != nil {
		return nil, err
	}
	open = append(open, fetch)
	cfg := c.job(dataDir, env.Name, seeds, fetch)
	cfg.Fixed = !c.once // it stands in a file, which is changed and not the crawl
	if first {
		cfg.Again, cfg.Given = c.again, c.given
	}
	job, err := crawl.New(env, cfg)
	if err != nil {
		return nil, err
	}
	return with{Job: job, open: open}, nil
}

func (c *crawlConfig) job(dataDir, name string, seeds []string, fetch connector.Fetcher) crawl.Config {
	info := warc.Fields{{Name: "software", Value: "holdfast/" + Version}, {Name: "format", Value: "WARC File Format 1.1"},
		{Name: "conformsTo", Value: "http://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/"},
		{Name: "isPartOf", Value: name}, {Name: "http-header-user-agent", Value: c.fetcher("").UserAgent}}
	if c.Contact != "" {
		info = append(info, warc.Field{Name: "operator", Value: c.Contact})
	}
	for _, key := range slices.Sorted(maps.Keys(c.WARC.Info)) {
		info = append(info, warc.Field{Name: key, Value: c.WARC.Info[key]})
	}
	return crawl.Config{Seeds: seeds, Fetch: fetch, Rules: weburl.Rules(c.Canonical), Scope: c.Scope, Settings: c.Settings, Sheets: c.Sheets,
		MaxBytes: int64(c.MaxSize), Archive: archive.Options{Dir: c.warcDir(dataDir, name), Name: orElse(c.WARC.Name, name), MaxSize: int64(c.WARC.MaxSize),
			MaxAge: c.WARC.MaxAge, Info: info}, Beside: c.WARC.Beside || c.beside,
		Logs: c.logsDir(dataDir, name), Workers: c.Workers, PerHost: c.PerHost, Agent: c.WithDefaults().RobotsAgent,
		Journal: c.RecoverLog, Earlier: c.earlier(dataDir), Once: c.once,
		Budget:     frontier.Budget{Crawl: limits{c.Limits.URLs, c.Limits.Bytes}.limits(), Host: c.Limits.PerHost.limits()},
		PerPattern: c.Limits.pattern()}
}

func (c *crawlConfig) earlier(dataDir string) (paths []string) {
	for _, p := range c.Dedupe {
		paths = append(paths, below(dataDir, p))
	}
	return paths
}

// CheckpointName implements BesideStore.
func (c *crawlConfig) CheckpointName(serial uint64, at time.Time) string {
	return crawl.CheckpointName(serial, at)
}

func (c *crawlConfig) Facts(r store.Reader) (map[string]int64, error) { return crawl.Facts(r) }

func (c *crawlConfig) Prepare(st *store.Store, log *slog.Logger, dataDir, job, checkpoint string) error {
	return crawl.Prepare(st, c.job(dataDir, job, nil, nil), log, checkpoint)
}

// ReadSeeds reads a file of seeds: one a line, with # before comments. The error names the line.
func ReadSeeds(name string) (seeds []string, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fault.WithHint(fault.New(fault.Permanent, "read the seeds: %w", err), "is it there, and readable?")
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, fault.New(fault.Invalid, "%s is no text: want a URL a line", name)
	}
	for i, line := range strings.Split(string(text), "\n") {
		if at := strings.IndexByte(line, '#'); at == 0 || at > 0 && (line[at-1] == ' ' || line[at-1] == '\t') {
			line = line[:at] // what stands within a URL is its fragment
		}
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if _, err := crawl.SeedURL(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
		seeds = append(seeds, line)
	}
	return seeds, nil
}

// Crawl is what a crawl is, for who asks it while it does not fetch; ok is false for another kind of job.
func (p *Plan) Crawl(j Job) (cfg crawl.Config, ok bool) {
	c, ok := j.work.(*crawlConfig)
	if ok {
		cfg = c.job(p.Place.Dir, j.Name, nil, nil)
	}
	return cfg, ok
}
