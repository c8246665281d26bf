package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/app/desk"
	"holdfast/app/tour"
	"holdfast/base/logging"
	"holdfast/base/plural"
)

func (f *face) runCommand() *cobra.Command {
	var config, listen string
	var lf logFlags
	c := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run every job of a configuration file",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withLog(lf, false, func(log *slog.Logger) error {
				cfg, err := app.Load(config)
				if err != nil {
					return err
				}
				plan, err := cfg.Plan(f.dataDir, listen, log)
				if err != nil {
					return err
				}
				p := &process{plan: plan, log: log, ready: func(_ *desk.Desk, url string) {
					log.Info(fmt.Sprintf("holdfast %s runs %d %s in %s; API at %s", app.Version,
						len(plan.Jobs), plural.Noun(len(plan.Jobs), "job"), plan.Place.Dir, orNone(url)))
				}}
				return p.run(cmd.Context())
			})
		},
	}
	c.Flags().StringVarP(&config, "config", "c", "holdfast.yaml", "configuration file")
	c.Flags().StringVar(&listen, "listen", "",
		"address of the API, or none (default: the file's, or 127.0.0.1:8420)")
	f.processFlags(c, &lf)
	return c
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// logFlags say where a process logs to, and how much.
type logFlags struct {
	file           string
	maxMB, verbose int
}

// processFlags adds the flags of a command that runs jobs.
func (f *face) processFlags(c *cobra.Command, l *logFlags) {
	c.Flags().StringVar(&f.dataDir, "data-dir", "",
		"data directory (default: $"+datadir.Variable+", else "+
			"/var/lib/holdfast or below $XDG_STATE_HOME)")
	c.Flags().StringVar(&l.file, "log-file", "", "log to this file (default: to stderr)")
	c.Flags().IntVar(&l.maxMB, "log-max-mb", 10, "start the log file anew at this many megabytes")
	c.Flags().IntVar(&l.verbose, "verbose", 1, "0: warnings and errors, 1: what is done, 2: everything")
}

// withLog runs a process with its log, which is closed behind it. alone says that it runs one job.
func (f *face) withLog(l logFlags, alone bool, run func(log *slog.Logger) error) error {
	if l.verbose < 0 || l.verbose > 2 {
		return &exitError{WrongUsage, fmt.Errorf("--verbose: want 0, 1 or 2, got %d", l.verbose)}
	}
	if l.maxMB < 0 {
		return &exitError{WrongUsage, fmt.Errorf("--log-max-mb: want a number from 0, got %d", l.maxMB)}
	}
	to := f.err
	if l.file != "" {
		file, err := logging.Open(l.file, int64(l.maxMB)<<20)
		if err != nil {
			return err
		}
		defer file.Close()
		to = file
	}
	h := logging.NewHandler(to, []slog.Level{slog.LevelWarn, slog.LevelInfo, slog.LevelDebug}[l.verbose])
	h.Alone = alone
	return run(slog.New(h))
}

func (f *face) checkCommand() *cobra.Command {
	var schema bool
	var config string
	c := &cobra.Command{
		Use:   "check [-c FILE]",
		Short: "Check a configuration file: every mistake, with its line",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if schema {
				_, err := f.out.Write(app.Schema())
				return err
			}
			var missing []string
			cfg, err := app.Load(config)
			if err == nil {
				missing, err = cfg.CheckRuleFiles(f.dataDir)
			}
			if f.json {
				return f.checkJSON(cfg, missing, err)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(f.out, "%s is good: %d %s\n", config, len(cfg.Jobs), plural.Noun(len(cfg.Jobs), "job"))
			for _, w := range cfg.Warnings() {
				fmt.Fprintf(f.out, "warning: %v\n", w)
			}
			for _, m := range missing {
				fmt.Fprintf(f.out, "warning: %s\n", m)
			}
			for _, line := range cfg.Weak() {
				fmt.Fprintln(f.out, line)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&config, "config", "c", "holdfast.yaml", "configuration file")
	c.Flags().BoolVar(&schema, "schema", false,
		"print the JSON schema of configuration files, for editors")
	c.Flags().BoolVar(&f.json, "json", false, "answer in JSON")
	return c
}

func (f *face) checkJSON(cfg *app.Config, missing []string, err error) error {
	answer := struct {
		Good     bool         `json:"good"`
		Mistakes app.Mistakes `json:"mistakes"`
		Warnings app.Mistakes `json:"warnings,omitempty"`
		Missing  []string     `json:"missing,omitempty"` // rule files
		Weak     []string     `json:"weak,omitempty"`    // sinks that promise less than exactly once
	}{Good: err == nil, Mistakes: app.Mistakes{}, Missing: missing}
	switch m := err.(type) {
	case nil:
		answer.Warnings, answer.Weak = cfg.Warnings(), cfg.Weak()
	case app.Mistakes:
		answer.Mistakes = m
	default:
		return err
	}
	if werr := f.printJSON(answer); werr != nil || err == nil {
		return werr
	}
	return &exitError{code: WrongUsage}
}

func (f *face) printJSON(v any) error {
	enc := json.NewEncoder(f.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (f *face) demoCommand() *cobra.Command {
	var listen, feed, spots string
	var delay time.Duration
	var lf logFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "A tour of all five jobs, with outages to provoke",
		Long: "A tour of all five jobs, with outages to provoke in its console. It needs\n" +
			"nothing but this machine. Without --data-dir it lives in a directory of its\n" +
			"own, which is removed when it ends. Killed, it goes on when started again.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withLog(lf, false, func(log *slog.Logger) error {
				dir, end, err := tour.Dir(f.dataDir)
				if err != nil {
					return err
				}
				sim, err := tour.OpenFeed(feed, spots)
				if err != nil {
					return err
				}
				defer sim.Close()
				trouble, err := tour.OpenTrouble("127.0.0.1:0")
				if err != nil {
					return err
				}
				defer trouble.Close()
				site, err := tour.OpenSite(dir, delay)
				if err != nil {
					return err
				}
				defer site.Close()
				tr, err := tour.Open(sim, trouble, site, dir, listen, log)
				if err != nil {
					return err
				}
				p := &process{plan: tr.Plan, log: log, anyPort: listen == "",
					beside: []func(context.Context) error{sim.Run, trouble.Run, tr.Camera().Run, site.Run}}
				p.ready = func(_ *desk.Desk, url string) {
					tr.OnCrash(func() error { return beginAgain(strings.TrimPrefix(url, "http://")) })
					f.demoReady(tr, sim.URL(), trouble.URL(), site, url)
				}
				if err := errors.Join(p.run(cmd.Context()), tr.Close()); err != nil {
					return err // what is there may be another tour's, or is needed to go on
				}
				return end()
			})
		},
	}
	c.Flags().StringVar(&listen, "listen", "",
		"address of the API (default 127.0.0.1:8420, or any port if it is taken)")
	c.Flags().StringVar(&feed, "feed-listen", "127.0.0.1:0",
		"address of the simulated feed and its switches")
	c.Flags().StringVar(&spots, "spots", "",
		"serve the spots of this JSON file in the place of made-up ones")
	c.Flags().DurationVar(&delay, "crawl-delay", 700*time.Millisecond, "time between two requests of the crawl")
	f.processFlags(c, &lf)
	c.Flags().Lookup("data-dir").Usage = "data directory, which stays (default: $" + datadir.Variable + ", else one\n" +
		"of its own, which is removed at the end)"
	return c
}

// beginAgain replaces this process by a new one of the same command, which to the jobs is a kill -9 and a start. The console
// keeps its address. It returns only if the new one can't be begun.
func beginAgain(listen string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	args := slices.Clone(os.Args)
	if n := len(args); n > 2 && args[n-2] == "--listen" {
		args = args[:n-2]
	}
	return syscall.Exec(exe, append(args, "--listen", listen), os.Environ())
}

func (f *face) demoReady(t *tour.Tour, feed, broker string, site *tour.Site, url string) {
	dir := t.Plan.Place.Dir
	start, end := "holdfast demo", "Ctrl-C ends the tour and removes what it made; killed, it goes on when started\nagain."
	if f.dataDir != "" || os.Getenv(datadir.Variable) != "" {
		start += " --data-dir " + dir
		end = "Ctrl-C ends the tour; kill -9 does no harm either: started again it goes on."
	}
	fmt.Fprintf(f.out, `Holdfast collects from a simulated feed of WSPR spots into SQLite, streams
made-up weather over a broker, an hour of it every 10 s, with reports by state,
brings the frames of a camera, one every 5 s, into an archive, crawls a small
site into WARC files, and watches over all that by rules.

  the console, with outages to switch on        %s/#token=%s
  the feed, with outages to switch on and off   %s
  the broker, likewise                          %s
  the reports                                   %s/avg?state=Ohio&hour=0
  the windows of the stream                     %s/api/v1/windows
  the state of the jobs                         %s/api/v1/jobs
  the rows                                      %s
  the frames                                    %s
  the crawl, with a button that kills all       %s
  the site that it crawls                       %s
  the rules                                     %s/%s

Try: holdfast status  --data-dir %s
     holdfast windows --data-dir %s
     holdfast audit   --data-dir %s
     holdfast transfer files frames --data-dir %s
     holdfast crawl report pages    --data-dir %s
     holdfast supervise history     --data-dir %s
     kill -9 %d, and: %s
%s

`, url, t.Plan.Token.Reveal(), feed, broker, t.Reports(), url, url, t.Spots(), t.Archive(),
		site.PageURL(), site.URL(), dir, tour.Rules, dir, dir, dir, dir, dir, dir, os.Getpid(), start, end)
}
