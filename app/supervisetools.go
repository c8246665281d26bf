package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/connector/notify"
	"holdfast/connector/units"
	"holdfast/job/supervise/action"
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

// ownOrder is an order that a rule can give to a job.
type ownOrder struct {
	takes []string // what may stand under with
	give  func(ctx context.Context, d *Desk, job string, with map[string]string) (string, error)
}

var ownOrders = map[string]ownOrder{
	"pause": {nil, func(_ context.Context, d *Desk, job string, _ map[string]string) (string, error) {
		return "", d.Pause(job)
	}},
	"resume": {nil, func(_ context.Context, d *Desk, job string, _ map[string]string) (string, error) {
		return "", d.Resume(job)
	}},
	"backfill": {nil, func(ctx context.Context, d *Desk, job string, _ map[string]string) (string, error) {
		return d.Command(ctx, job, "backfill")
	}},
	"checkpoint": {[]string{"name"}, func(ctx context.Context, d *Desk, job string, with map[string]string) (string, error) {
		c, err := d.CreateCheckpoint(ctx, job, with["name"], nil)
		return c.Name, err
	}},
	"replay": {[]string{"sink", "from", "to"}, func(ctx context.Context, d *Desk, job string, with map[string]string) (string, error) {
		now := time.Now()
		from, err := ParseTime(with["from"], now)
		if err != nil {
			return "", fault.As(fault.Invalid, err)
		}
		to, err := ParseTime(with["to"], now)
		if err != nil {
			return "", fault.As(fault.Invalid, err)
		}
		done, err := d.Replay(ctx, job, with["sink"], from, to, nil)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s in %s will come again", plural.Of(done.Rows, "row"), plural.Of(done.Blocks, "block")), nil
	}},
}

// order gives a job of this process an order.
func (p *Plan) order(ctx context.Context, job, order string, with map[string]string) (string, error) {
	d := p.desk.Load()
	if d == nil {
		return "", fault.New(fault.Transient, "the jobs are not there yet")
	}
	return ownOrders[order].give(ctx, d, job, with)
}
