package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/base/fault"
)

// transferFlags are the flags of rawtransfer that are numbers of seconds or hours.
type transferFlags struct {
	app.TransferFlags
	unpackedEvery, unpackedHours, unpackedRecency float64
	copyTimeout, canary, patience                 float64
	backfillEvery, backfillHours, recency         float64
	maxWait                                       time.Duration
	controlMaster                                 bool
	bar                                           *bar // where there is a terminal, of one pass
	log                                           logFlags
}

// transferJob is the name of the job of a command line.
const transferJob = "transfer"

// transferCommand takes the place of raw-transfer.
func (f *face) transferCommand() *cobra.Command {
	t := new(transferFlags)
	c := &cobra.Command{
		Use:   "transfer SOURCE [USER@]HOST:DIRECTORY | DIRECTORY",
		Short: "Bring every file of a directory elsewhere, checked and recorded",
		Long: "Watch a directory, and bring every file that appears there to another machine\n" +
			"(or directory): checked, packed, verified at its place and recorded, once. The\n" +
			"flags are those of rawtransfer, and mean the same.",
		Example: "  holdfast transfer /data goto@gateway:/export/raw --patterns \"t?_r*_ut?.fits\"\n" +
			"  holdfast transfer /data /mnt/archive --backfill-only --backfill-hours 24",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			t.From, t.To = args[0], args[1]
			if t.BackfillOnly && f.tty {
				t.bar = &bar{to: f.err}
				f.err = t.bar
			}
			return f.withLog(t.log, true, func(log *slog.Logger) error { return f.transfer(cmd, t, log) })
		},
	}
	c.Flags().SortFlags = false
	t.add(c)
	f.processFlags(c, &t.log)
	fs := c.Flags()
	fs.Lookup("verbose").NoOptDefVal = "2" // rawtransfer's has no value
	fs.StringVar(&t.log.file, "logfile", "", "as --log-file")
	fs.StringVar(&t.Listen, "listen", "", "address of the API (default none)")
	c.AddCommand(f.transferVerifyCommand(), f.transferRebuildCommand(), f.transferFilesCommand(), f.transferFileCommand())
	return c
}

// transferVerifyCommand compares the ledger with the destinations.
func (f *face) transferVerifyCommand() *cobra.Command {
	t := new(transferFlags)
	var since length
	c := &cobra.Command{
		Use:   "verify SOURCE DEST | verify -c FILE JOB",
		Short: "Compare the ledger with what the destinations have",
		Long: "Ask the destinations for every file that the ledger says was brought there, and\n" +
			"compare the hashes. Takes the flags of transfer, or the job of a configuration\n" +
			"file. Exits 0 if all is as the ledger says, 3 if something differs, or if the\n" +
			"ledger knows nothing of these destinations. No file and no table is made.",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			log := slog.New(slog.DiscardHandler)
			plan, name, err := f.transferPlan(t, args, log)
			if err != nil {
				return err
			}
			from := time.Time{}
			if since > 0 {
				from = time.Now().Add(-time.Duration(since))
			}
			found, err := plan.Compare(cmd.Context(), name, from, func(d app.Difference) {
				fmt.Fprintf(f.out, "%s  (of %s): %s\n", printable([]byte(d.Path)), printable([]byte(d.Source)), d.What)
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(f.out, "%s good, %s different or missing, %s there with a hash that nobody wrote down, %s elsewhere\n",
				count(found.Good), count(found.Different), count(found.There), count(found.Elsewhere))
			if !found.Any() {
				return &exitError{LeftOver, fault.WithHint(errors.New("nothing was compared: the ledger knows no file of these destinations"),
					"it may be that of others: give DEST as it was given when files were brought there, and see --since")}
			}
			if found.Different > 0 {
				return &exitError{LeftOver, nil}
			}
			return nil
		},
	}
	c.Flags().SortFlags = false
	t.add(c)
	c.Flags().Var(&since, "since", "only what was brought within this time, such as 7d (default all)")
	c.Flags().Lookup("since").DefValue = ""
	c.Flags().StringVarP(&f.config, "config", "c", "", "configuration file that has the job")
	c.Flags().StringVar(&f.dataDir, "data-dir", "", "data directory (default as for transfer)")
	return c
}

// transferPlan is the plan of a command line, or of a job of a configuration file.
func (f *face) transferPlan(t *transferFlags, args []string, log *slog.Logger) (plan *app.Plan, job string, err error) {
	switch {
	case f.config != "" && len(args) == 1:
		c, err := app.Load(f.config)
		if err != nil {
			return nil, "", err
		}
		plan, err = c.Plan(f.dataDir, app.NoListen, log)
		return plan, args[0], err
	case f.config != "" || len(args) != 2:
		return nil, "", &exitError{WrongUsage, errors.New("want SOURCE and DEST, or -c FILE and the name of a job")}
	}
	fl := t.TransferFlags
	fl.From, fl.To, fl.DataDir = args[0], args[1], f.dataDir
	plan, err = app.Transfer(fl, os.LookupEnv, log)
	return plan, transferJob, err
}

func (t *transferFlags) add(c *cobra.Command) {
	fs := c.Flags()
	fs.StringArrayVar(&t.Patterns, "patterns", nil, "patterns of the names of files; several may follow (default all)")
	fs.StringVar(&t.MetadataRegex, "metadata-regex", "", "named groups of it are columns of the ledger")
	fs.StringVar(&t.HeaderCard, "header-card", "", "card of a FITS file that has its time, such as DATE-OBS")
	fs.StringVar(&t.DBHost, "db-host", "", "host of PostgreSQL (default: a ledger in the data directory)")
	fs.StringVar(&t.DBUser, "db-user", "", "user there; passwords are those of ~/.pgpass")
	fs.StringVar(&t.DBName, "db-name", "", "database there")
	fs.IntVar(&t.DBPort, "db-port", 0, "port there (default 5432)")
	fs.StringVar(&t.DBTable, "db-table", "", "table there (default transfers)")
	fs.BoolVar(&t.NoLedger, "no-ledger", false, "keep no record but the job's own")
	fs.Float64Var(&t.copyTimeout, "copy-timeout", 60, "seconds that a file may be under way; a large one has more")
	fs.IntVar(&t.Workers, "workers", 4, "files at once")
	fs.BoolVar(&t.controlMaster, "ssh-controlmaster", false, "nothing: there is one connection in any case")
	fs.Float64Var(&t.canary, "canary-interval", 0, "seconds between two looks at host and ledger (default: when something fails)")
	fs.Float64Var(&t.patience, "patience", 2, "seconds for which a file that nobody closed must be unchanged")
	fs.BoolVar(&t.Poll, "poll", false, "look at the directory again and again instead of watching it")
	fs.BoolVar(&t.BackfillOnly, "backfill-only", false, "one pass: what is there, and no more; exits 0, or 3 if something is left")
	lengthFlag(fs, &t.maxWait, "max-wait", "with --backfill-only: end with 3 after this time, such as 12h, whatever is left")
	fs.Float64Var(&t.backfillEvery, "backfill-interval", 0, "seconds between two scans for what was missed (default none)")
	fs.Float64Var(&t.backfillHours, "backfill-hours", 0, "hours that a file of a scan may be old (default any age)")
	fs.Float64Var(&t.recency, "backfill-recency-window", 0, "seconds that it must be old")
	fs.Float64Var(&t.unpackedEvery, "overwrite-unpacked-interval", 0, "seconds between two scans for originals that were "+
		"brought before and are unpacked: they are replaced by their packed form (default none)")
	fs.Float64Var(&t.unpackedHours, "overwrite-unpacked-hours", 0, "hours that they may be old (default any age)")
	fs.Float64Var(&t.unpackedRecency, "overwrite-unpacked-recency-window", 0, "seconds that they must be old")
	fs.StringVar(&t.Limit, "bwlimit", "", "bytes a second over the network, such as 20MB or \"08:00,2MB 18:00,off\"")
	fs.StringVar(&t.Pack, "pack", "", "fpack (default), or none")
	fs.StringVar(&t.PackedName, "packed-name", "", "name of what replaces an original: packed (default) is X.fits.fz, same is X.fits")
	fs.StringVar(&t.After, "after", "", "what becomes of originals: replace (default), keep (default of --backfill-only), delete")
	fs.StringVar(&t.SlackURL, "slack-webhook-url", "", "where people are told of outages and bad files")
}

func (f *face) transfer(cmd *cobra.Command, t *transferFlags, log *slog.Logger) error {
	for name, v := range map[string]float64{"copy-timeout": t.copyTimeout, "canary-interval": t.canary, "patience": t.patience,
		"overwrite-unpacked-interval": t.unpackedEvery, "overwrite-unpacked-hours": t.unpackedHours,
		"overwrite-unpacked-recency-window": t.unpackedRecency, "backfill-interval": t.backfillEvery, "backfill-hours": t.backfillHours, "backfill-recency-window": t.recency} {
		if v < 0 || v > 1e9 {
			return &exitError{WrongUsage, fmt.Errorf("--%s: want a number from 0, got %v", name, v)}
		}
	}
	if t.Workers < 1 {
		return &exitError{WrongUsage, fmt.Errorf("--workers: want a number from 1, got %d", t.Workers)}
	}
	if t.maxWait < 0 || t.maxWait > 0 && !t.BackfillOnly {
		return &exitError{WrongUsage, errors.New("--max-wait: it is for --backfill-only, and above 0")}
	}
	fl := t.TransferFlags
	fl.DataDir = f.dataDir
	fl.CopyTimeout, fl.Canary, fl.Patience = seconds(t.copyTimeout), seconds(t.canary), seconds(t.patience)
	fl.BackfillEvery, fl.BackfillRecency = seconds(t.backfillEvery), seconds(t.recency)
	fl.OverwriteEvery = seconds(t.unpackedEvery)
	fl.OverwriteWithin, fl.OverwriteRecency = seconds(t.unpackedHours*3600), seconds(t.unpackedRecency)
	fl.BackfillWithin = seconds(t.backfillHours * 3600)
	plan, err := app.Transfer(fl, os.LookupEnv, log)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	pass := &pass{f: f, job: transferJob, log: log, bar: t.bar}
	pass.begin(ctx, plan.Place)
	p := &process{plan: plan, log: log, ready: func(d *desk.Desk, _ string) {
		log.Info(fmt.Sprintf("holdfast %s transfers %s to %s, with its state in %s", app.Version, fl.From, fl.To, plan.Place.Dir))
		pass.desk <- d
		pass.runs.Store(d)
	}}
	if plan.Once {
		p.beside = append(p.beside, pass.follow)
	}
	ctx, end := context.WithCancelCause(ctx)
	var waiting sync.WaitGroup
	if t.maxWait > 0 {
		waiting.Go(func() { pass.endAfter(ctx, t.maxWait, func() { end(errMaxWait) }) })
	}
	err = p.run(ctx)
	end(nil)
	waiting.Wait()
	if err == nil && plan.Once {
		err = pass.summary(context.WithoutCancel(ctx), plan.Place)
	}
	if context.Cause(ctx) == errMaxWait {
		why := ""
		if pass.closed != "" {
			why = ": " + pass.closed
		}
		return &exitError{LeftOver, fault.WithHint(fmt.Errorf("not all is done after %v (%w)%s", t.maxWait, errMaxWait, why),
			"what is left goes on at the next start; see holdfast status --data-dir %s", plan.Place.Dir)}
	}
	if err != nil || !plan.Once || cmd.Context().Err() != nil {
		return err
	}
	return f.passEnded(cmd.Context(), p)
}

// errMaxWait is why a pass ended before all was done.
var errMaxWait = errors.New("--max-wait")

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// spread gives each of several values behind one --patterns a flag of its own, as rawtransfer takes them.
func spread(args []string) (out []string) {
	const flag = "--patterns"
	if len(args) == 0 || args[0] != "transfer" {
		return args
	}
	for i := 0; i < len(args); i++ {
		if args[i] != flag {
			out = append(out, args[i])
			continue
		}
		for i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			out = append(out, flag, args[i+1])
			i++
		}
	}
	return out
}
