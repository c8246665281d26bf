package cli

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"holdfast/app"
)

// wsprnetCommand takes the place of wsprnet_scraper.py: its flags, its JSON file, its log lines.
func (f *face) wsprnetCommand() *cobra.Command {
	var fl app.WsprnetFlags
	var s struct{ session, user, pass, chUser, chPass, roUser, roPass, cache, logFile, ignored string }
	var loop, maxMB, verbose int
	c := &cobra.Command{
		Use:     "wsprnet",
		Short:   "Collect WSPR spots: takes the place of wsprnet_scraper.py",
		Version: app.Version,
		Long: "Collect the spots of wsprnet.org into ClickHouse, or into SQLite when nothing of\n" +
			"ClickHouse is given. Flags and the JSON file are those of wsprnet_scraper.py.\n" +
			"Without --loop it works for one cycle and exits: 0 when all is delivered, 3 when\n" +
			"something is kept for later.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, closeLog, err := f.logger(s.logFile, maxMB, verbose, true)
			if err != nil {
				return err
			}
			defer closeLog()
			given := func(name string, v *string) *string {
				if cmd.Flags().Changed(name) {
					return v
				}
				return nil
			}
			fl.SessionFile, fl.CacheDir = given("session-file", &s.session), given("cache-dir", &s.cache)
			fl.Username, fl.Password = given("username", &s.user), given("password", &s.pass)
			fl.ClickHouseUser = given("clickhouse-user", &s.chUser)
			fl.ClickHousePassword = given("clickhouse-password", &s.chPass)
			fl.ReadonlyUser = given("setup-readonly-user", &s.roUser)
			fl.ReadonlyPassword = given("setup-readonly-password", &s.roPass)
			fl.DataDir = f.dataDir
			if cmd.Flags().Changed("loop") {
				if loop < 0 {
					return &exitError{WrongUsage, fmt.Errorf("--loop: want seconds, got %d", loop)}
				}
				fl.Loop = &loop
			}
			if cmd.Flags().Changed("setup-default-password") {
				log.Warn("--setup-default-password is passed over: holdfast changes no passwords")
			}
			return f.wsprnet(cmd.Context(), fl, log)
		},
	}
	c.SetVersionTemplate("holdfast wsprnet {{.Version}}\n")
	fs := c.Flags()
	fs.SortFlags = false
	fs.StringVar(&s.session, "session-file", "",
		"file that keeps the session of the feed (default: session.json in the data directory)")
	fs.StringVar(&s.user, "username", "", "user name at wsprnet.org")
	fs.StringVar(&s.pass, "password", "", "password at wsprnet.org")
	fs.StringVar(&s.chUser, "clickhouse-user", "", "user of ClickHouse")
	fs.StringVar(&s.chPass, "clickhouse-password", "", "password of that user")
	fs.StringVar(&s.roUser, "setup-readonly-user", "",
		"create this user of ClickHouse, who may only read")
	fs.StringVar(&s.roPass, "setup-readonly-password", "", "password of that user")
	fs.StringVar(&fl.Config, "config", "", "JSON file with the keys of wsprnet_scraper.py")
	fs.StringVar(&s.cache, "cache-dir", "",
		"take in the old cache files of this directory (default /var/lib/wsprnet/cache)")
	fs.IntVar(&loop, "loop", 0, "go on, with so many seconds between polls (absent: one cycle)")
	f.processFlags(c, &s.logFile, &maxMB, &verbose)
	fs.StringVar(&fl.Listen, "listen", "", "address of the API (default none)")
	fs.StringVar(&s.ignored, "setup-default-password", "", "")
	_ = fs.MarkHidden("setup-default-password")
	return c
}

func (f *face) wsprnet(ctx context.Context, fl app.WsprnetFlags, log *slog.Logger) error {
	plan, err := app.Wsprnet(fl, log)
	if err != nil {
		return err
	}
	if err := plan.SetUp(ctx); err != nil {
		return err
	}
	p := &process{plan: plan, log: log, ready: func(*app.Desk, string) {
		log.Info(fmt.Sprintf("holdfast %s collects spots in %s", app.Version, plan.Place.Dir))
	}}
	if err := p.run(ctx); err != nil || !plan.Once {
		return err
	}
	return f.cycleEnded(ctx, plan)
}

// cycleEnded looks at the books after one cycle.
func (f *face) cycleEnded(ctx context.Context, plan *app.Plan) error {
	desk, err := app.OpenDesk(plan.Place, nil)
	if err != nil {
		return err
	}
	defer desk.Close()
	audit, err := desk.Audit(ctx, "", false, nil)
	if err != nil {
		return err
	}
	unread := plan.Unread()
	switch {
	case unread != nil:
		return unread
	case !audit.Balanced:
		return fmt.Errorf("the books do not balance; see `holdfast audit`")
	case audit.LeftOver():
		return &exitError{code: LeftOver}
	}
	return nil
}
