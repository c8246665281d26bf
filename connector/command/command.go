// Package command watches what a program says each time that it is run: its exit code is the value, its output the text.
//
//	from: {command: {run: [/usr/local/bin/check-raid, --short], timeout: 10s}, every: 1m}
//
// A program that can't be started, is killed or takes too long says nothing: the look has failed, which is not the same as
// an exit code other than 0.
package command

import (
	"cmp"
	"context"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/process"
	"holdfast/connector"
)

// Config is a program that is run again and again: its exit status is the value.
type Config struct {
	// Run is the program, as an absolute path, and its arguments. No shell reads them.
	Run []string `yaml:"run"`
	// User that it runs as; default that of Holdfast.
	User string `yaml:"user"`
	// Timeout is how long it may take; default 10s.
	Timeout time.Duration `yaml:"timeout"`
}

// mostText is how much of the output is the text of a value.
const mostText = 64 << 10

// grace is how long a program that took too long has to end.
const grace = time.Second

// Watcher runs a program again and again.
type Watcher struct {
	cfg   Config
	user  *process.User
	every time.Duration
}

var _ connector.Watcher = (*Watcher)(nil)

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	return c
}

// Open returns a watcher that runs a program every so often. It runs nothing yet, but whether the program is one that
// others could replace is looked at.
func Open(cfg Config, every time.Duration) (*Watcher, error) {
	if len(cfg.Run) == 0 {
		return nil, fault.New(fault.Permanent, "run names no program")
	}
	w := &Watcher{cfg: cfg.WithDefaults(), every: every}
	err := process.Safe(cfg.Run[0])
	if err == nil && cfg.User != "" {
		w.user, err = process.FindUser(cfg.User)
	}
	return w, err
}

// Watch tells each run's exit code and output. A position means nothing to it.
func (w *Watcher) Watch(ctx context.Context, _ []byte, tell func(context.Context, connector.Seen) error) error {
	return connector.Poll(ctx, w.every, w.cfg.Timeout+2*grace, w.look, tell)
}

func (w *Watcher) look(ctx context.Context) ([]connector.Sample, []string, error) {
	if err := process.Safe(w.cfg.Run[0]); err != nil { // it may have changed since
		return nil, nil, err
	}
	r, err := process.Command{Args: w.cfg.Run, User: w.user, Within: w.cfg.Timeout, Grace: grace, Keep: mostText}.Run(ctx)
	if err != nil {
		return nil, nil, err
	}
	text := strings.TrimSpace(r.Text())
	if r.Late || r.Signal != 0 {
		return nil, nil, fault.New(fault.Transient, "%s: %v: %.200q", w.cfg.Run[0], r, text)
	}
	return []connector.Sample{{Value: float64(r.Code), Text: text}}, nil, nil
}
