// Package filesource reads rows out of files: a file that grows (mode tail), each file of a directory
// once (mode once), and standard input.
//
//	source:
//	  file:
//	    path: /var/log/app/events.jsonl
//	    format: jsonl
//	    mode: tail
//	    columns: [{name: id, type: int64}, {name: at, type: time}]
//	    key: id
//
// The promise of tail: every line that ends is read once, over restarts and rotations. The cursor holds
// device, inode, the hash of the file's first bytes, and the offset behind the last line. A file that was
// renamed is read to its end before the next one is begun; one that was cut short, or has other first
// bytes, is begun anew. What a rotation left without its newline is a reject. What can't be made up for
// is told in notes: rotated_away (the file was gone or packed before it was read to its end).
//
// The promise of once: every file whose name matches is read when it is complete: closed by its writer,
// moved in, or unchanged for `settle`. The cursor holds which files are done, by name, size and time of
// change; a file that changes afterwards is another file. A data set (Options.End) does not change: what is
// another file under the name of one that was read is not read, and Changed says so.
//
// Both are told of changes by inotify, and look again every minute in case it went deaf. Fetch blocks
// until there is something. An item that can't be a row is a reject with file and line, and the lines
// beside it go on. Standard input can't be read twice: what was read and is in no commit yet is lost with
// the process. docs/sources-file.md shows configurations.
package filesource

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// Config is a file that grows, or a directory into which files are moved, each of which is read once.
type Config struct {
	// Path is the file, for tail; for once the directory with a pattern, such as /data/in/*.jsonl. It is below the
	// data directory if it is relative.
	Path string `yaml:"path" jsonschema:"required"`
	// Mode: tail follows a growing file and its rotated ones, once reads each file of a directory once.
	Mode string `yaml:"mode" jsonschema:"required,enum=tail,enum=once"`
	// Format of the lines; csv has a header line, and parquet is for mode once alone.
	Format string `yaml:"format" jsonschema:"required,enum=jsonl,enum=csv,enum=parquet"`
	// Delimiter between the values of a csv; default ",".
	Delimiter string `yaml:"delimiter"`
	// Columns say how an item becomes a row.
	Columns []columns.Column `yaml:"columns" jsonschema:"required"`
	// Extra is what becomes of fields that no column is made from: drop, or keep, each as a column of its own; default drop.
	Extra string `yaml:"extra" jsonschema:"enum=drop,enum=keep"`
	// Key is the column that identifies a row, or several, separated by commas; default none.
	Key string `yaml:"key"`
	// Time is the column of the event time; default none.
	Time string `yaml:"time"`
	// Settle is how long a file must be unchanged to be complete, and a rotated one to be at its end;
	// default 5s.
	Settle time.Duration `yaml:"settle"`
	// MaxLine is the most bytes of a line; a longer one is refused, and kept as a dead letter. Default 1048576.
	MaxLine int `yaml:"max_line"`
	// Zone is that of times without one; nil is UTC.
	Zone *time.Location `yaml:"-"`
}

// StdinConfig is the standard input of the process, from its beginning to its end.
type StdinConfig struct {
	// Format of the lines; csv has a header line.
	Format string `yaml:"format" jsonschema:"required,enum=jsonl,enum=csv"`
	// Delimiter between the values of a csv; default ",".
	Delimiter string `yaml:"delimiter"`
	// Columns say how an item becomes a row.
	Columns []columns.Column `yaml:"columns" jsonschema:"required"`
	// Extra is what becomes of fields that no column is made from: drop, or keep, each as a column of its own; default drop.
	Extra string `yaml:"extra" jsonschema:"enum=drop,enum=keep"`
	// Key is the column that identifies a row, or several, separated by commas; default none.
	Key string `yaml:"key"`
	// Time is the column of the event time; default none.
	Time string `yaml:"time"`
	// MaxLine is the most bytes of a line; a longer one is refused, and kept as a dead letter. Default 1048576.
	MaxLine int `yaml:"max_line"`
}

// WithDefaults returns c with everything filled in that has a default.
func (c StdinConfig) WithDefaults() StdinConfig {
	d := c.config()
	c.Delimiter, c.Extra, c.MaxLine = d.Delimiter, d.Extra, d.MaxLine
	return c
}

func (c StdinConfig) config() Config {
	return Config{Format: c.Format, Delimiter: c.Delimiter, Columns: c.Columns, Extra: c.Extra, Key: c.Key,
		Time: c.Time, MaxLine: c.MaxLine}.WithDefaults()
}

const (
	modeTail = "tail"
	modeOnce = "once"

	formatJSONL   = "jsonl"
	formatCSV     = "csv"
	formatParquet = "parquet"
)

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	if c.Delimiter == "" {
		c.Delimiter = ","
	}
	if c.Extra == "" {
		c.Extra = columns.ExtraDrop
	}
	if c.Settle == 0 {
		c.Settle = 5 * time.Second
	}
	if c.MaxLine == 0 {
		c.MaxLine = 1 << 20
	}
	return c
}

func (c Config) spec() columns.Spec {
	return columns.Spec{Columns: c.Columns, Key: c.Key, Time: c.Time, Extra: c.Extra,
		Convert: c.Format == formatCSV, Zone: c.Zone}
}

// faults are what is wrong with a configuration.
type faults []error

func (f *faults) bad(key, format string, args ...any) {
	*f = append(*f, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
}

// Validate returns all faults at once, each beginning with the name of its key.
func (c Config) Validate() []error {
	f := c.faults()
	if _, err := filepath.Match(filepath.Base(c.Path), ""); err != nil && c.Mode == modeOnce {
		f.bad("path", "%v", err)
	}
	return f
}

// faults are all but those of a pattern, which may be the name of a data set.
func (c Config) faults() (f faults) {
	c = c.WithDefaults()
	if c.Path == "" {
		f.bad("path", "is missing")
	}
	formats := []string{formatJSONL, formatCSV}
	switch c.Mode {
	case modeTail:
		if strings.ContainsAny(c.Path, "*?[") {
			f.bad("path", "a pattern is for mode once; tail follows one file")
		}
	case modeOnce:
		formats = append(formats, formatParquet)
	default:
		f.bad("mode", "is %q, want one of: tail, once", c.Mode)
	}
	if c.Settle < 0 {
		f.bad("settle", "is %v, want a time above 0", c.Settle)
	}
	c.checkRows(&f, formats)
	return f
}

// Validate returns all faults at once, each beginning with the name of its key.
func (c StdinConfig) Validate() []error {
	var f faults
	c.config().checkRows(&f, []string{formatJSONL, formatCSV})
	return f
}

func (c Config) checkRows(f *faults, formats []string) {
	if !slices.Contains(formats, c.Format) {
		f.bad("format", "is %q, want one of: %s", c.Format, strings.Join(formats, ", "))
	}
	if len(c.Delimiter) != 1 || strings.ContainsAny(c.Delimiter, "\"\r\n") || c.Delimiter[0] >= utf8.RuneSelf {
		f.bad("delimiter", "is %q, want one ASCII character", c.Delimiter)
	} else if c.Delimiter != "," && c.Format != formatCSV {
		f.bad("delimiter", "is for format csv alone")
	}
	if c.MaxLine < 1 {
		f.bad("max_line", "is %d, want a number of bytes", c.MaxLine)
	}
	c.spec().Check(f.bad)
}

// Options tunes what no configuration file says.
type Options struct {
	// Look is how often the directory is looked at without being told of a change; default 1m.
	Look time.Duration
	// End is for mode once, of a data set: the files are read as they are, in the order of their names, and behind the
	// last one is the end. That there is none, or that one lacks a column, is an error.
	End bool
}

// Source is what both modes and standard input have in common.
type Source struct {
	cfg   Config
	table *columns.Table
}

func open(c Config, f []error) (Source, error) {
	if len(f) > 0 {
		return Source{}, fault.New(fault.Permanent, "open file source: %w", errors.Join(f...))
	}
	t, err := columns.New(c.spec())
	return Source{cfg: c, table: t}, err
}

// File is a source of files, in either mode.
type File interface {
	connector.Source
	NextPoll(last time.Time) time.Time
	Parse(raw []byte) connector.Page
}

// Open returns the source of a configuration. It reads nothing yet.
func Open(c Config, o Options) (File, error) {
	faults := c.Validate()
	if o.End {
		faults = c.faults()
	}
	s, err := open(c.WithDefaults(), faults)
	if err != nil {
		return nil, err
	}
	if o.Look == 0 {
		o.Look = time.Minute
	}
	if s.cfg.Path, err = filepath.Abs(s.cfg.Path); err != nil {
		return nil, fault.New(fault.Permanent, "find %s: %w", c.Path, err)
	}
	w := &watch{dir: filepath.Dir(s.cfg.Path), look: o.Look}
	if c.Mode == modeTail {
		return &Tail{Source: s, watch: w}, nil
	}
	return &Once{Source: s, watch: w, seen: map[string]sighting{}, end: o.End}, nil
}

// Traits: a file waits for us.
func (s *Source) Traits() connector.SourceTraits { return connector.SourceTraits{Pausable: true} }

// Schema returns the declared columns. A page may have optional ones behind them.
func (s *Source) Schema() record.Schema { return s.table.Schema() }

// Start is the beginning: the key sorts out what is known.
func (s *Source) Start(uint64) []byte { return nil }

// NextPoll returns when to go on after an outage. Between pages nothing waits but Fetch.
func (s *Source) NextPoll(last time.Time) time.Time { return last.Add(time.Second) }

// Parse reads the raw form of a rejected item again.
func (s *Source) Parse(raw []byte) connector.Page {
	return s.table.One(raw, func(r *columns.Reading) error {
		if s.cfg.Format != formatCSV {
			it, err := columns.ReadItem(raw)
			if err == nil {
				err = r.Add(it)
			}
			return err
		}
		var h header
		sp := s.split(bytes.NewReader(raw), position{})
		if _, _, err := s.fill(r, &h, sp, "the item"); err != nil {
			return err
		}
		return s.finish(r, &h, sp, "the item")
	})
}

// split returns a splitter that goes on behind a position.
func (s *Source) split(in io.Reader, at position) *splitter {
	sp := &splitter{in: in, max: s.cfg.MaxLine, at: at.Offset, no: at.Line}
	if s.cfg.Format == formatCSV {
		sp.comma = s.cfg.Delimiter[0]
	}
	return sp
}

// header is the first line of a csv, once it was read.
type header struct {
	text  string
	names []string
	bad   string // what is wrong with it
}

func (s *Source) readHeader(text []byte) header {
	h := header{text: string(text)}
	var err error
	if h.names, err = s.fields(text); err != nil {
		h.bad = fmt.Sprintf("the header line is no csv: %v", err)
	} else {
		h.bad = columns.Header(h.names)
	}
	return h
}

func (s *Source) fields(text []byte) ([]string, error) {
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma, r.FieldsPerRecord = rune(s.cfg.Delimiter[0]), -1
	return r.Read()
}

// add makes a line a row or a reject; the header of a csv becomes neither.
func (s *Source) add(r *columns.Reading, h *header, ln line, where string) error {
	if ln.first {
		ln.raw = bytes.TrimPrefix(ln.raw, []byte("\uFEFF"))
	}
	text := bytes.TrimSpace(ln.raw)
	if s.cfg.Format == formatCSV {
		text = bytes.TrimRight(ln.raw, "\r\n")
	}
	if len(text) == 0 && ln.bad == "" {
		return nil
	}
	if s.cfg.Format == formatCSV && h.text == "" && ln.bad == "" {
		*h = s.readHeader(append(text, '\n'))
		return nil
	}
	before := len(r.Rejected)
	r.Place = ln.no
	if err := s.addItem(r, h, ln, text); err != nil {
		return err
	}
	for i := before; i < len(r.Rejected); i++ {
		r.Rejected[i].Reason = fmt.Sprintf("line %d of %s: %s", ln.no, where, r.Rejected[i].Reason)
	}
	return nil
}

func (s *Source) addItem(r *columns.Reading, h *header, ln line, text []byte) error {
	switch {
	case ln.bad != "":
		return r.Add(columns.Item{Raw: ln.raw, Err: errors.New(ln.bad)})
	case s.cfg.Format == formatJSONL:
		return r.AddJSON(text, func(err error) error { return fmt.Errorf("it is no JSON: %w", err) })
	}
	return r.Add(s.csvItem(h, ln))
}

func (s *Source) csvItem(h *header, ln line) columns.Item {
	it := columns.Item{Raw: append([]byte(h.text), ln.raw...)}
	fields, err := s.fields(ln.raw)
	switch {
	case h.bad != "":
		it.Err = errors.New(h.bad)
	case err != nil:
		it.Err = fmt.Errorf("it is no csv: %w", err)
	case len(fields) != len(h.names):
		it.Err = fmt.Errorf("it has %d fields, want %d", len(fields), len(h.names))
	default:
		it.Value = columns.Named(h.names, fields)
	}
	return it
}

// page makes a page of what was read.
func page(r *columns.Reading, cursor []byte, notes map[string]int64) (connector.Page, error) {
	rows, err := r.Batch()
	for name, n := range notes {
		r.Notes[name] += n
	}
	return connector.Page{Rows: rows, Rejected: r.Rejected, Notes: r.Notes, Cursor: cursor, More: true}, err
}

// Bounds of a page.
const (
	pageItems = 20_000
	pageBytes = 8 << 20
)

// fill reads lines into r until the page is full or there is none that is whole (drained). It returns
// how many bytes that took.
func (s *Source) fill(r *columns.Reading, h *header, sp *splitter, where string) (n int64, drained bool,
	err error) {
	from := sp.at
	for r.Items < pageItems && sp.at-from < pageBytes {
		ln, ok, err := sp.next()
		if err != nil {
			return sp.at - from, false, fault.New(fault.Transient, "read %s: %w", where, err)
		}
		if !ok {
			return sp.at - from, true, nil
		}
		if err := s.add(r, h, ln, where); err != nil {
			return sp.at - from, false, err
		}
	}
	return sp.at - from, false, nil
}

// finish reads what has no end in something that will not grow.
func (s *Source) finish(r *columns.Reading, h *header, sp *splitter, where string) error {
	for {
		ln, ok, err := sp.next()
		if err == nil && !ok {
			ln, ok = sp.rest()
		}
		if err != nil || !ok {
			return err
		}
		if err := s.add(r, h, ln, where); err != nil {
			return err
		}
	}
}
