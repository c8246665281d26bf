package app

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/strictyaml"
	"holdfast/connector"
	"holdfast/connector/postgres"
	"holdfast/connector/shipment"
	"holdfast/connector/sqlite"
	filetree "holdfast/connector/tree"
	"holdfast/job/transfer"
	"holdfast/kernel/engine"
)

// TransferKind is the kind of job.
const TransferKind = "transfer"

// transferConfig is a directory whose files are brought to other places: each once, checked, packed, verified and recorded.
type transferConfig struct {
	// From is the directory whose files are transferred, an absolute path.
	From string `yaml:"from"`
	// To is where they go: [user@]host:directory or a directory, or several destinations by names of your own, each such a
	// word or a mapping whose one key is its kind.
	To namedDestinations `yaml:"to"`
	// Patterns of the names of files; default all.
	Patterns []string `yaml:"patterns"`
	// Ignore are patterns of temporary names; default hidden ones, and those that programs give to what is not finished.
	Ignore []string `yaml:"ignore"`
	// Patience is how long a file that nobody closed must be unchanged; default 2s.
	Patience time.Duration `yaml:"patience"`
	// Overdue is for how long a FITS file may be unchanged and incomplete; default 5m.
	Overdue time.Duration `yaml:"overdue"`
	// Poll looks at the directory again and again, where the kernel does not tell of changes; default false: it is found out by
	// itself.
	Poll bool `yaml:"poll"`
	// Backfill is the scan that looks for what was missed.
	Backfill backfill `yaml:"backfill"`
	// Workers is how many files are worked on at once; default 4.
	Workers int `yaml:"workers"`
	// Attempts is how often a file is tried that fails by itself; default 5.
	Attempts int `yaml:"attempts"`
	// Ledger is the record of what was transferred: one of postgres, sqlite and none; default transfers.sqlite in the data
	// directory.
	Ledger ledgerConfig `yaml:"ledger"`
	// HeaderCard is the card of a FITS file that has its time; default the time of the file.
	HeaderCard string `yaml:"header_card"`
	// Layout is the directory that a time makes, in the words of Go's package time; default 2006/01/02. With keep it is the
	// directory that the file has below from.
	Layout string `yaml:"layout"`
	// MetadataRegex finds values of further columns of the ledger in the name of a file, by its named groups.
	MetadataRegex string `yaml:"metadata_regex"`
	// Pack is how FITS files are packed.
	Pack pack `yaml:"pack"`
	// Bad is what becomes of a FITS file that is not whole: it is a dead letter, or is shipped all the same; default dead.
	Bad string `yaml:"bad" jsonschema:"enum=dead,enum=ship"`
	// After is what becomes of an original that is everywhere: it is kept, replaced by its packed form, or deleted; default keep.
	After string `yaml:"after" jsonschema:"enum=keep,enum=replace,enum=delete"`
	// OverwriteUnpacked has originals replaced by their packed form that were brought before, and are still there unpacked;
	// default none are.
	OverwriteUnpacked *age `yaml:"overwrite_unpacked"`
	// CopyTimeout is how long a file may be under way, at least; default 1m. A large one has as long as it takes at slowest.
	CopyTimeout time.Duration `yaml:"copy_timeout"`
	// Slowest is what must go out in a second of a large file; default 1MiB.
	Slowest Bytes `yaml:"slowest"`
	// Limit is what may go out over the network, to all destinations together: a rate, such as 20MB a second, or times of day
	// with the rates that hold from them on, such as "08:00,2MB 18:00,off"; default off.
	Limit string `yaml:"limit"`
	// KeepRecords is how long the record of a file stays that is done or given up, and stands no longer; default 90d.
	KeepRecords time.Duration `yaml:"keep_records"`
	// Canary is the time between two looks at destinations and ledger; default none while all is well.
	Canary time.Duration `yaml:"canary"`

	once  bool // one scan, and what it found
	limit transfer.Limit
}

// backfill is the scan that looks for what was missed.
type backfill struct {
	// Every is the time between two scans; default none but that at the start.
	Every time.Duration `yaml:"every"`
	// Within is how old a file may be; default any age.
	Within time.Duration `yaml:"within"`
	// Recency is how old it must be; default any age.
	Recency time.Duration `yaml:"recency"`
}

// age bounds how old a file is.
type age struct {
	// Within is how old it may be; default any age.
	Within time.Duration `yaml:"within"`
	// Recency is how old it must be; default any age.
	Recency time.Duration `yaml:"recency"`
}

// pack says how FITS files are packed.
type pack struct {
	// By is what packs; with none they go as they are; default fpack.
	By string `yaml:"by" jsonschema:"enum=fpack,enum=none"`
	// Name is what the packed form is called that takes the place of an original: packed is X.fits.fz, same the name of
	// the original; default packed.
	Name string `yaml:"name" jsonschema:"enum=packed,enum=same"`
}

// ledgerConfig is the record of what was transferred.
type ledgerConfig struct {
	// Postgres is a table of a PostgreSQL server: rawtransfer's own.
	Postgres *postgres.LedgerConfig `yaml:"postgres"`
	// SQLite is a table of a file.
	SQLite *sqlite.LedgerConfig `yaml:"sqlite"`
	// None keeps none: what was done is in the job's store alone; default false.
	None bool `yaml:"none"`
}

// transfersFile is the default ledger, in the data directory.
const transfersFile = "transfers.sqlite"

// defaultLayout is one directory a day.
const defaultLayout = "2006/01/02"

// keepWord is the layout that keeps the directories of the files.
const keepWord = "keep"

func (c *transferConfig) check(d *decoder, n ast.Node, path string) {
	bad := func(key, format string, args ...any) {
		d.Bad(d.at(n, key), strictyaml.Join(path, key), format, args...)
	}
	c.checkEnds(d, n, path)
	c.Layout = orElse(c.Layout, defaultLayout)
	if c.Layout != keepWord {
		at := time.Date(2023, 9, 19, 1, 2, 3, 0, time.UTC).Format(c.Layout)
		if err := connector.CheckName(at); err != nil {
			bad("layout", "%v", err)
		} else if at == c.Layout {
			bad("layout", "%q does not depend on the time; want words such as 2006/01/02, or %s", c.Layout, keepWord)
		}
	}
	if re, err := regexp.Compile(c.MetadataRegex); err != nil {
		bad("metadata_regex", "%v", err)
	} else if err := shipment.CheckMeta(slices.DeleteFunc(slices.Clone(re.SubexpNames()), func(name string) bool { return name == "" })); err != nil {
		bad("metadata_regex", "%v", err)
	}
	limit, err := parseLimit(c.Limit)
	if c.limit = limit; err != nil {
		bad("limit", "%v", err)
	}
	c.checkWords(d, n, path)
	for _, x := range []struct {
		key   string
		value int64
	}{{"workers", int64(c.Workers)}, {"attempts", int64(c.Attempts)}, {"copy_timeout", int64(c.CopyTimeout)},
		{"canary", int64(c.Canary)}} {
		if x.value < 0 {
			bad(x.key, "want a number from 1, got %d", x.value)
		}
	}
	if c.KeepRecords < 0 {
		bad("keep_records", "want a time such as 90d, got %v", c.KeepRecords)
	}
	c.checkLedger(d, n, path)
}

// checkEnds looks at where files come from and where they go.
func (c *transferConfig) checkEnds(d *decoder, n ast.Node, path string) {
	bad := func(key, format string, args ...any) {
		d.Bad(d.at(n, key), strictyaml.Join(path, key), format, args...)
	}
	if c.From == "" {
		d.Bad(n, path, "from is missing")
	}
	if len(c.To) == 0 {
		d.Bad(n, path, "to is missing")
	}
	if c.From != "" && !filepath.IsAbs(c.From) {
		bad("from", "want an absolute path, got %q", c.From)
	}
	for i, t := range c.To {
		if j := slices.IndexFunc(c.To[:i], func(o destination) bool { return o.root == t.root }); j >= 0 {
			bad("to", "%s and %s are the same place", c.To[j].name, t.name)
		}
	}
	for _, t := range c.To {
		if t.local && filepath.IsAbs(t.path) && filepath.IsAbs(c.From) && disk.Overlap(c.From, t.path) {
			bad("to", "%s and %s are one within the other: what was brought would be found as new, and deleted as brought", t.path, c.From)
		}
	}
	if c.From != "" && filepath.IsAbs(c.From) {
		for _, err := range c.files(nil).Validate() {
			d.Bad(n, path, "%v", err)
		}
	}
}

// checkWords looks at what is said in one of a few words, and whether they go together.
func (c *transferConfig) checkWords(d *decoder, n ast.Node, path string) {
	bad := func(key, format string, args ...any) {
		d.Bad(d.at(n, key), strictyaml.Join(path, key), format, args...)
	}
	word := func(key, value string, words ...string) {
		if value != "" && !slices.Contains(words, value) {
			bad(key, "want %s, got %q", strings.Join(words, " or "), value)
		}
	}
	if o := c.OverwriteUnpacked; o != nil && (o.Within < 0 || o.Recency < 0) {
		bad("overwrite_unpacked", "want times that are not below 0")
	} else if o != nil && c.Pack.By == "none" {
		bad("overwrite_unpacked", "needs a packed form, and pack.by is none")
	}
	word("bad", c.Bad, "dead", "ship")
	word("after", c.After, string(transfer.Keep), string(transfer.Replace), string(transfer.Remove))
	if p := c.Pack; p.By != "" && p.By != "fpack" && p.By != "none" {
		d.Bad(d.at(n, "pack", "by"), strictyaml.Join(path, "pack.by"), "want fpack or none, got %q", p.By)
	}
	if p := c.Pack; p.Name != "" && p.Name != "packed" && p.Name != "same" {
		d.Bad(d.at(n, "pack", "name"), strictyaml.Join(path, "pack.name"), "want packed or same, got %q", p.Name)
	}
	if c.After == string(transfer.Replace) && c.Pack.By == "none" {
		bad("after", "replace needs a packed form, and pack.by is none")
	}
}

func (c *transferConfig) checkLedger(d *decoder, n ast.Node, path string) {
	l := c.Ledger
	if given := count(l.Postgres != nil, l.SQLite != nil, l.None); given > 1 {
		d.Bad(d.at(n, "ledger"), strictyaml.Join(path, "ledger"), "want one of postgres, sqlite, none")
	}
	const someone = "the store, once it is open"
	if l.Postgres != nil {
		cfg := *l.Postgres
		cfg.Owner = someone
		for _, err := range cfg.Validate() {
			d.Bad(d.at(n, "ledger", "postgres"), strictyaml.Join(path, "ledger.postgres"), "%v", err)
		}
	}
	if l.SQLite != nil {
		cfg := *l.SQLite
		cfg.Owner = someone
		for _, err := range cfg.Validate() {
			d.Bad(d.at(n, "ledger", "sqlite"), strictyaml.Join(path, "ledger.sqlite"), "%v", err)
		}
	}
}

func count(all ...bool) (n int) {
	for _, yes := range all {
		if yes {
			n++
		}
	}
	return n
}

// files is how files are found.
func (c *transferConfig) files(complete func(string) (bool, error)) filetree.Config {
	return filetree.Config{Root: c.From, Patterns: c.Patterns, Ignore: c.Ignore, Patience: c.Patience, Overdue: c.Overdue, Poll: c.Poll,
		ScanEvery: c.Backfill.Every, Within: c.Backfill.Within, Recency: c.Backfill.Recency, Complete: complete}
}

// Spec declares the job to the engine.
func (c *transferConfig) spec(p *Plan, job Job) engine.Spec {
	return engine.Spec{Name: job.Name, Kind: job.Kind, Config: job.Text, Once: c.once,
		New: func(_ context.Context, env engine.Env) (engine.Job, error) {
			return c.build(p, env, opening{dataDir: p.Place.Dir, jobDir: env.Dir, log: env.Log})
		}}
}

func (c *transferConfig) build(p *Plan, env engine.Env, o opening) (made engine.Job, err error) {
	var open opens
	defer func() {
		if err != nil {
			err = errors.Join(err, open.close())
		}
	}()
	for _, t := range c.To {
		if to := below(o.dataDir, t.path); t.local && disk.Overlap(c.From, to) {
			return nil, fault.New(fault.Permanent, "the destination %s and the source %s are one within the other", to, c.From)
		}
	}
	found, err := filetree.New(c.files(transfer.Complete))
	if err != nil {
		return nil, err
	}
	find := finder{found, c.Backfill, new(atomic.Pointer[filetree.Pass])}
	p.passes.Store(env.Name, find.last)
	cfg := transfer.Config{Root: c.From, Find: find, Workers: c.Workers, Attempts: c.Attempts,
		ShipBad: c.Bad == "ship", Place: transfer.Placer{Card: c.HeaderCard}, After: transfer.After(c.After),
		CopyTimeout: c.CopyTimeout, Slowest: int64(c.Slowest), Canary: c.Canary, KeepRecords: c.KeepRecords, Once: c.once, Limit: c.limit}
	if o := c.OverwriteUnpacked; o != nil {
		cfg.Overwrite = &transfer.Age{Within: o.Within, Recency: o.Recency}
	}
	if c.Layout != keepWord {
		cfg.Place.Layout = c.Layout
	}
	cfg.Meta, cfg.Pack = c.meta(), c.packer()
	if cfg.Destinations, err = c.To.open(o, &open); err != nil {
		return nil, err
	}
	if cfg.Ledger, err = c.openLedger(env.Store.Lineage().String(), o); err != nil {
		return nil, err
	}
	if cfg.Ledger != nil {
		open = append(open, cfg.Ledger)
	}
	job, err := transfer.New(env, cfg)
	if err != nil {
		return nil, err
	}
	return with{Job: job, open: open}, nil
}

// asItIs has the ledger make no file and no table.
func (l ledgerConfig) asItIs() ledgerConfig {
	no := false
	switch {
	case l.Postgres != nil:
		cfg := *l.Postgres
		cfg.Create, cfg.Extra = false, &no
		l.Postgres = &cfg
	case l.SQLite != nil:
		cfg := *l.SQLite
		cfg.Create = &no
		l.SQLite = &cfg
	case !l.None:
		l.SQLite = &sqlite.LedgerConfig{Path: transfersFile, Create: &no}
	}
	return l
}

// openLedger opens the ledger for an owner, which for a job is its store: that stays the same through restarts. nil for none.
func (c *transferConfig) openLedger(owner string, o opening) (connector.Ledger, error) {
	switch l := c.Ledger; {
	case l.None:
		return nil, nil
	case l.Postgres != nil:
		cfg := *l.Postgres
		cfg.Owner = owner
		return postgres.OpenLedger(cfg)
	case l.SQLite != nil:
		cfg := *l.SQLite
		cfg.Path, cfg.Owner = below(o.dataDir, cfg.Path), owner
		return sqlite.OpenLedger(cfg)
	}
	return sqlite.OpenLedger(sqlite.LedgerConfig{Path: filepath.Join(o.dataDir, transfersFile), Owner: owner})
}

// meta is what finds values of further columns of the ledger in names; nil for nothing.
func (c *transferConfig) meta() *regexp.Regexp {
	if c.MetadataRegex == "" {
		return nil
	}
	return regexp.MustCompile(c.MetadataRegex)
}

// packer makes packed forms; nil for none.
func (c *transferConfig) packer() *transfer.Packer {
	if c.Pack.By == "none" {
		return nil
	}
	p := transfer.FPack()
	p.SameName = c.Pack.Name == "same"
	return p
}

// needs are programs of this machine that the job runs, and that are not there.
func (c *transferConfig) needs() error {
	if c.Pack.By == "none" {
		return nil
	}
	for _, name := range []string{"fpack", "funpack"} {
		if _, err := exec.LookPath(name); err != nil {
			return fault.NewUsage("install it: apt-get install libcfitsio-bin; or ship files as they are: pack: {by: none}",
				"FITS files are to be packed, and there is no %s", name)
		}
	}
	return nil
}
