// Package files is the sink that writes rows into files of a directory: Parquet or JSONL, one file a
// delivery.
//
// The shortest configuration:
//
//	sinks:
//	  archive: {files: {path: archive, format: parquet}, batch: {rows: 1000000, every: 1h}}
//
// Promise: exactly once. A delivery's bounds, content and token are durable before its first attempt,
// and its file is named by the token: it is written under a temporary name, fsynced, renamed, and the
// directory is fsynced. So a file is whole or it is not there, and a repeat of the token finds it by its
// name and has no effect. How large files are, and how long rows wait for company, is what the sink's
// `batch` says of every sink; there is no second place that cuts them.
//
// After a restore the keys of a delivery are compared with those of every file whose range of keys
// overlaps its own. The directory is one table: jobs that share it share its keys. Rows without a key
// can't be compared; for them the token stands alone.
//
// What it does not do: it never changes or removes a file that has its name, and never joins files. A
// file that a person takes away is not written again, except by a replay. Files with names of other
// making are left alone and not read.
//
// The bytes. A file's name is
//
//	[DAY.]JOB.LINEAGE.FIRST-LAST[.rFROM-TO][.kLOW-HIGH].HASH[.pN].EXTENSION
//
// DAY is that of the first event time, in UTC; LOW to HIGH spans the keys of the delivery (of text keys,
// .t and their first eight bytes as a number), HASH is the first half of the token's; pN is a file with
// what one of the same name had lost. JSONL has one object a line, in the order of the columns: integers
// to their last digit, times as RFC 3339 in UTC, bytes as base64, null as null. A row that it can't say (a
// number that is not finite, text that is not UTF-8) is a RowFault, as is a time before year 1 or after
// 9999 in either format. A Parquet file holds the Arrow schema and, as holdfast.token, the token.
package files

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// Config is a directory of files of rows, one a delivery, which any program reads and none finds half written.
type Config struct {
	// Path is the directory; below the data directory if it is relative. It is made where it is missing.
	Path string `yaml:"path" jsonschema:"required"`
	// Format of the files.
	Format string `yaml:"format" jsonschema:"required,enum=parquet,enum=jsonl"`
	// Compression of the files; snappy is for parquet alone. Without it parquet has zstd, and jsonl none.
	Compression string `yaml:"compression" jsonschema:"enum=none,enum=gzip,enum=zstd,enum=snappy"`
	// Create makes a directory that is missing; default true. With false that is an error, and may be a disk that is not
	// mounted.
	Create *bool `yaml:"create"`
}

const (
	formatParquet = "parquet"
	formatJSONL   = "jsonl"

	packNone   = "none"
	packGzip   = "gzip"
	packZstd   = "zstd"
	packSnappy = "snappy"
)

// packings are the compressions of each format, the default first.
var packings = map[string][]string{
	formatParquet: {packZstd, packGzip, packSnappy, packNone},
	formatJSONL:   {packNone, packGzip, packZstd},
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	if all := packings[c.Format]; c.Compression == "" && len(all) > 0 {
		c.Compression = all[0]
	}
	if c.Create == nil {
		yes := true
		c.Create = &yes
	}
	return c
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c Config) Validate() []error {
	c = c.WithDefaults()
	var errs []error
	if c.Path == "" {
		errs = append(errs, fmt.Errorf("path: missing; give the directory"))
	}
	all, ok := packings[c.Format]
	switch {
	case c.Format == "":
		errs = append(errs, fmt.Errorf("format: missing; want parquet or jsonl"))
	case !ok:
		errs = append(errs, fmt.Errorf("format: want parquet or jsonl, got %q", c.Format))
	case !slices.Contains(all, c.Compression):
		errs = append(errs, fmt.Errorf("compression: want one of %s for %s, got %q",
			strings.Join(all, ", "), c.Format, c.Compression))
	}
	return errs
}

// extension is what names of files end in, without the dot.
func (c Config) extension() string {
	if c.Format == formatParquet {
		return extParquet
	}
	return map[string]string{packNone: extJSONL, packGzip: extGzip, packZstd: extZstd}[c.Compression]
}

// Sink writes into one directory.
type Sink struct {
	cfg Config
	dir string // absolute

	turn *connector.Turn  // who has it may write
	held map[bounds]entry // files by what they hold; nil until they are listed; guarded by turn

	mu     sync.Mutex // guards what follows; held for a moment only
	schema record.Schema
	// need is how much free space a probe wants to see after the disk was full.
	need uint64

	// broken, if not nil, is asked at each stage of a write and may fail it. Tests only.
	broken func(s stage, bytes int) error
}

// stage is a place in a write at which a test can break it.
type stage uint8

const (
	atBegin     stage = iota // before anything
	midFile                  // before so many bytes go to the file
	afterRename              // the answer is lost
)

var _ connector.Sink = (*Sink)(nil)

// New returns a sink. It touches nothing before Prepare or Probe.
func New(cfg Config) (*Sink, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.As(fault.Permanent, errs[0])
	}
	dir, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fault.New(fault.Permanent, "find directory %s: %w", cfg.Path, err)
	}
	return &Sink{cfg: cfg.WithDefaults(), dir: dir, turn: connector.NewTurn("directory " + dir)}, nil
}

// Traits says that repeats have no effect, and that a delivery may have any size.
func (s *Sink) Traits() connector.SinkTraits {
	return connector.SinkTraits{Exactness: connector.ExactlyOnce}
}

// Prepare creates the directory, removes what a process that died left half written, and proves that a
// file can be written.
func (s *Sink) Prepare(ctx context.Context, schema record.Schema) error {
	return s.alone(ctx, func() error { return s.prepare(schema) })
}

func (s *Sink) prepare(schema record.Schema) error {
	for _, f := range schema.Fields() {
		if !storable(f.Type) {
			return fault.New(fault.Permanent, "prepare directory %s: column %s is %s, which this sink "+
				"can't store", s.dir, f.Name, f.Type)
		}
	}
	if err := s.at(atBegin, 0); err != nil {
		return err
	}
	if err := s.makeDir(); err != nil {
		return err
	}
	if err := s.sweep(); err != nil {
		return s.classify("clean up", err)
	}
	if err := s.tryWrite(); err != nil {
		return s.classify("write to", err)
	}
	names, err := s.list()
	if err != nil {
		return err
	}
	s.held = make(map[bounds]entry, len(names))
	for _, n := range names {
		s.hold(n)
	}
	s.mu.Lock()
	s.schema = schema
	s.mu.Unlock()
	return nil
}

// makeDir creates the directory unless that is left to a person.
func (s *Sink) makeDir() error {
	info, err := os.Stat(s.dir)
	switch {
	case err == nil && !info.IsDir():
		return fault.WithHint(fault.New(fault.Permanent, "prepare directory %s: it is a file", s.dir),
			"give a directory")
	case err == nil:
		return nil
	case os.IsNotExist(err) && !*s.cfg.Create:
		return fault.WithHint(fault.New(fault.Permanent,
			"prepare directory %s: there is none, and create is false", s.dir),
			"mount or create it, or set create: true")
	case os.IsNotExist(err):
		err = disk.MkdirAll(s.dir, 0o755)
	}
	return s.classify("create", err)
}

// list returns the files of the directory that are ours.
func (s *Sink) list() ([]name, error) {
	d, err := os.Open(s.dir)
	if err != nil {
		return nil, s.classify("list", err)
	}
	defer d.Close()
	var out []name
	for {
		batch, err := d.Readdirnames(4096)
		for _, text := range batch {
			if n, ok := parseName(text); ok {
				out = append(out, n)
			}
		}
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, s.classify("list", err)
		}
	}
}

// alone runs f while nobody else of this process writes through this sink.
func (s *Sink) alone(ctx context.Context, f func() error) error {
	if err := s.turn.Take(ctx); err != nil {
		return err
	}
	defer s.turn.Give()
	return f()
}

// at lets a test break a write.
func (s *Sink) at(st stage, bytes int) error {
	if s.broken == nil {
		return nil
	}
	return s.broken(st, bytes)
}

// Close waits for a write that is under way.
func (s *Sink) Close() error {
	s.turn.Close(func() {})
	return nil
}

// storable reports whether both formats can hold values of a type.
func storable(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16, arrow.UINT32,
		arrow.UINT64, arrow.FLOAT32, arrow.FLOAT64, arrow.BOOL, arrow.STRING, arrow.LARGE_STRING,
		arrow.BINARY, arrow.TIMESTAMP:
		return true
	}
	return false
}
