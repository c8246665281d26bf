package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/base/strictyaml"
)

// weatherCommand takes the place of WeatherVane: its four parts, each a process of its own, or all in one.
func (f *face) weatherCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "weather",
		Short: "Stream weather, repair what is lost, store, report and serve it",
		Long: "Stream hourly weather over a broker that may lose it into a database, compute\n" +
			"reports and serve them: takes the place of WeatherVane. Each role may be a\n" +
			"process of its own, with --broker; all of them in one process need nothing\n" +
			"installed.",
		Example: "  holdfast weather all --input day.csv --once --speedup max\n" +
			"  holdfast weather ingester --broker redis://H --database http://H:8086/weather",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for role, short := range map[string]string{
		"streamer":  "Cut a data set into windows and batches, and send them",
		"ingester":  "Take batches in, ask for those that are missing, and store them",
		"processor": "Compute the reports of windows that are stored",
		"api":       "Serve the reports over HTTP",
		"all":       "All four roles in this process",
	} {
		c.AddCommand(f.weatherRole(role, short))
	}
	return c
}

func (f *face) weatherRole(role, short string) *cobra.Command {
	fl := &app.WeatherFlags{Role: role}
	var lf logFlags
	c := &cobra.Command{
		Use:   role,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withLog(lf, role != "all", func(log *slog.Logger) error {
				for _, name := range []string{"window", "batch", "interval"} {
					if g := cmd.Flags().Lookup(name); g != nil && g.Changed && strings.Trim(g.Value.String(), "0s") == "" {
						return &exitError{WrongUsage, fmt.Errorf("--%s: want a value above 0, got %s", name, g.Value)}
					}
				}
				fl.DataDir = f.dataDir
				plan, err := app.Weather(*fl, os.LookupEnv, log)
				if err != nil {
					return err
				}
				p := &process{plan: plan, log: log, ready: func(*desk.Desk, string) {
					log.Info(fmt.Sprintf("holdfast %s: weather %s works in %s", app.Version, role, plan.Place.Dir))
				}}
				if err := p.run(cmd.Context()); err != nil || !plan.Once || cmd.Context().Err() != nil {
					return err
				}
				return f.passEnded(cmd.Context(), p)
			})
		},
	}
	c.Flags().SortFlags = false
	weatherFlags(c, fl)
	f.processFlags(c, &lf)
	return c
}

// passEnded looks at the books after a pass: it is whole if nothing waits, and nothing died on the way.
func (f *face) passEnded(ctx context.Context, p *process) error {
	if err := f.cycleEnded(ctx, p); err != nil {
		return err
	}
	plan := p.plan
	d, err := desk.Open(plan.Place, nil)
	if err != nil {
		return err
	}
	defer d.Close()
	rep, err := d.Status(ctx, "")
	if err != nil {
		return err
	}
	if left := append(plan.Changed(), plan.Missed()...); len(left) > 0 {
		return &exitError{LeftOver, errors.New(strings.Join(left, "\n"))}
	}
	for _, j := range rep.Jobs {
		if n := rep.Letters[j.Name]; n > 0 {
			return &exitError{LeftOver, fault.WithHint(fmt.Errorf("%d %s of %s could not go on", n, plural.Noun(n, "item"), j.Name),
				"see why: holdfast dead ls %s --data-dir %s", j.Name, plan.Place.Dir)}
		}
	}
	return nil
}

// length is a flag that is a length of time, as the configuration file has it: with days and weeks too.
type length time.Duration

func (s *length) Set(text string) error {
	d, err := strictyaml.Duration(text)
	*s = length(d)
	return err
}

func (s *length) String() string { return time.Duration(*s).String() }

func (s *length) Type() string { return "duration" }

// lengthFlag adds such a flag, whose default the usage tells.
func lengthFlag(fs *pflag.FlagSet, to *time.Duration, name, usage string) {
	fs.Var((*length)(to), name, usage)
	fs.Lookup(name).DefValue = ""
}

// weatherFlags adds the flags that mean something to a role.
func weatherFlags(c *cobra.Command, fl *app.WeatherFlags) {
	is := func(roles ...string) bool {
		for _, r := range append(roles, "all") {
			if r == fl.Role {
				return true
			}
		}
		return false
	}
	fs := c.Flags()
	if is("streamer") {
		fs.StringVar(&fl.Input, "input", "", "data set: a file, or several by a pattern (CSV, JSON lines or Parquet)")
		fs.StringVar(&fl.Format, "format", "", "csv, jsonl or parquet (default: by the name's end)")
		fs.StringVar(&fl.Timezone, "timezone", "", "zone of times that have none, such as Europe/Berlin (default UTC)")
		lengthFlag(fs, &fl.Interval, "interval", "wall time of a window (default 5m)")
		fs.StringVar(&fl.Speedup, "speedup", "", "how much faster than event time, or max for as fast as can be")
		fs.BoolVar(&fl.Loop, "loop", false, "begin the data set again at its end, as the days behind it")
		fs.IntVar(&fl.Batch, "batch", 0, "rows of a batch (default 500)")
	}
	if is("streamer", "ingester", "processor") {
		fs.BoolVar(&fl.Once, "once", false, "end when all is done")
		lengthFlag(fs, &fl.Window, "window", "length of a window (default 1h)")
		fs.StringVar(&fl.Broker, "broker", "", "redis://HOST:6379 or nats://HOST:4222 (default: one in this process)")
		fs.StringVar(&fl.BrokerUser, "broker-user", "", "user of the broker")
		fs.StringVar(&fl.BrokerPassword, "broker-password", os.Getenv("HOLDFAST_BROKER_PASSWORD"),
			"password of that user (better: $HOLDFAST_BROKER_PASSWORD)")
		fs.StringVar(&fl.BrokerToken, "broker-token", os.Getenv("HOLDFAST_BROKER_TOKEN"),
			"token of the broker (better: $HOLDFAST_BROKER_TOKEN)")
		fs.BoolVar(&fl.BrokerStreams, "broker-streams", false, "Redis Streams or JetStream: messages stay until taken")
		fs.StringVar(&fl.BrokerListen, "broker-listen", "", "host the broker for the other roles at this address")
		fs.StringVar(&fl.Channels, "channels", "", "what the names of channels begin with (default weather_channel)")
		fs.Lookup("broker-password").DefValue, fs.Lookup("broker-token").DefValue = "", "" // help shows no secret
	}
	if is("ingester") {
		lengthFlag(fs, &fl.LostAfter, "lost-after", "give a window up of which nothing came for so long (default never)")
	}
	if is("ingester", "processor", "api") {
		fs.StringVar(&fl.Database, "database", "", "http://HOST:8086/NAME (InfluxDB), postgres://USER@HOST/NAME or\n"+
			"sqlite:FILE (default: weather.sqlite)")
		fs.StringVar(&fl.DatabaseUser, "database-user", "", "user of InfluxDB")
		fs.StringVar(&fl.DatabasePassword, "database-password", os.Getenv("HOLDFAST_DATABASE_PASSWORD"),
			"password of that user (better: $HOLDFAST_DATABASE_PASSWORD)")
		fs.Lookup("database-password").DefValue = ""
	}
	if is("processor") {
		fs.StringVar(&fl.Day, "day", "", "day of the hours of WeatherVane's ingester (default: the newest in the database)")
	}
	if is("api") {
		fs.StringVar(&fl.APIListen, "api-listen", "", "address of the reports (default 127.0.0.1:5000)")
		fs.StringVar(&fl.APIToken, "api-token", os.Getenv("HOLDFAST_API_TOKEN"),
			"token that the reports ask for, where other machines reach them (better: $HOLDFAST_API_TOKEN)")
		fs.Lookup("api-token").DefValue = ""
	}
	if fl.Role == "api" {
		fs.StringVar(&fl.IngesterDir, "ingester-dir", "", "data directory of the ingester that knows the windows\n"+
			"(default: weather-ingester beside this one's)")
	}
	fs.StringVar(&fl.Listen, "listen", "", "address of the API of the process itself (default none)")
}
