// Package journald is the watcher of systemd's journal: it tells each entry once, over restarts, rotation and vacuum.
//
//	from:
//	  journal:
//	    unit: electrs.service
//
// It reads what a child writes, `journalctl -o export --follow`, which dies with its owner (export and not json:
// journalctl writes it three times as fast, and its values are bytes). The child is woken when something was written:
// journald itself tells of it a quarter of a second later (see bell). The position is a cursor and the time of its entry.
// Whether the journal still has that entry is asked before each start: where it has not (systemd#6213: journalctl then
// begins elsewhere and says nothing), it is read on by time, and an EventGap says so. A file of the journal that is
// removed before it was read to its end is an EventGap too: journalctl says nothing of it, so the headers of the files are
// looked at (systemd.io/JOURNAL_FILE_FORMAT); a cursor has the number of its entry. A child that ends is replaced; so is
// one that is silent while the journal, asked by another, has newer entries: it is asked if something was written and the
// child did not wake, and now and then. While nothing comes the cursor moves with the end of the journal when that is
// rotated, so that vacuum does not take it from a quiet unit. What journalctl writes to stderr is an EventNote.
//
// Fields whose names begin with "_" are from journald itself, and no writer can forge them. One is ours: _unit, the unit
// that an entry is of or about, by what journald and systemd say, as `journalctl -u` understands it.
package journald

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/lines"
	"holdfast/connector"
)

// Config is the journal of systemd, or what some units write there, told entry by entry.
type Config struct {
	// Unit is the unit whose entries are told; default all.
	Unit string `yaml:"unit"`
	// Units are several of them.
	Units []string `yaml:"units"`
	// Identifier is the name that a program gives itself (SYSLOG_IDENTIFIER). Anybody can take any.
	Identifier string `yaml:"identifier"`
	// Priority: entries of this one and graver ones: emerg, alert, crit, err, warning, notice, info or debug.
	Priority string `yaml:"priority"`
	// Match are fields that an entry has to have: {_TRANSPORT: kernel}.
	Match map[string]string `yaml:"match"`
	// Keep are names of fields that are told beside the usual ones.
	Keep []string `yaml:"keep"`
	// Directory of the journal; default that of this machine.
	Directory string `yaml:"directory"`
	// Namespace of the journal, as LogNamespace of a unit has it; default none.
	Namespace string `yaml:"namespace"`
	// MaxLine is how many bytes are told of a message; default 65536.
	MaxLine int `yaml:"max_line"`
	// Join says which entries belong together; each process is a stream of its own.
	Join *lines.Config `yaml:"join"`
	// Watchdog is how long the child is silent until it is asked whether it misses something; default 1m.
	Watchdog time.Duration `yaml:"watchdog"`

	// Since is where it begins without a position: "now" (default), "boot", or a time (RFC 3339).
	Since string `yaml:"-"`
	// Command is journalctl, by its absolute path; default /usr/bin/journalctl.
	Command string `yaml:"-"`
}

// fields are the fields that are told of an entry that has them.
var fields = []string{"PRIORITY", "SYSLOG_IDENTIFIER", "SYSLOG_FACILITY", "MESSAGE_ID", "UNIT", "USER_UNIT", "OBJECT_SYSTEMD_UNIT",
	"COREDUMP_UNIT", "INVOCATION_ID", "JOB_TYPE", "JOB_RESULT", "EXIT_CODE", "EXIT_STATUS", "UNIT_RESULT", "_SYSTEMD_UNIT",
	"_SYSTEMD_USER_UNIT", "_SYSTEMD_INVOCATION_ID", "_SYSTEMD_CGROUP", "_PID", "_UID", "_GID", "_COMM", "_EXE", "_TRANSPORT", "_STREAM_ID", "_BOOT_ID",
	"_HOSTNAME"}

var (
	unitName  = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]{1,255}$`)
	fieldName = regexp.MustCompile(`^[A-Z_][A-Z0-9_]{0,63}$`)
	wordName  = regexp.MustCompile(`^[^\x00-\x1f\x7f-\x9f]{1,255}$`)
)

var priorities = []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

const maxLineLimit = 16 << 20

// Validate returns all faults at once, each beginning with the name of its key.
func (c Config) Validate() (faults []error) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, u := range c.units() {
		if !unitName.MatchString(u) || !strings.Contains(u, ".") {
			bad("unit: %q is no name of a unit, such as electrs.service", u)
		}
	}
	for key, word := range map[string]string{"identifier": c.Identifier, "namespace": c.Namespace} {
		if word != "" && !wordName.MatchString(word) {
			bad("%s: %q has control characters, or is too long", key, word)
		}
	}
	if c.Priority != "" && !slices.Contains(priorities, c.Priority) {
		bad("priority: is %q, want one of %s", c.Priority, strings.Join(priorities, ", "))
	}
	for name, value := range c.Match {
		if !fieldName.MatchString(name) {
			bad("match: %q is no name of a field, such as _TRANSPORT", name)
		}
		if strings.ContainsRune(value, 0) {
			bad("match: the value of %s has a zero byte", name)
		}
	}
	for _, name := range c.Keep {
		if !fieldName.MatchString(name) {
			bad("keep: %q is no name of a field, such as CODE_FILE", name)
		}
	}
	if c.Directory != "" && (!filepath.IsAbs(c.Directory) || strings.ContainsRune(c.Directory, 0)) {
		bad("directory: is %q, want an absolute path", c.Directory)
	}
	if c.MaxLine < 0 || c.MaxLine > maxLineLimit {
		bad("max_line: is %d, want 1 to %d", c.MaxLine, maxLineLimit)
	}
	if c.Join != nil {
		for _, err := range c.Join.Validate() {
			bad("join.%w", err)
		}
	}
	if c.Watchdog < 0 || c.Watchdog > 0 && c.Watchdog < 100*time.Millisecond {
		bad("watchdog: is %v, want at least 100ms", c.Watchdog)
	}
	if _, err := c.since(); err != nil {
		faults = append(faults, err)
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return faults
}

func (c Config) units() []string {
	if c.Unit != "" {
		return append([]string{c.Unit}, c.Units...)
	}
	return c.Units
}

// since is the time to begin at; the zero one for now and boot.
func (c Config) since() (time.Time, error) {
	switch c.Since {
	case "", "now", "boot":
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, c.Since)
	if err != nil || at.Unix() <= 0 {
		return at, fmt.Errorf("since: is %q, want now, boot, or a time such as 2026-01-31T12:00:00Z", c.Since)
	}
	return at, nil
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	if c.MaxLine == 0 {
		c.MaxLine = lines.DefaultMax
	}
	if c.Watchdog == 0 {
		c.Watchdog = time.Minute
	}
	if c.Command == "" {
		c.Command = "/usr/bin/journalctl"
	}
	return c
}

// journal are the arguments that say which journal is read. Without --merge, --follow reads no boot but the last, and what was
// written before it would be missed; with it, what was gathered of other machines is read too, unless a match keeps it out.
func (c Config) journal() []string {
	args := []string{"--output=export", "--all", "--quiet", "--no-pager", "--merge"}
	if c.Directory != "" {
		args = append(args, "--directory="+c.Directory)
	} else if id, err := os.ReadFile("/etc/machine-id"); err == nil {
		args = append(args, "_MACHINE_ID="+strings.TrimSpace(string(id)))
	}
	if c.Namespace != "" {
		args = append(args, "--namespace="+c.Namespace)
	}
	return args
}

// filter are the arguments that say which entries are read.
func (c Config) filter() (args []string) {
	for _, u := range c.units() {
		args = append(args, "--unit="+u)
	}
	if c.Identifier != "" {
		args = append(args, "--identifier="+c.Identifier)
	}
	if c.Priority != "" {
		args = append(args, "--priority="+c.Priority)
	}
	for name, value := range c.Match {
		args = append(args, name+"="+value)
	}
	slices.Sort(args)
	return args
}

// output is the argument that says which fields are read.
func (c Config) output() string {
	return "--output-fields=" + strings.Join(slices.Concat([]string{"MESSAGE"}, fields, c.Keep), ",")
}

// Journal is the watcher of a journal.
type Journal struct {
	cfg   Config
	bells *Bells
}

var _ connector.Watcher = (*Journal)(nil)

// New returns a watcher that is woken by itself. It does not look at the journal yet.
func New(c Config) (*Journal, error) { return new(Bells).New(c) }

// New returns a watcher that is woken with the others of these bells. It does not look at the journal yet.
func (x *Bells) New(c Config) (*Journal, error) {
	if f := c.Validate(); len(f) > 0 {
		return nil, fault.New(fault.Permanent, "watch the journal: %w", errors.Join(f...))
	}
	return &Journal{c.WithDefaults(), x}, nil
}

// Watch tells the entries behind a position, as connector.Watcher says.
func (j *Journal) Watch(ctx context.Context, after []byte, tell func(context.Context, connector.Seen) error) error {
	at, err := readPlace(after)
	if err != nil {
		return err
	}
	f := newFollower(j.cfg, at, tell)
	f.bells = j.bells
	if err := f.run(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}
