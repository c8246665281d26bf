package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/base/fault"
)

// wsprnetFlags are the flags as they were given.
type wsprnetFlags struct {
	session, user, pass, chUser, chPass, roUser, roPass, cache, config, listen, ignored string

	loop int
	log  logFlags
}

// wsprnetCommand takes the place of wsprnet_scraper.py: its flags, its JSON file, its log lines.
func (f *face) wsprnetCommand() *cobra.Command {
	s := new(wsprnetFlags)
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
			return f.withLog(s.log, true, func(log *slog.Logger) error {
				fl, err := s.given(cmd)
				if err != nil {
					return err
				}
				fl.DataDir = f.dataDir
				if cmd.Flags().Changed("setup-default-password") {
					log.Warn("--setup-default-password is passed over: holdfast changes no passwords")
				}
				return f.wsprnet(cmd.Context(), fl, log)
			})
		},
	}
	c.SetVersionTemplate("holdfast wsprnet {{.Version}}\n")
	c.Flags().SortFlags = false
	s.add(c)
	f.processFlags(c, &s.log)
	c.Flags().StringVar(&s.listen, "listen", "", "address of the API (default none)")
	c.Flags().StringVar(&s.ignored, "setup-default-password", "", "")
	_ = c.Flags().MarkHidden("setup-default-password")
	return c
}

// add adds the flags that are the scraper's, in the order in which help shows them.
func (s *wsprnetFlags) add(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&s.session, "session-file", "",
		"file that keeps the session of the feed (default: session.json in the data directory)")
	fs.StringVar(&s.user, "username", "", "user name at wsprnet.org")
	fs.StringVar(&s.pass, "password", "", "password at wsprnet.org")
	fs.StringVar(&s.chUser, "clickhouse-user", "", "user of ClickHouse")
	fs.StringVar(&s.chPass, "clickhouse-password", "", "password of that user")
	fs.StringVar(&s.roUser, "setup-readonly-user", "",
		"create this user of ClickHouse, who may only read")
	fs.StringVar(&s.roPass, "setup-readonly-password", "", "password of that user")
	fs.StringVar(&s.config, "config", "", "JSON file with the keys of wsprnet_scraper.py")
	fs.StringVar(&s.cache, "cache-dir", "",
		"take in the old cache files of this directory (default /var/lib/wsprnet/cache)")
	fs.IntVar(&s.loop, "loop", 0, "go on, with so many seconds between polls (absent: one cycle)")
}

// given is what was given; what was not, even as an empty text, is left to the JSON file.
func (s *wsprnetFlags) given(c *cobra.Command) (app.WsprnetFlags, error) {
	text := func(name string, v *string) *string {
		if c.Flags().Changed(name) {
			return v
		}
		return nil
	}
	fl := app.WsprnetFlags{Config: s.config, Listen: s.listen,
		SessionFile: text("session-file", &s.session), CacheDir: text("cache-dir", &s.cache),
		Username: text("username", &s.user), Password: text("password", &s.pass),
		ClickHouseUser:     text("clickhouse-user", &s.chUser),
		ClickHousePassword: text("clickhouse-password", &s.chPass),
		ReadonlyUser:       text("setup-readonly-user", &s.roUser),
		ReadonlyPassword:   text("setup-readonly-password", &s.roPass)}
	if !c.Flags().Changed("loop") {
		return fl, nil
	}
	if s.loop < 0 {
		return fl, &exitError{WrongUsage, fmt.Errorf("--loop: want seconds, got %d", s.loop)}
	}
	fl.Loop = &s.loop
	return fl, nil
}

func (f *face) wsprnet(ctx context.Context, fl app.WsprnetFlags, log *slog.Logger) error {
	plan, err := app.Wsprnet(fl, log)
	if err != nil {
		return err
	}
	if err := plan.SetUp(ctx); err != nil {
		return err
	}
	p := &process{plan: plan, log: log, ready: func(*desk.Desk, string) {
		log.Info(fmt.Sprintf("holdfast %s collects spots in %s", app.Version, plan.Place.Dir))
	}}
	if err := p.run(ctx); err != nil || !plan.Once {
		return err
	}
	return f.cycleEnded(ctx, p)
}

// cycleEnded looks at the books after one cycle. One that was interrupted is not done, whatever they say: what was not
// taken in yet is in none of them.
func (f *face) cycleEnded(ctx context.Context, p *process) error {
	d, err := desk.Open(p.plan.Place, nil)
	if err != nil {
		return err
	}
	defer d.Close()
	audit, err := d.Audit(ctx, "", false, nil)
	if err != nil {
		return err
	}
	unread := p.plan.Unread()
	switch {
	case !audit.Balanced:
		return fmt.Errorf("the books do not balance; see `holdfast audit`")
	case len(p.undone) > 0:
		return &exitError{LeftOver, interrupted(p.undone, audit, unread)}
	case unread != nil:
		return unread
	case audit.LeftOver():
		return &exitError{code: LeftOver}
	}
	return nil
}

// interrupted says what a signal left over; unread is what a source said last, nil if it said nothing.
func interrupted(undone []string, a desk.Audit, unread error) error {
	text := "it was interrupted before the work was done of " + strings.Join(undone, ", ")
	for _, j := range a.Jobs {
		for _, s := range j.Sinks {
			if s.Pending > 0 {
				text += fmt.Sprintf("; %s, rows left for %s: %d", j.Job, s.Sink, s.Pending)
			}
		}
	}
	if unread != nil {
		text += "\n" + unread.Error()
	}
	return fault.WithHint(errors.New(text), "nothing is lost: the same command goes on where it was")
}
