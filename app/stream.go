package app

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/disk"
	"holdfast/base/strictyaml"
	"holdfast/connector"
	"holdfast/job/collect"
	"holdfast/job/stream/report"
	"holdfast/job/stream/wire"
)

// The names by which the books and the gates know what a stream depends on.
const (
	brokerName   = "broker"
	DatabaseSink = "database"
	inputName    = "input"
)

const (
	defaultInterval  = 5 * time.Minute
	defaultAPIListen = "127.0.0.1:5000"
	weatherBatches   = 88
	mostOldBatches   = 10_000
	leastRetained    = 1 << 20
)

// once a second: what is away is tried no oftener, and found again within that time.
var onceASecond = collect.Retry{Initial: time.Second, Max: time.Second, Jitter: -1}

func (c *streamConfig) check(d *decoder, n ast.Node, path string) {
	c.Broker.kind = orElse(c.Broker.kind, embeddedBroker)
	*c = c.WithDefaults()
	if err := (wire.Names{Prefix: c.Channels}).Check(); err != nil {
		d.Bad(d.at(n, "channels"), strictyaml.Join(path, "channels"), "%v", err)
	}
	if c.Window < time.Second || c.Window%time.Second != 0 {
		d.Bad(d.at(n, "window"), strictyaml.Join(path, "window"), "want whole seconds, got %v", c.Window)
	}
	if c.WindowKey != hourWord {
		key := time.Unix(1e9, 0).UTC().Format(c.WindowKey)
		if _, err := wire.ParsePlace("0:" + key); err != nil || key == c.WindowKey ||
			(connector.Message{Topic: "x", Key: key}).Check() != nil {
			d.Bad(d.at(n, "window_key"), strictyaml.Join(path, "window_key"), "want hour, or a layout that makes one word of letters "+
				"and digits, such as 20060102T1504, got %q", c.WindowKey)
		}
	}
	before := len(d.Mistakes)
	c.Rows.check(d, n, strictyaml.Join(path, "rows"))
	goodRows := len(d.Mistakes) == before
	c.checkRole(d, n, path)
	if c.Streamer == nil && d.at(n, "database") == n {
		d.Bad(n, strictyaml.Join(path, "database"), "is missing")
	}
	if goodRows {
		c.checkReports(d, n, path)
	}
	for _, role := range []interface {
		check(c *streamConfig, d *decoder, n ast.Node, path string)
	}{c.Streamer, c.Ingester, c.Processor, c.API} {
		role.check(c, d, n, path)
	}
}

const hourWord = "hour"

// roles are the keys of which a stream job has one.
var roles = []string{"streamer", "ingester", "processor", "api"}

func (c *streamConfig) checkRole(d *decoder, n ast.Node, path string) {
	entries, _ := d.Entries(n, path)
	var have []string
	for _, e := range entries {
		if slices.Contains(roles, e.Key) {
			if have = append(have, e.Key); len(have) == 2 {
				d.Bad(e.At, path, "there is a second role; want one, and a job of its own for the other")
			}
		}
		if strictyaml.Empty(e.Value) { // all of its keys have defaults
			switch e.Key {
			case "ingester":
				c.Ingester = new(ingesterConfig)
			case "processor":
				c.Processor = new(processorConfig)
			case "api":
				c.API = new(apiConfig)
			}
		}
	}
	if len(have) == 0 {
		d.Bad(n, path, "the role is missing; want one of: %s", strings.Join(roles, ", "))
	}
}

func (c *streamConfig) checkReports(d *decoder, n ast.Node, path string) {
	if len(c.Reports) == 0 {
		if weatherFits(c.Rows) {
			c.Reports = report.Weather()
		} else if c.Processor != nil || c.API != nil {
			d.Bad(n, strictyaml.Join(path, "reports"), "is missing, and those of the preset can't be made of these columns")
		}
		c.checkTables(d, d.at(n, "table"), path)
		return
	}
	c.checkTables(d, d.at(n, "reports"), path)
	errs := c.Reports.Validate()
	if t, err := c.Rows.onWire(); err == nil && len(errs) == 0 {
		errs = c.Reports.Fits(t.Schema())
	}
	for _, err := range errs {
		key, text := keyed(err)
		d.Bad(d.at(n, strings.Split(listIndex.ReplaceAllString(key, ""), ".")...), strictyaml.Join(path, key), "%s", text)
	}
}

// checkTables refuses a report in the table of the rows, which it would take the place of. To SQLite, names that differ
// in their case are the same.
func (c *streamConfig) checkTables(d *decoder, at ast.Node, path string) {
	for _, r := range c.Reports {
		if strings.EqualFold(r.Table, c.Table) {
			d.Bad(at, strictyaml.Join(path, "table"), "the rows are in %s, and so would be a report; want two tables", c.Table)
		}
	}
}

// weatherFits reports whether the reports of the preset can be made of rows.
func weatherFits(r rowsOf) bool {
	t, err := r.onWire()
	return err == nil && len(report.Weather().Fits(t.Schema())) == 0
}

// checkStreams refuses two jobs that would take each other's messages, and two embedded brokers.
func (c *Config) checkStreams(d *decoder, root ast.Node) {
	seen := map[string]string{} // role, broker and channels -> job
	var server *embedded
	for _, j := range c.Jobs {
		w, ok := j.work.(*streamConfig)
		if !ok {
			continue
		}
		at := func(keys ...string) (ast.Node, string) {
			keys = append([]string{"jobs", j.Name, j.Kind}, keys...)
			return d.at(root, keys...), strings.Join(keys, ".")
		}
		if role := w.role(); role != "api" && role != "" {
			key := strings.Join([]string{role, w.Broker.place(), w.Channels}, "\x00")
			if other := seen[key]; other != "" {
				n, p := at(role)
				d.Bad(n, p, "job %s is the %s of these channels already; give this one channels of its own", other, role)
			}
			seen[key] = j.Name
		}
		if name, key := w.beside(); name != "" {
			n, p := at(w.role(), "ingester")
			if other, ok := c.ingester(name); !ok {
				d.Bad(n, p, "there is no job %s with an ingester", name)
			} else if w.Processor != nil && other.Database.place() != w.Database.place() {
				n, p := at("database")
				d.Bad(n, p, "the %s has another database than %s, whose rows it reports on; want the same", key, name)
			}
		}
		if w.API != nil || w.Broker.kind != embeddedBroker {
			continue
		}
		if server != nil && *server != w.Broker.embedded {
			n, p := at("broker")
			d.Bad(n, p, "another job wants another embedded broker, and a process has one: write the same for all")
		}
		server = &w.Broker.embedded
	}
}

// beside is the ingester of the same file that a role says it works with, "" for none.
func (c *streamConfig) beside() (ingester, role string) {
	switch {
	case c.Processor != nil:
		return c.Processor.Ingester, "processor"
	case c.API != nil:
		return c.API.Ingester, "api"
	}
	return "", ""
}

// ingester is a job of the file that is one.
func (c *Config) ingester(name string) (*streamConfig, bool) {
	i := slices.IndexFunc(c.Jobs, func(j Job) bool { return j.Name == name })
	if i < 0 {
		return nil, false
	}
	w, ok := c.Jobs[i].work.(*streamConfig)
	return w, ok && w.Ingester != nil
}

// role is which one the job has, "" for none.
func (c *streamConfig) role() string {
	switch {
	case c.Streamer != nil:
		return "streamer"
	case c.Ingester != nil:
		return "ingester"
	case c.Processor != nil:
		return "processor"
	case c.API != nil:
		return "api"
	}
	return ""
}

func (s *streamerConfig) check(_ *streamConfig, d *decoder, n ast.Node, path string) {
	if s == nil {
		return
	}
	path = strictyaml.Join(path, "streamer")
	at := func(key string) (ast.Node, string) { return d.at(n, "streamer", key), strictyaml.Join(path, key) }
	if s.Input == "" {
		a, p := at("input")
		d.Bad(a, p, "is missing")
	}
	if given := s.Format; s.Input != "" {
		if s.Format = orElse(given, formatOf(s.Input)); !slices.Contains([]string{"csv", "jsonl", "parquet"}, s.Format) {
			a, p := at("format")
			d.Bad(a, p, "want csv, jsonl or parquet, %s", whyNoFormat(given, s.Input))
		}
		if _, err := os.Lstat(s.Input); err != nil && filepath.IsAbs(s.Input) { // what is there needs no pattern
			if _, err := filepath.Match(filepath.Base(s.Input), ""); err != nil {
				a, p := at("input")
				d.Bad(a, p, "there is no such file, and its name is no pattern: %v", err)
			}
		}
	}
	if s.Batch < 0 {
		a, p := at("batch")
		d.Bad(a, p, "want a number from 1, got %d", s.Batch)
	}
	if r := s.Retain; r.Windows < 0 || r.Bytes > 0 && r.Bytes < leastRetained {
		a, p := at("retain")
		d.Bad(a, p, "want windows from 0 and bytes from 1MiB, of which the window that is cut needs some, got %d and %s", r.Windows,
			disk.Size(int64(r.Bytes)))
	}
	if s.Interval < 0 {
		a, p := at("interval")
		d.Bad(a, p, "want a time that is not below 0, got %v", s.Interval)
	}
	a, p := at("speedup")
	if _, err := s.speedup(); err != nil {
		d.Bad(a, p, "%v", err)
	} else if s.Speedup != "" && s.Interval > 0 {
		d.Bad(a, p, "interval fixes the wall time of a window already; want one of them")
	}
}

// whyNoFormat says what is there instead of a format.
func whyNoFormat(given, input string) string {
	switch ext := filepath.Ext(input); {
	case given != "":
		return fmt.Sprintf("got %q", given)
	case slices.Contains([]string{".gz", ".zip", ".zst", ".bz2", ".xz"}, ext):
		return fmt.Sprintf("and %s is packed: unpack it first", input)
	}
	return fmt.Sprintf("which the name of %s does not say", input)
}

// fastest is the speedup that knows no clock.
const fastest = "max"

// speedup is 0 for as fast as can be, and where an interval says it.
func (s *streamerConfig) speedup() (float64, error) {
	if s.Speedup == "" || s.Speedup == fastest {
		return 0, nil
	}
	f, err := strconv.ParseFloat(s.Speedup, 64)
	if err != nil || !(f > 0 && f < 1e9) {
		return 0, fmt.Errorf("want a number above 0, or %s, got %q", fastest, s.Speedup)
	}
	return f, nil
}

func (i *ingesterConfig) check(_ *streamConfig, d *decoder, n ast.Node, path string) {
	if i == nil {
		return
	}
	path = strictyaml.Join(path, "ingester")
	before := len(d.Mistakes)
	entries, ok := d.Entries(d.at(n, "ingester"), path)
	if !ok { // which was told when it was read
		d.Mistakes = d.Mistakes[:before]
		return
	}
	i.Quota.check(d, entries, strictyaml.Join(path, "quota"))
	if i.LostAfter != 0 && i.LostAfter < time.Second {
		d.Bad(d.at(n, "ingester", "lost_after"), strictyaml.Join(path, "lost_after"), "want 1s or more, got %v", i.LostAfter)
	}
	if i.OldBatches != nil && (*i.OldBatches < 0 || *i.OldBatches > mostOldBatches) {
		d.Bad(d.at(n, "ingester", "old_batches"), strictyaml.Join(path, "old_batches"), "want a number from 0 to %d, got %d", mostOldBatches,
			*i.OldBatches)
	}
	for _, s := range i.Sinks {
		if s.name == DatabaseSink {
			d.Bad(d.at(n, "ingester", "sinks"), strictyaml.Join(path, "sinks"), "%s is the name of the stream's own; choose another",
				DatabaseSink)
		}
	}
}

func (p *processorConfig) check(_ *streamConfig, d *decoder, n ast.Node, path string) {
	if p == nil || p.Day == "" {
		return
	}
	if _, err := time.Parse(time.DateOnly, p.Day); err != nil {
		d.Bad(d.at(n, "processor", "day"), strictyaml.Join(path, "processor.day"), "want a day such as 2023-09-19, got %q", p.Day)
	}
}

func (a *apiConfig) check(_ *streamConfig, d *decoder, n ast.Node, path string) {
	if a == nil {
		return
	}
	if a.Timeout < 0 {
		d.Bad(d.at(n, "api", "timeout"), strictyaml.Join(path, "api.timeout"), "want a time above 0, got %v", a.Timeout)
	}
	*a = a.WithDefaults()
	if why := checkListen(a.Listen, a.Token != ""); why != "" {
		d.Bad(d.at(n, "api", "listen"), strictyaml.Join(path, "api.listen"), "%s", why)
	}
}
