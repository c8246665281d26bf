package app

import (
	"time"

	"holdfast/connector/influxdb"
	"holdfast/connector/postgres"
	filetree "holdfast/connector/tree"
	"holdfast/connector/web"
	"holdfast/job/collect"
	"holdfast/job/crawl"
	"holdfast/job/crawl/archive"
	"holdfast/job/stream/serve"
	"holdfast/job/stream/streamer"
	"holdfast/job/stream/wire"
	"holdfast/job/supervise"
	"holdfast/job/transfer"
	"holdfast/kernel/gate"
)

// What a configuration has without a key: as the jobs and connectors that get it fill it in themselves. The schema says it of
// each key, and a test holds the words of the reference against it.

const (
	defaultRetainTime  = 7 * 24 * time.Hour
	defaultRetainBytes = 20 << 30
	defaultBatchEvery  = 10 * time.Second
)

// WithDefaults returns r with everything filled in that has a default.
func (r retain) WithDefaults() retain {
	age, size := time.Duration(defaultRetainTime), Bytes(defaultRetainBytes)
	return retain{Time: orElse(r.Time, &age), Bytes: orElse(r.Bytes, &size)}
}

// WithDefaults returns b with everything filled in that has a default.
func (b batch) WithDefaults() batch {
	return batch{Rows: orElse(b.Rows, collect.DefaultRows), Every: orElse(b.Every, defaultBatchEvery)}
}

// WithDefaults returns c with everything filled in that has a default.
func (c collectConfig) WithDefaults() collectConfig {
	c.DedupeWindow = orElse(c.DedupeWindow, collect.IntakeOptions{}.WithDefaults().Window)
	return c
}

// WithDefaults returns q with everything filled in that has a default.
func (q quota) WithDefaults() quota {
	q.Policy = orElse(q.Policy, string(collect.Config{}.WithDefaults().Quota.Policy))
	return q
}

// WithDefaults returns t with everything filled in that has a default.
func (t terms) WithDefaults() terms {
	t.Policy = quota{Policy: t.Policy}.WithDefaults().Policy
	return t
}

// WithDefaults returns r with everything filled in that has a default.
func (r retry) WithDefaults() retry {
	o := gate.Options{}.WithDefaults()
	return retry{orElse(r.Initial, o.Fastest), orElse(r.Max, o.Slowest), orElse(r.Jitter, &o.Jitter)}
}

// WithDefaults returns c with everything filled in that has a default.
func (c streamConfig) WithDefaults() streamConfig {
	c.Channels, c.Table = orElse(c.Channels, wire.DefaultPrefix), orElse(c.Table, weatherTable)
	c.Window, c.WindowKey = orElse(c.Window, time.Hour), orElse(c.WindowKey, hourWord)
	return c
}

// WithDefaults returns r with everything filled in that has a default.
func (r rowsOf) WithDefaults() rowsOf {
	r.Preset, r.Timezone = orElse(r.Preset, weatherPreset), orElse(r.Timezone, time.UTC.String())
	return r
}

// WithDefaults returns s with everything filled in that has a default.
func (s streamerConfig) WithDefaults() streamerConfig {
	if s.Speedup == "" {
		s.Interval = orElse(s.Interval, defaultInterval)
	}
	d := streamer.Config{}.WithDefaults()
	s.Batch, s.Retain.Windows = orElse(s.Batch, d.Batch), orElse(s.Retain.Windows, d.RetainWindows)
	s.Retain.Bytes = orElse(s.Retain.Bytes, Bytes(d.RetainBytes))
	return s
}

// WithDefaults returns s with everything filled in that has a default.
func (s storing) WithDefaults() storing {
	return storing{Rows: orElse(s.Rows, 10_000), Every: orElse(s.Every, 200*time.Millisecond)}
}

// WithDefaults returns a with everything filled in that has a default.
func (a apiConfig) WithDefaults() apiConfig {
	a.Listen, a.Timeout = orElse(a.Listen, defaultAPIListen), orElse(a.Timeout, serve.Config{}.WithDefaults().Timeout)
	return a
}

// WithDefaults returns c with everything filled in that has a default.
func (c influxPlace) WithDefaults() influxPlace {
	d := influxdb.Config{URL: c.URL, Compression: c.Compression}.WithDefaults()
	c.URL, c.Compression = d.URL, d.Compression
	c.Create, c.Timeout = created(c.Create), orElse(c.Timeout, databaseTimeout)
	return c
}

// WithDefaults returns c with everything filled in that has a default.
func (c postgresPlace) WithDefaults() postgresPlace {
	c.Schema = postgres.Config{Schema: c.Schema}.WithDefaults().Schema
	c.Create, c.Timeout = created(c.Create), orElse(c.Timeout, databaseTimeout)
	return c
}

// created makes what is missing, unless it is told not to.
func created(create *bool) *bool {
	yes := true
	return orElse(create, &yes)
}

// WithDefaults returns c with everything filled in that has a default.
func (c superviseConfig) WithDefaults() superviseConfig {
	d := supervise.Config{}.WithDefaults()
	c.Rules, c.Since = orElse(c.Rules, RulesFile), orElse(c.Since, "now")
	c.AtOnce, c.Keep = orElse(c.AtOnce, d.AtOnce), orElse(c.Keep, d.Keep)
	return c
}

// WithDefaults returns c with everything filled in that has a default.
func (c crawlConfig) WithDefaults() crawlConfig {
	d := crawl.Config{}.WithDefaults()
	c.RobotsAgent = orElse(c.RobotsAgent, "holdfast")
	c.Workers, c.PerHost = orElse(c.Workers, d.Workers), orElse(c.PerHost, d.PerHost)
	c.MaxSize = orElse(c.MaxSize, Bytes(d.MaxBytes))
	c.Timeout = orElse(c.Timeout, web.Config{}.WithDefaults().Timeout)
	c.WARC.MaxSize = orElse(c.WARC.MaxSize, archive.DefaultMaxSize)
	return c
}

// WithDefaults returns l with everything filled in that has a default.
func (l crawlLimits) WithDefaults() crawlLimits {
	most := uint64(perPattern)
	l.PerPattern = orElse(l.PerPattern, &most)
	return l
}

// WithDefaults returns c with everything filled in that has a default.
func (c transferConfig) WithDefaults() transferConfig {
	found, d := filetree.Config{}.WithDefaults(), transfer.Config{}.WithDefaults()
	c.Patience, c.Overdue = orElse(c.Patience, found.Patience), orElse(c.Overdue, found.Overdue)
	c.Workers, c.Attempts = orElse(c.Workers, d.Workers), orElse(c.Attempts, d.Attempts)
	c.KeepRecords, c.CopyTimeout = orElse(c.KeepRecords, d.KeepRecords), orElse(c.CopyTimeout, d.CopyTimeout)
	c.Slowest, c.After = orElse(c.Slowest, Bytes(d.Slowest)), orElse(c.After, string(d.After))
	c.Layout, c.Bad = orElse(c.Layout, defaultLayout), orElse(c.Bad, "dead")
	c.Pack = pack{By: orElse(c.Pack.By, "fpack"), Name: orElse(c.Pack.Name, "packed")}
	return c
}
