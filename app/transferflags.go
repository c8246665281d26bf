package app

import (
	"log/slog"
	"time"

	"github.com/goccy/go-yaml"

	"holdfast/app/datadir"
	"holdfast/base/fault"
	"holdfast/connector/sftp"
)

// TransferFlags are the flags of `holdfast transfer`: those of rawtransfer, and some of ours. What is empty has a default.
type TransferFlags struct {
	From, To string

	Patterns                      []string
	MetadataRegex, HeaderCard     string
	DBHost, DBUser, DBName        string
	DBPort                        int
	DBTable                       string
	CopyTimeout, Canary, Patience time.Duration
	Workers                       int
	Poll                          bool

	BackfillOnly    bool
	BackfillEvery   time.Duration
	BackfillWithin  time.Duration
	BackfillRecency time.Duration

	OverwriteEvery                    time.Duration // 0 for never
	OverwriteWithin, OverwriteRecency time.Duration

	Pack       string // fpack or none
	PackedName string // packed or same
	After      string
	NoLedger   bool

	Limit           string
	SlackURL        string
	DataDir, Listen string
}

// slackURL is the variable that stands for the address at which people are told.
const slackURL = "HOLDFAST_SLACK_WEBHOOK_URL"

// Transfer makes a plan of the command line: one job as a configuration file would have it.
func Transfer(f TransferFlags, env func(string) (string, bool), log *slog.Logger) (*Plan, error) {
	if f.BackfillOnly && f.OverwriteEvery > 0 {
		log.Warn("--overwrite-unpacked-interval means nothing with --backfill-only: originals stay as they are")
		f.OverwriteEvery = 0
	}
	place, err := datadir.Locate(f.DataDir, "transfer")
	if err != nil {
		return nil, err
	}
	to := f.To
	if _, remote := sftp.ParseRemote(to); !remote {
		to = absolute(to)
	}
	job := append(some("from", absolute(f.From), "to", to, "header_card", f.HeaderCard, "metadata_regex", f.MetadataRegex,
		"copy_timeout", f.CopyTimeout, "canary", f.Canary, "patience", f.Patience, "workers", f.Workers, "poll", f.Poll,
		"limit", f.Limit, "after", f.after()),
		yaml.MapItem{Key: "backfill", Value: some("every", f.scanEvery(), "within", f.BackfillWithin, "recency", f.BackfillRecency)},
		yaml.MapItem{Key: "pack", Value: some("by", f.Pack, "name", f.PackedName)})
	if len(f.Patterns) > 0 {
		job = append(job, yaml.MapItem{Key: "patterns", Value: f.Patterns})
	}
	if f.OverwriteEvery > 0 {
		job = append(job, yaml.MapItem{Key: "overwrite_unpacked", Value: some("within", f.OverwriteWithin, "recency",
			f.OverwriteRecency)})
	}
	ledger, err := f.ledger()
	if err != nil {
		return nil, err
	}
	if ledger != nil {
		job = append(job, yaml.MapItem{Key: "ledger", Value: ledger})
	}
	whole := tree{{Key: "jobs", Value: tree{{Key: "transfer", Value: tree{{Key: "transfer", Value: job}}}}}}
	if f.SlackURL != "" {
		whole = append(whole, yaml.MapItem{Key: "notify", Value: tree{{Key: "slack", Value: "${" + slackURL + "}"}}})
	}
	text, err := yaml.Marshal(whole)
	if err != nil {
		return nil, err
	}
	c, err := Parse("command line", text, func(name string) (string, bool) {
		if name == slackURL && f.SlackURL != "" {
			return f.SlackURL, true
		}
		return env(name)
	})
	if err != nil {
		return nil, byFlags(err)
	}
	p, err := c.PlanAt(place, orElse(f.Listen, NoListen), log)
	if err != nil {
		return nil, err
	}
	p.config, p.Once = nil, f.BackfillOnly
	if p.Once {
		p.Jobs[0].EndWhenDone()
	}
	return p, nil
}

// scanEvery is the time between two scans: one finds what was missed, and originals that are still unpacked.
func (f TransferFlags) scanEvery() time.Duration {
	if f.OverwriteEvery > 0 && (f.BackfillEvery == 0 || f.OverwriteEvery < f.BackfillEvery) {
		return f.OverwriteEvery
	}
	return f.BackfillEvery
}

// after is what becomes of originals: as with rawtransfer, they are replaced while the directory is watched, and stay as they are
// in one pass.
func (f TransferFlags) after() string {
	switch {
	case f.After != "":
		return f.After
	case f.BackfillOnly || f.Pack == "none":
		return "keep"
	}
	return "replace"
}

func (f TransferFlags) ledger() (tree, error) {
	given := f.DBHost != "" || f.DBName != "" || f.DBUser != "" || f.DBPort != 0
	switch {
	case f.NoLedger && given:
		return nil, fault.NewUsage("", "--no-ledger and --db-host: want one of them")
	case f.NoLedger:
		return some("none", true), nil
	case given && f.DBName == "":
		return nil, fault.NewUsage("name the database with --db-name, or leave the others out for a ledger in the data directory",
			"--db-name is missing")
	case given:
		return tree{{Key: "postgres", Value: some("host", f.DBHost, "user", f.DBUser, "name", f.DBName, "port", f.DBPort, "table", f.DBTable)}}, nil
	case f.DBTable != "":
		return tree{{Key: "sqlite", Value: some("path", transfersFile, "table", f.DBTable)}}, nil
	}
	return nil, nil
}
