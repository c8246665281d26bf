package crawl

import (
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/scope"
)

// Config is what the job is to do.
type Config struct {
	// Seeds are where it begins. Those that are new are added to the ones that it had.
	Seeds []string
	Fetch connector.Fetcher
	// Rules say which URLs count as the same.
	Rules weburl.Rules
	// Scope says which URLs are crawled; empty for that of scope.Default.
	Scope scope.List
	// Settings are those of all URLs, and Sheets what differs for some of them.
	Settings Settings
	Sheets   []scope.Sheet[Settings]
	// MaxBytes is how much is read of an answer if its settings have no other limit; default 1 GiB.
	MaxBytes int64
	Archive  archive.Options
	// Logs is the directory of the logs.
	Logs string
	// Workers is how many URLs are fetched at once; default 50.
	Workers int
	// PerHost is how many of them may be of one host; default 1.
	PerHost int
	// Agent is the name that robots.txt knows the crawler by.
	Agent string
	// Journal: a recover journal is kept beside the logs.
	Journal bool
	// Earlier are CDXJ files of earlier crawls, or directories of them: what they have is not kept again.
	Earlier []string
	// Once ends the job when nothing is left to fetch; otherwise it waits for seeds.
	Once bool
	// Budget is how much is fetched at most. A person may set another one, which stays until the configuration has a new one.
	Budget frontier.Budget
	// PerPattern is how many URLs of a host are queued that differ only in numbers, dates or ids; 0 is all of them.
	PerPattern uint64
	// Given are the keys of settings, and "limits" for the Budget, that take precedence over what a person ordered before.
	Given []string
	// Fixed: persons can't change settings by order, because the settings stand in a file.
	Fixed bool
	// Beside lets a crawl whose store is empty begin although there are WARC files of its name.
	Beside bool
	// Again lets a crawl that is over begin anew: what it knows of URLs is forgotten, what it knows of payloads is not.
	Again bool
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	if c.Workers == 0 {
		c.Workers = 50
	}
	if c.PerHost == 0 {
		c.PerHost = 1
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	if len(c.Scope) == 0 {
		c.Scope = scope.Default()
	}
	return c
}
