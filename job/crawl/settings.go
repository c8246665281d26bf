package crawl

import (
	"time"

	"holdfast/base/fault"
	"holdfast/base/robots"
	"holdfast/base/weburl"
	"holdfast/job/crawl/extract"
)

// Settings say how a crawl treats its hosts. They may differ for some URLs; a field that is nil is as for all others.
type Settings struct {
	// DelayFactor: a host is left alone between two URLs for so many times what its last answer took, within min_delay and
	// max_delay; default 5, as in Heritrix.
	DelayFactor *float64 `yaml:"delay_factor"`
	// MinDelay is the shortest pause between two URLs of a host; default 3s.
	MinDelay *time.Duration `yaml:"min_delay"`
	// MaxDelay is the longest such pause; default 30s.
	MaxDelay *time.Duration `yaml:"max_delay"`
	// MaxCrawlDelay is how much of a Crawl-delay of a robots.txt is obeyed, which may be longer than max_delay; default 5m.
	MaxCrawlDelay *time.Duration `yaml:"max_crawl_delay"`
	// Robots is how robots.txt is treated.
	Robots *robots.Policy `yaml:"robots"`
	// MaxBytes is the most bytes of an answer; default max_size of the crawl.
	MaxBytes *int64 `yaml:"max_bytes"`
	// MaxLinks is how many links of a page are followed; default 6000, as in Heritrix, and 50,000 of a sitemap.
	MaxLinks *int `yaml:"max_links"`
	// Retries is how often a URL is tried again that could not be fetched; default 30.
	Retries *int `yaml:"retries"`
	// RetryAfter is the time between such tries; default 15m.
	RetryAfter *time.Duration `yaml:"retry_after"`
	// Conditional: for what is archived already, the server is asked only whether it has changed; default true.
	Conditional *bool `yaml:"conditional"`
	// Cookies: those of answers are sent back to the site, for as long as the crawl lasts; default false.
	Cookies *bool `yaml:"cookies"`
	// Metadata records are written beside what was fetched: how it was found, and all of its links; default false.
	Metadata *bool `yaml:"metadata"`
	// Bandwidth is how many bytes come from a host in a second at most, for all that comes from it at once; default no limit
	// beside that of the crawl.
	Bandwidth *int64 `yaml:"bandwidth"`
	// PDFLinks: links are read from the annotations of PDF files too; default false.
	PDFLinks *bool `yaml:"pdf_links"`
}

// settings are Settings without a field that is left open.
type settings struct {
	factor             float64
	min, max, maxCrawl time.Duration
	robots             robots.Policy
	maxBytes           int64 // 0: what the fetcher has
	maxLinks           int
	retries            int
	retryAfter         time.Duration
	conditional        bool
	cookies            bool
	metadata           bool
	bandwidth          int64 // 0: none
	pdfLinks           bool
}

var defaults = settings{factor: 5, min: 3 * time.Second, max: 30 * time.Second, maxCrawl: 5 * time.Minute, maxLinks: extract.DefaultLinks,
	retries: 30, retryAfter: 15 * time.Minute, conditional: true}

// WithDefaults returns s with everything filled in that has a default.
func (s Settings) WithDefaults() Settings {
	d := defaults
	return Settings{DelayFactor: &d.factor, MinDelay: &d.min, MaxDelay: &d.max, MaxCrawlDelay: &d.maxCrawl,
		Robots: &robots.Policy{Mode: robots.Obey}, MaxLinks: &d.maxLinks, Retries: &d.retries, RetryAfter: &d.retryAfter,
		Conditional: &d.conditional, Cookies: &d.cookies, Metadata: &d.metadata, PDFLinks: &d.pdfLinks}.with(s)
}

// over returns s, with what t says in the place of its own.
func (s settings) over(t Settings) settings {
	put(&s.factor, t.DelayFactor)
	put(&s.min, t.MinDelay)
	put(&s.max, t.MaxDelay)
	put(&s.maxCrawl, t.MaxCrawlDelay)
	put(&s.robots, t.Robots)
	put(&s.maxBytes, t.MaxBytes)
	put(&s.maxLinks, t.MaxLinks)
	put(&s.retries, t.Retries)
	put(&s.retryAfter, t.RetryAfter)
	put(&s.conditional, t.Conditional)
	put(&s.cookies, t.Cookies)
	put(&s.metadata, t.Metadata)
	put(&s.bandwidth, t.Bandwidth)
	put(&s.pdfLinks, t.PDFLinks)
	return s
}

func put[T any](to *T, v *T) {
	if v != nil {
		*to = *v
	}
}

// Validate returns all faults of the settings, each beginning with the name of its key.
func (s Settings) Validate() (faults []error) {
	bad := func(key, format string, args ...any) {
		faults = append(faults, fault.New(fault.Invalid, key+": "+format, args...))
	}
	for _, x := range []struct {
		key   string
		value *time.Duration
	}{{"min_delay", s.MinDelay}, {"max_delay", s.MaxDelay}, {"max_crawl_delay", s.MaxCrawlDelay}, {"retry_after", s.RetryAfter}} {
		if x.value != nil && *x.value < 0 {
			bad(x.key, "want a time from 0, got %v", *x.value)
		}
	}
	if f := s.DelayFactor; f != nil && !(*f >= 0 && *f <= 1e6) { // NaN is no number
		bad("delay_factor", "want a number from 0, got %v", *f)
	}
	if s.MinDelay != nil && s.MaxDelay != nil && *s.MaxDelay < *s.MinDelay {
		bad("max_delay", "want no less than min_delay (%v), got %v", *s.MinDelay, *s.MaxDelay)
	}
	if n := s.MaxBytes; n != nil && *n < 1 {
		bad("max_bytes", "want a number from 1, got %d", *n)
	}
	if n := s.Bandwidth; n != nil && *n < 0 {
		bad("bandwidth", "want a number from 0, got %d", *n)
	}
	if n := s.MaxLinks; n != nil && *n < 0 {
		bad("max_links", "want a number from 0, got %d", *n)
	}
	if n := s.Retries; n != nil && *n < 0 {
		bad("retries", "want a number from 0, got %d", *n)
	}
	if s.Robots != nil {
		for _, err := range s.Robots.Validate() {
			bad("robots", "%w", err)
		}
	}
	return faults
}

// with returns s, with what t says in the place of its own.
func (s Settings) with(t Settings) Settings {
	first(&s.DelayFactor, t.DelayFactor)
	first(&s.MinDelay, t.MinDelay)
	first(&s.MaxDelay, t.MaxDelay)
	first(&s.MaxCrawlDelay, t.MaxCrawlDelay)
	first(&s.Robots, t.Robots)
	first(&s.MaxBytes, t.MaxBytes)
	first(&s.MaxLinks, t.MaxLinks)
	first(&s.Retries, t.Retries)
	first(&s.RetryAfter, t.RetryAfter)
	first(&s.Conditional, t.Conditional)
	first(&s.Cookies, t.Cookies)
	first(&s.Metadata, t.Metadata)
	first(&s.Bandwidth, t.Bandwidth)
	first(&s.PDFLinks, t.PDFLinks)
	return s
}

func first[T any](to **T, v *T) {
	if v != nil {
		*to = v
	}
}

// settingsFor returns the settings of a URL.
func (j *Job) settingsFor(u weburl.URL) settings { return defaults.over(j.sheets.Load().For(u)) }

// after returns how long a host is left alone after an answer that took so long.
func (s settings) after(took time.Duration) time.Duration {
	return min(max(time.Duration(s.factor*float64(took)), s.min), s.max)
}
