package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"holdfast/app"
)

func (f *face) runCommand() *cobra.Command {
	var config, listen, logFile string
	var maxMB, verbose int
	c := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run every job of a configuration file",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, closeLog, err := f.logger(logFile, maxMB, verbose, false)
			if err != nil {
				return err
			}
			defer closeLog()
			cfg, err := app.Load(config)
			if err != nil {
				return err
			}
			plan, err := cfg.Plan(f.dataDir, listen, log)
			if err != nil {
				return err
			}
			p := &process{plan: plan, log: log, ready: func(_ *app.Desk, url string) {
				log.Info(fmt.Sprintf("holdfast %s runs %d jobs in %s; API at %s", app.Version,
					len(plan.Jobs), plan.Place.Dir, orNone(url)))
			}}
			return p.run(cmd.Context())
		},
	}
	c.Flags().StringVarP(&config, "config", "c", "holdfast.yaml", "configuration file")
	c.Flags().StringVar(&listen, "listen", "",
		"address of the API, or none (default: the file's, or 127.0.0.1:8420)")
	f.processFlags(c, &logFile, &maxMB, &verbose)
	return c
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// processFlags adds the flags of a command that runs jobs.
func (f *face) processFlags(c *cobra.Command, logFile *string, maxMB, verbose *int) {
	c.Flags().StringVar(&f.dataDir, "data-dir", "",
		"data directory (default: $"+app.DataDirVariable+", else "+
			"/var/lib/holdfast or below $XDG_STATE_HOME)")
	c.Flags().StringVar(logFile, "log-file", "", "log to this file (default: to stderr)")
	c.Flags().IntVar(maxMB, "log-max-mb", 10, "start the log file anew at this many megabytes")
	c.Flags().IntVar(verbose, "verbose", 1, "0: warnings and errors, 1: what is done, 2: everything")
}

// logger returns the log of a process. alone says that it runs one job.
func (f *face) logger(file string, maxMB, verbose int, alone bool) (*slog.Logger, func(), error) {
	if verbose < 0 || verbose > 2 {
		return nil, nil, &exitError{WrongUsage, fmt.Errorf("--verbose: want 0, 1 or 2, got %d", verbose)}
	}
	if maxMB < 0 {
		return nil, nil, &exitError{WrongUsage, fmt.Errorf("--log-max-mb: want a number from 0, got %d",
			maxMB)}
	}
	level := []slog.Level{slog.LevelWarn, slog.LevelInfo, slog.LevelDebug}[verbose]
	if file == "" {
		h := app.NewLogHandler(f.err, level)
		h.Alone = alone
		return slog.New(h), func() {}, nil
	}
	l, err := app.OpenLog(file, int64(maxMB)<<20)
	if err != nil {
		return nil, nil, err
	}
	h := app.NewLogHandler(l, level)
	h.Alone = alone
	return slog.New(h), func() { _ = l.Close() }, nil
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
			cfg, err := app.Load(config)
			if f.json {
				return f.checkJSON(err)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(f.out, "%s is good: %d %s\n", config, len(cfg.Jobs), plural(len(cfg.Jobs), "job"))
			return nil
		},
	}
	c.Flags().StringVarP(&config, "config", "c", "holdfast.yaml", "configuration file")
	c.Flags().BoolVar(&schema, "schema", false,
		"print the JSON schema of configuration files, for editors")
	c.Flags().BoolVar(&f.json, "json", false, "answer in JSON")
	return c
}

func (f *face) checkJSON(err error) error {
	answer := struct {
		Good     bool         `json:"good"`
		Mistakes app.Mistakes `json:"mistakes"`
	}{err == nil, app.Mistakes{}}
	switch m := err.(type) {
	case nil:
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
	var listen, feed, spots, logFile string
	var maxMB, verbose int
	c := &cobra.Command{
		Use:   "demo",
		Short: "A tour: a simulated feed into SQLite, with outages to provoke",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, closeLog, err := f.logger(logFile, maxMB, verbose, false)
			if err != nil {
				return err
			}
			defer closeLog()
			sim, err := app.OpenFeed(feed, spots)
			if err != nil {
				return err
			}
			defer sim.Close()
			plan, err := app.Demo(sim, f.dataDir, listen, log)
			if err != nil {
				return err
			}
			p := &process{plan: plan, log: log, anyPort: listen == "",
				beside: []func(context.Context) error{sim.Run}}
			p.ready = func(_ *app.Desk, url string) { f.demoReady(plan, sim.URL(), url) }
			return p.run(cmd.Context())
		},
	}
	c.Flags().StringVar(&listen, "listen", "",
		"address of the API (default 127.0.0.1:8420, or any port if it is taken)")
	c.Flags().StringVar(&feed, "feed-listen", "127.0.0.1:0",
		"address of the simulated feed and its switches")
	c.Flags().StringVar(&spots, "spots", "",
		"serve the spots of this JSON file in the place of made-up ones")
	f.processFlags(c, &logFile, &maxMB, &verbose)
	return c
}

func (f *face) demoReady(plan *app.Plan, feed, url string) {
	fmt.Fprintf(f.out, `Holdfast collects from a simulated feed of WSPR spots into SQLite.

  the feed, with outages to switch on and off   %s
  the state of the jobs                         %s/api/v1/jobs
  the rows                                      %s

Try: holdfast status --data-dir %s
     holdfast audit  --data-dir %s
Ctrl-C ends the tour; kill -9 does no harm either.

`, feed, url, app.DemoPath(plan), plan.Place.Dir, plan.Place.Dir)
}
