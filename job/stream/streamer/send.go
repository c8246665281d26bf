package streamer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/connector"
	"holdfast/job/stream/hear"
	"holdfast/job/stream/wire"
	"holdfast/kernel/store"
)

// errOver ends a job whose rows are all confirmed, and whose ingester knows that there are no more.
var errOver = errors.New("everything is sent and confirmed")

// runSend sends what is on the desk, while the broker is there.
func (j *Job) runSend(ctx context.Context) error {
	for {
		if err := j.gate.Wait(ctx); err != nil {
			return err
		}
		var it item
		var again time.Time
		changed := j.desk.look(func() { it, again = j.desk.pick(time.Now(), j.cfg.Once) })
		switch it.kind {
		case nothing:
			if err := wait(ctx, time.Until(again), changed); err != nil {
				return err
			}
		case theEnd:
			return j.farewell(ctx)
		default:
			if err := j.send(ctx, it); err != nil {
				return err
			}
		}
	}
}

// wait waits for a time to pass, or for a change.
func wait(ctx context.Context, d time.Duration, changed <-chan struct{}) error {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-t.C:
	}
	return nil
}

// send sends one message. A broker that does not take it closes the gate, and it stays on the desk.
func (j *Job) send(ctx context.Context, it item) error {
	m, err := j.message(it)
	if fault.Is(err, fault.Corrupt) || fault.Is(err, fault.NotFound) {
		return j.spoilt(ctx, it.window, err)
	}
	if err != nil {
		return err
	}
	if err := j.publish(ctx, m); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fault.Is(err, fault.Full) {
			j.refused.Store(&it)
			j.desk.change(func() { j.desk.air.full(time.Now()) })
		}
		j.gate.Report(err)
		return nil
	}
	j.desk.change(func() { j.desk.sent(it, time.Now()) })
	return nil
}

// publish refuses what the broker is known to refuse, with a hint: it was cut for a broker that takes more.
func (j *Job) publish(ctx context.Context, m connector.Message) error {
	if most := j.cfg.Broker.Traits().MaxPayload; most > 0 && len(m.Payload) > most {
		return fault.WithHint(fault.New(fault.Permanent, "publish to %s: it has %d bytes, and the broker takes %d",
			m.Channel(), len(m.Payload), most), "let the broker take larger messages")
	}
	return j.cfg.Broker.Publish(ctx, m)
}

func (j *Job) message(it item) (m connector.Message, err error) {
	switch it.kind {
	case aBeacon:
		m = j.beacon()
	case aGone:
		m = it.gone.Message(j.cfg.Names)
	case aManifest:
		w := new(window)
		err = j.env.Store.Latest(func(r store.Reader) error {
			v, ok, err := r.Get(keyWindow(it.window.Number))
			if err == nil && !ok {
				err = fault.New(fault.NotFound, "window %d is not there", it.window.Number)
			}
			if err == nil {
				err = decode(keyWindow(it.window.Number), v, w)
			}
			return err
		})
		m = w.manifest(j.desk.epoch).Message(j.cfg.Names)
	case aBatch:
		m = connector.Message{Topic: j.cfg.Names.Data(), Key: it.place.Key()}
		err = j.env.Store.Latest(func(r store.Reader) error {
			m.Payload, err = batchOf(r, it.window.Pile, it.batch)
			return err
		})
	}
	return m, err
}

func (j *Job) beacon() connector.Message {
	var b wire.Beacon
	j.desk.look(func() { b = j.desk.say(j.from) })
	return b.Message(j.cfg.Names)
}

// spoilt gives up a window of which something can't be read. One that was removed meanwhile is not to be sent any more.
func (j *Job) spoilt(ctx context.Context, w *window, why error) error {
	here := false
	j.desk.look(func() { here = j.desk.windows[w.Number] == w })
	if !here {
		return nil
	}
	err := j.remove([]*window{w}, lost, func([]*window) string {
		return fmt.Sprintf("window %d, %s from %s to %s, can't be sent: %v", w.Number, plural.Of(w.Rows, "row"),
			w.From.Format(time.RFC3339), w.To.Format(time.RFC3339), why)
	})
	if fault.Is(err, fault.Full) {
		return wait(ctx, time.Second, nil) // it is tried again
	}
	return err
}

const (
	farewells    = 3
	farewellWait = 100 * time.Millisecond
)

// farewell says how far the confirmations came, a few times because a broker may lose it: an ingester that hears it need
// not wait until we are silent.
func (j *Job) farewell(ctx context.Context) error {
	for range farewells {
		if err := j.cfg.Broker.Publish(ctx, j.beacon()); err != nil {
			break // who missed it has everything else
		}
		if err := wait(ctx, farewellWait, nil); err != nil {
			return err
		}
	}
	return errOver
}

// probe is the canary of the broker's gate: everything is heard, and a beacon goes out, or what the broker had no room
// for.
func (j *Job) probe(ctx context.Context) error {
	if !j.hears.Load() {
		ear := hear.Listen(ctx, j.cfg.Broker, j.cfg.Group, j.cfg.Names.Ask(), j.cfg.Names.Request())
		if err := ear.Begin(ctx); err != nil {
			ear.Close()
			return err
		}
		j.hears.Store(true)
		j.ears <- ear // nobody hears now, so there is room for it
	}
	it, m := item{kind: aBeacon}, j.beacon()
	if large := j.refused.Load(); large != nil { // there may be room for a beacon, and none for what waits
		what, err := j.message(*large)
		if err == nil {
			it, m = *large, what
		}
	}
	if err := j.publish(ctx, m); err != nil {
		return err
	}
	j.refused.Store(nil)
	j.desk.change(func() { j.desk.sent(it, time.Now()) })
	return nil
}
