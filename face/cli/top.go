package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"holdfast/app/datadir"
	"holdfast/app/desk"
	"holdfast/base/fault"
	"holdfast/face/api"
	"holdfast/kernel/engine"
)

func (f *face) topCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch the jobs in a terminal, as the console shows them",
		Long: "Watch the jobs in a terminal, as the console shows them: whether anything is\n" +
			"lost, down or late, what flows and what waits, and what happened last. It only\n" +
			"looks.\n" +
			"Keys: up and down choose a job, Enter shows it; there up, down, PgUp and PgDn\n" +
			"go through what it has, and Tab shows the next job. Esc goes back, q ends.\n" +
			"NO_COLOR is kept.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !isTerminal(os.Stdout) || !isTerminal(os.Stdin) {
				return &fault.Usage{Err: fault.WithHint(errors.New("top needs a terminal"),
					"`holdfast status` answers once, as text")}
			}
			places, _, err := f.found() // they are not opened: an engine that starts meanwhile would find them locked
			if err != nil {
				return err
			}
			_, err = tea.NewProgram(newTop(cmd.Context(), places), tea.WithContext(cmd.Context()), tea.WithFPS(10)).Run()
			if errors.Is(err, tea.ErrInterrupted) || cmd.Context().Err() != nil {
				return nil // Ctrl-C or q
			}
			return err
		},
	}
	c.Flags().StringVar(&f.dataDir, "data-dir", "", "data directory to watch (default: where holdfast keeps its data)")
	c.Flags().StringVarP(&f.config, "config", "c", "", "configuration that names the data directory")
	return c
}

// lookEvery is the time between two looks of top at the jobs: an overview is made anew no more often.
const lookEvery = time.Second

// lookFor is how long one look may take.
const lookFor = 10 * time.Second

// seen is what a look at one data directory saw last.
type seen struct {
	place datadir.Place
	asked time.Time // when the last look began
	at    time.Time // of the last answer; zero for none yet
	err   error     // of the last look
	api.Machine
	desk.Report
	desk.Verdict
	events []engine.Event // the newest, oldest first
}

// look is a look at one of the places.
type look struct {
	of int
	seen
}

// top is what `holdfast top` shows, a model of Bubble Tea.
type top struct {
	ctx    context.Context
	seen   []seen // one a data directory
	meter  meter
	width  int
	height int
	chosen string // job; "" for the first
	opened bool   // the chosen job alone is shown
	scroll int    // lines of it that are above what is shown
	page   int    // lines of it that are shown; set by draw
	now    func() time.Time
}

func newTop(ctx context.Context, places []datadir.Place) *top {
	t := &top{ctx: ctx, width: width, height: 24, now: time.Now}
	for _, p := range places {
		t.seen = append(t.seen, seen{place: p})
	}
	return t
}

// Init begins to look.
func (t *top) Init() tea.Cmd {
	var all []tea.Cmd
	for i := range t.seen {
		all = append(all, t.look(i))
	}
	return tea.Batch(all...)
}

// look asks whoever answers for a place. It opens nothing itself.
func (t *top) look(i int) tea.Cmd {
	was := t.seen[i]
	return func() tea.Msg {
		was.asked = t.now()
		was.err = was.ask(t.ctx)
		if was.err == nil {
			was.at = was.asked
		}
		return look{i, was}
	}
}

// ask fills in what an engine answers. What it had before is left as it is if there is none.
func (s *seen) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	client, err := api.Dial(s.place.Dir)
	if err != nil {
		return fault.New(fault.Transient, "nothing runs there")
	}
	var o api.Overview
	if err := client.Do(ctx, api.Request{Method: "GET", Path: "/api/v1/overview", Result: &o}); err != nil {
		return err
	}
	var rep desk.Report
	var events []engine.Event
	var machine api.Machine
	var verdict desk.Verdict
	err = errors.Join(json.Unmarshal(o.Process, &rep), json.Unmarshal(o.Machine, &machine), json.Unmarshal(o.Events, &events),
		json.Unmarshal(o.Verdict, &verdict))
	for _, name := range o.Names {
		var j engine.Status
		if text, ok := o.Jobs[name]; ok {
			err = errors.Join(err, json.Unmarshal(text, &j))
			rep.Jobs = append(rep.Jobs, j)
		}
	}
	if err == nil {
		s.Report, s.Machine, s.Verdict, s.events = rep, machine, verdict, events
	}
	return err
}

// again looks once more, a while behind the last look.
type again int

// Update takes what a look saw, a key, or the size of the terminal.
func (t *top) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case look:
		t.seen[msg.of] = msg.seen
		t.meter.add(msg.asked, t.jobs())
		wait := max(0, lookEvery-t.now().Sub(msg.asked))
		return t, tea.Tick(wait, func(time.Time) tea.Msg { return again(msg.of) })
	case again:
		return t, t.look(int(msg))
	case tea.WindowSizeMsg:
		t.width, t.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return t.press(msg.String())
	}
	return t, nil
}

func (t *top) press(key string) (tea.Model, tea.Cmd) {
	switch key {
	case "q", "ctrl+c":
		return t, tea.Quit
	case "up", "k":
		t.move(-1)
	case "down", "j":
		t.move(1)
	case "pgup", "b":
		t.move(-max(1, t.page-2))
	case "pgdown", "space":
		t.move(max(1, t.page-2))
	case "home", "g":
		t.move(-endless)
	case "end", "G":
		t.move(endless)
	case "tab", "n":
		t.choose(1)
	case "shift+tab", "p":
		t.choose(-1)
	case "enter", "right":
		t.opened, t.scroll = len(t.jobs()) > 0, 0
	case "esc", "left", "backspace":
		t.opened = false
	}
	return t, nil
}

// jobs are those of all places, in trouble first, so that what matters is on a small screen, too.
func (t *top) jobs() (all []engine.Status) {
	for _, s := range t.seen {
		all = append(all, s.Jobs...)
	}
	rank := func(j engine.Status) int {
		calm := (j.State == engine.Running || j.State == engine.Stopped) && j.Error == ""
		for _, g := range j.Gates {
			calm = calm && g.Open
		}
		if calm {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b engine.Status) int { return rank(a) - rank(b) })
	return all
}

// index is that of the chosen job, 0 if it is gone.
func (t *top) index(jobs []engine.Status) int {
	return max(0, slices.IndexFunc(jobs, func(j engine.Status) bool { return j.Name == t.chosen }))
}

// endless is further than any list goes.
const endless = 1 << 30

// move goes through the lines of the job that is shown, or through the jobs. Draw knows where the lines end.
func (t *top) move(step int) {
	if !t.opened {
		t.choose(step)
		return
	}
	t.scroll = max(0, t.scroll+step)
}

func (t *top) choose(step int) {
	t.scroll = 0
	if jobs := t.jobs(); len(jobs) > 0 {
		t.chosen = jobs[min(max(0, t.index(jobs)+step), len(jobs)-1)].Name
	}
}
