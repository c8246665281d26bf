package units

import (
	"context"
	"errors"
	"time"

	bus "github.com/godbus/dbus/v5"

	"holdfast/base/fault"
	"holdfast/connector"
)

// job is a job of systemd that was begun here.
type job struct {
	socket, verb, unit string
	path               bus.ObjectPath
	begun              time.Time
}

// do begins it and waits for its result.
func (j *job) do(ctx context.Context, c *bus.Conn, method string) error {
	signals, err := hear(ctx, c)
	if err != nil {
		return refusal(j.verb, j.unit, err)
	}
	j.begun = time.Now()
	call := c.Object(systemd, root).CallWithContext(ctx, managerIs+"."+method, 0, j.unit, "replace")
	if err := call.Store(&j.path); err != nil {
		if _, answer := errors.AsType[bus.Error](err); !answer {
			err = fault.New(fault.Transient, "%w: %w", ErrUnknown, err)
		}
		return refusal(j.verb, j.unit, err)
	}
	err = j.wait(ctx, c, signals)
	for errors.Is(err, errBus) && ctx.Err() == nil { // systemd goes on without a bus
		_ = connector.Sleep(ctx, pauseFirst) // the loop looks at ctx
		err = j.again(ctx)
	}
	return err
}

// hear has systemd tell how jobs end.
func hear(ctx context.Context, c *bus.Conn) (chan *bus.Signal, error) {
	signals := make(chan *bus.Signal, 64)
	c.Signal(signals)
	err := c.AddMatchSignalContext(ctx, bus.WithMatchSender(systemd), bus.WithMatchInterface(managerIs), bus.WithMatchMember("JobRemoved"))
	if err == nil {
		err = c.Object(systemd, root).CallWithContext(ctx, managerIs+".Subscribe", 0).Err
	}
	return signals, err
}

// errBus: the bus is away.
var errBus = errors.New("the connection to the bus ended")

func (j *job) unknown(why error) error {
	return fault.New(fault.Transient, "%s %s: %w: %w", j.verb, j.unit, ErrUnknown, why)
}

// wait waits until it has ended.
func (j *job) wait(ctx context.Context, c *bus.Conn, signals <-chan *bus.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return j.unknown(context.Cause(ctx))
		case <-c.Context().Done():
			return j.unknown(errBus)
		case s, ok := <-signals:
			if !ok {
				return j.unknown(errBus)
			}
			// id, job, unit, result
			if len(s.Body) == 4 && s.Body[1] == j.path {
				result, _ := s.Body[3].(string)
				return outcome(j.verb, j.unit, result)
			}
		}
	}
}

// again waits over a new connection, or finds out how it has ended meanwhile.
func (j *job) again(ctx context.Context) error {
	c, err := connect(ctx, j.socket)
	if err != nil {
		return j.unknown(errBus)
	}
	defer c.Close()
	signals, err := hear(ctx, c)
	if err != nil {
		return j.unknown(errBus)
	}
	var all map[string]bus.Variant
	ask := c.Object(systemd, pathOf(j.unit)).CallWithContext(ctx, properties+".GetAll", 0, unitIs)
	if err := ask.Store(&all); err != nil {
		return j.unknown(errBus)
	}
	if now, ok := all["Job"].Value().([]any); ok && len(now) == 2 && now[1] == j.path {
		return j.wait(ctx, c, signals)
	}
	return j.judge(all)
}

// judge says how a job has ended that is not there any more, by what became of its unit.
func (j *job) judge(all map[string]bus.Variant) error {
	state, _ := all["ActiveState"].Value().(string)
	since := func(name string) bool { // the unit came into a state behind the beginning of the job
		micro, _ := all[name].Value().(uint64)
		return micro > 0 && !time.UnixMicro(int64(micro)).Before(j.begun.Add(-time.Millisecond))
	}
	switch {
	case j.verb == "stop" && state != "active" && state != "activating":
		return nil
	case j.verb == "start" && state == "active", j.verb != "stop" && state == "active" && since("ActiveEnterTimestamp"):
		return nil
	case j.verb != "stop" && state == "failed" && since("InactiveEnterTimestamp"):
		return outcome(j.verb, j.unit, "failed")
	case j.verb != "stop" && state == "inactive" && since("InactiveEnterTimestamp"): // it ran, and is over
		return nil
	}
	return j.unknown(errors.New("the bus was away when it ended, and the unit is " + state))
}
