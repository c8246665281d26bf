package cli

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/base/fault"
	"holdfast/face/manual"
)

// manualCommand is for those who make packages, so it is not among the commands that people are shown.
func (f *face) manualCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "manual DIRECTORY",
		Short: "Write the manual pages and the completions of shells",
		Long: "Write the manual pages (man1, man5) and the completions of bash, zsh and fish\n" +
			"below a directory. SOURCE_DATE_EPOCH is the date that pages have.",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(c *cobra.Command, args []string) error {
			m, err := theManual(c.Root())
			if err != nil {
				return err
			}
			if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
				n, err := strconv.ParseInt(epoch, 10, 64)
				if err != nil {
					return &fault.Usage{Err: fmt.Errorf("SOURCE_DATE_EPOCH: want seconds since 1970, got %q", epoch)}
				}
				m.Date = time.Unix(n, 0)
			}
			return m.Write(args[0])
		},
	}
}

func theManual(root *cobra.Command) (manual.Manual, error) {
	rules, err := app.RulesSchema()
	return manual.Manual{Root: root, Schema: app.Schema(), Rules: rules, Examples: app.Examples(), Further: []manual.Section{
		{Title: "EXIT STATUS", Terms: []manual.Term{
			{Name: strconv.Itoa(Done), Means: "done"},
			{Name: strconv.Itoa(Failed), Means: "failed: the message says what, why and what to do"},
			{Name: strconv.Itoa(WrongUsage), Means: "wrong usage or configuration"},
			{Name: strconv.Itoa(LeftOver), Means: "done, with something left over: rows that wait for a sink, a paused job, files that " +
				"an import could not take in, one pass that a signal interrupted"},
			{Name: strconv.Itoa(StorageFailed), Means: "a store could not be written: started again, it waits until there is room"},
		}},
		{Title: "SIGNALS", Terms: []manual.Term{
			{Name: "SIGTERM, SIGINT", Means: "what is under way is finished, and the process ends; a second one ends it at once"},
			{Name: "SIGHUP", Means: "holdfast run reads its configuration anew, holdfast supervise its rules"},
			{Name: "SIGQUIT", Means: "shows every goroutine, and ends"},
			{Name: "SIGKILL", Means: "does no harm: started again it goes on where it was"},
		}},
		{Title: "ENVIRONMENT", Terms: []manual.Term{
			{Name: datadir.Variable, Means: "the data directory of who names none with --data-dir"},
			{Name: "GOMEMLIMIT", Means: "what memory aims to stay under (192MiB)"},
			{Name: "NO_COLOR", Means: "holdfast top has no colours, if it is set"},
			{Name: "VISUAL, EDITOR", Means: "the editor of holdfast dead edit"},
		}},
		{Title: "FILES", Terms: []manual.Term{
			{Name: "/etc/holdfast/holdfast.yaml", Means: "the configuration of the unit holdfast.service: holdfast.yaml(5)"},
			{Name: "/etc/holdfast/environment", Means: "NAME=value lines for the ${NAME} of the configuration: its secrets"},
			{Name: "/etc/holdfast/rules.yaml", Means: "the rules of holdfast supervise"},
			{Name: "/var/lib/holdfast", Means: "the data directory of root and of the units; else holdfast below $XDG_STATE_HOME or " +
				"~/.local/state"},
			{Name: "DATA/control.sock", Means: "where commands reach the process that runs; only its owner and root can open it"},
			{Name: "DATA/jobs/NAME", Means: "all that a job must not forget: its store, checkpoints and quarantine"},
			{Name: "/usr/share/doc/holdfast", Means: "operations, security, guarantees and all else"},
			{Name: "/usr/share/holdfast", Means: "alert rules and a dashboard for its metrics, and examples"},
		}},
	}}, err
}
