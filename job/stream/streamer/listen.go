package streamer

import (
	"context"
	"errors"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/stream/hear"
	"holdfast/job/stream/wire"
)

// runListen takes what is asked and confirmed, as long as each hearing lasts.
func (j *Job) runListen(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ear := <-j.ears:
			err := j.listen(ctx, ear)
			ear.Close()
			j.hears.Store(false)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			j.gate.Report(err)
		}
	}
}

// listen takes messages until the hearing ends, those too that came before it ended.
func (j *Job) listen(ctx context.Context, ear *hear.Ear) error {
	for {
		select {
		case m := <-ear.Came():
			if err := j.hear(ctx, m); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-ear.Ended():
			for len(ear.Came()) > 0 {
				if err := j.hear(ctx, <-ear.Came()); err != nil {
					break // it is the hearing that ended
				}
			}
			if err := ear.Err(); err != nil {
				return err
			}
			return fault.New(fault.Transient, "the broker ended the hearing")
		}
	}
}

// hear takes one message. What it asks for is in memory alone: who asked and got nothing asks again.
func (j *Job) hear(ctx context.Context, m connector.Heard) error {
	if err := j.understand(m.Message); err != nil {
		j.desk.count("spoilt_messages", 1)
	} else {
		j.desk.change(func() { j.desk.vain, j.desk.spoke = 0, time.Now() })
	}
	return m.Ack(ctx)
}

func (j *Job) understand(m connector.Message) error {
	if m.Topic == j.cfg.Names.Request() {
		p, err := wire.ParsePlace(m.Key)
		if err == nil {
			j.desk.change(func() {
				j.desk.counts["requests"]++
				j.desk.request(p)
			})
		}
		return err
	}
	what, err := wire.Read(m)
	if err != nil {
		return err
	}
	switch a := what.(type) {
	case wire.Ask:
		j.desk.change(func() {
			j.desk.counts["questions"]++
			j.desk.ask(a)
		})
	case wire.Confirm:
		j.desk.change(func() { j.desk.confirm(a, time.Now()) })
	default:
		return errors.New("it is not for a streamer")
	}
	return nil
}
