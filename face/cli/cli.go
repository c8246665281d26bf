// Package cli is the command line: it reads flags, asks the jobs through the api, and shows what
// comes back in tables that fit 80 columns, or as JSON.
//
// A command that only asks or orders talks to the running engine through the socket in its data
// directory; when none runs, the same request is answered within the command itself, over the
// stores. Errors say what failed and why, and on a line of their own what to do. Exit codes are in
// exit.go.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app"
	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/kernel/engine"
)

// terminal is what a command reads from and writes to.
type terminal struct {
	out, err io.Writer
	// file is out for what is no text for people: nothing in it is written out. On a terminal it is out.
	file io.Writer
	// tty: err is a terminal, on which a line of progress can be drawn over and over.
	tty bool
}

// face is the state of one invocation.
type face struct {
	terminal
	dataDir string
	config  string
	json    bool
	begun   bool // a command's own work began: what fails from here is no wrong usage
}

// Main runs the command line and returns its exit code.
func Main(args []string) int {
	t := terminal{out: os.Stdout, err: os.Stderr, tty: isTerminal(os.Stderr)}
	if !isTerminal(os.Stdout) {
		t.file = os.Stdout
	}
	return run(context.Background(), args, t)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

func run(ctx context.Context, args []string, t terminal) int {
	t.out, t.err = harmless{t.out}, harmless{t.err}
	if t.file == nil {
		t.file = t.out
	}
	f := &face{terminal: t}
	root := f.root()
	root.SetArgs(spread(args))
	root.SetOut(t.out)
	root.SetErr(t.err)
	cmd, err := root.ExecuteContextC(ctx)
	return f.exit(cmd, err)
}

func (f *face) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "Collect, keep and deliver data through any outage",
		Long: "Holdfast collects, keeps and delivers data through any outage: what was taken\n" +
			"in is never lost, what was done is never done twice, and both can be proved.",
		Example: "  holdfast demo                    a tour, with outages to provoke\n" +
			"  holdfast run -c holdfast.yaml    everything in the file\n" +
			"  holdfast wsprnet --loop 120      in the place of wsprnet_scraper.py\n" +
			"  holdfast weather all --input F   in the place of WeatherVane\n" +
			"  holdfast transfer DIR HOST:DIR   in the place of rawtransfer\n" +
			"  holdfast crawl --job N URL...    archive web sites into WARC files\n" +
			"  holdfast supervise --rules FILE  watch services, and act by rules\n" +
			"  holdfast status                  how the jobs are",
		Version:       app.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRun: func(*cobra.Command, []string) {
			f.begun = true
		},
	}
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages ",
		".FlagUsagesWrapped 80 "))
	root.SetVersionTemplate("holdfast {{.Version}}\n")
	root.AddGroup(&cobra.Group{ID: "work", Title: "Work:"}, &cobra.Group{ID: "ask", Title: "Ask:"},
		&cobra.Group{ID: "order", Title: "Order:"})
	for group, commands := range map[string][]*cobra.Command{
		"work": {f.runCommand(), f.demoCommand(), f.wsprnetCommand(), f.weatherCommand(), f.transferCommand(), f.crawlCommand(), f.superviseCommand()},
		"ask": {f.checkCommand(), f.statusCommand(), f.topCommand(), f.auditCommand(), f.eventsCommand(),
			f.spoolCommand(), f.deadCommand(), f.gapsCommand(), f.windowsCommand(), f.notifyCommand()},
		"order": {f.pauseCommand(), f.resumeCommand(), f.backfillCommand(), f.acknowledgeCommand(), f.gateCommand(), f.reloadCommand(),
			f.checkpointCommand()},
	} {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	root.AddCommand(f.manualCommand())
	f.offerJobs(root)
	return root
}

// asking adds the flags of a command that asks or orders.
func (f *face) asking(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&f.dataDir, "data-dir", "",
		"data directory to ask (default: where holdfast keeps its data)")
	c.Flags().StringVarP(&f.config, "config", "c", "", "configuration that names the data directory")
	c.Flags().BoolVar(&f.json, "json", false, "answer in JSON")
	return c
}

// exit tells what went wrong and returns the exit code.
func (f *face) exit(cmd *cobra.Command, err error) int {
	if err == nil {
		return Done
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		if e.err == nil {
			return e.code
		}
		f.complain(e.err)
		return e.code
	}
	f.complain(err)
	switch {
	case !f.begun:
		fmt.Fprintf(f.err, "See `%s --help`.\n", cmd.CommandPath())
		return WrongUsage
	case app.IsUsage(err):
		return WrongUsage
	case errors.Is(err, engine.ErrPaused):
		return LeftOver
	}
	return Failed
}

// complain shows an error and, on a line of its own, what to do about it.
func (f *face) complain(err error) {
	if all, ok := errors.AsType[app.Mistakes](err); ok {
		for _, m := range all {
			fmt.Fprintf(f.err, "%s\n", m.Error())
			if m.Hint != "" {
				fmt.Fprintf(f.err, "  %s\n", m.Hint)
			}
		}
		return
	}
	fmt.Fprintf(f.err, "holdfast: %s\n", strings.ReplaceAll(secret.Mask(err.Error()), "\n", "\n  "))
	if h := fault.HintOf(err); h != "" {
		fmt.Fprintf(f.err, "  %s\n", strings.ReplaceAll(secret.Mask(h), "\n", "\n  "))
	}
}
