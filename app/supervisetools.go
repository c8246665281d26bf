package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"holdfast/base/fault"
	"holdfast/connector/notify"
	"holdfast/connector/units"
	"holdfast/job/supervise/action"
	"holdfast/kernel/engine"
)

// tools are what actions are done with.
func (p *Plan) tools() action.Tools {
	t := action.Tools{
		Notify: p.tell,
		Order:  p.order,
		// A connection for each: they are rare, and a server that was away is not to be met by an old one.
		Client: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	if hasSystemd() {
		t.Units = systemd{}
	}
	return t
}

// systemd is that of this machine.
type systemd struct{}

func (systemd) Do(ctx context.Context, verb, unit string) error {
	err := units.Do(ctx, "", verb, unit)
	if errors.Is(err, units.ErrUnknown) {
		return fault.New(fault.Transient, "%w: %w", action.ErrUnknown, err)
	}
	return err
}

func (systemd) Kill(ctx context.Context, unit, signal string) error {
	return units.Kill(ctx, "", unit, signal)
}

// tell tells people something, by the name of a target.
func (p *Plan) tell(ctx context.Context, name, text string) error {
	address, ok := p.Notify[name]
	if !ok {
		return fault.New(fault.NotFound, "there is no target %s under notify", name)
	}
	target, err := notify.Open(address)
	if err != nil {
		return fmt.Errorf("notify %s: %w", name, err)
	}
	sent := make(chan error, 1)
	go func() { sent <- target.Send(text) }() // it has a time-out of its own, which ends it
	select {
	case err = <-sent:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("notify %s: %w", name, err)
	}
	return nil
}

// ownOrders are what a rule can order a job to do, each with what may stand under with. The desk carries them out.
var ownOrders = map[string][]string{
	"pause":      nil,
	"resume":     nil,
	"backfill":   nil,
	"checkpoint": {"name"},
	"replay":     {"sink", "from", "to"},
}

// RuleOrders are what a rule can order a job to do.
func RuleOrders() []string { return slices.Sorted(maps.Keys(ownOrders)) }

// Desk is what supervise jobs need of the desk of their own process: see SetDesk.
type Desk interface {
	// Order gives a job one of the RuleOrders, with what it takes, and tells what came of it.
	Order(ctx context.Context, job, order string, with map[string]string) (string, error)
	// Events returns the newest max events of one job or all ("") and the positions behind them.
	Events(ctx context.Context, job string, max int) ([]engine.Event, engine.Positions, error)
	// EventsBehind returns at most max events that came behind the positions, oldest first, and the positions behind these.
	EventsBehind(ctx context.Context, job string, from engine.Positions, max int) ([]engine.Event, engine.Positions, error)
}

// SetDesk says who answers for the jobs of the running engine. Until then rules that ask or order wait.
func (p *Plan) SetDesk(d Desk) { p.desk.Store(&d) }

// errNoDesk is that nobody answers for the jobs yet.
var errNoDesk = fault.New(fault.Transient, "the jobs are not there yet")

// order gives a job of this process an order.
func (p *Plan) order(ctx context.Context, job, order string, with map[string]string) (string, error) {
	d := p.desk.Load()
	if d == nil {
		return "", errNoDesk
	}
	return (*d).Order(ctx, job, order, with)
}
