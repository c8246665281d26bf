package redis

import (
	"context"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"holdfast/connector"
)

// consumer is the name of the one reader of a group: what it did not acknowledge it reads again.
const consumer = "holdfast"

// groupReader reads the streams of a listener's topics as its group.
type groupReader struct {
	*connection
	connector.Listener
	broker *Broker
}

// read gives what was not acknowledged once more, and then what comes.
func (r *groupReader) read(ctx context.Context) error {
	for _, topic := range r.Topics {
		// From the first entry on: what came before the first listener is for it.
		cmd := r.B().XgroupCreate().Key(topic).Group(r.Group).Id("0").Mkstream().Build()
		if err := r.ask(ctx, cmd, 0).Error(); err != nil && !strings.Contains(err.Error(), "BUSYGROUP") {
			return err
		}
	}
	from := make([]string, len(r.Topics)) // the last entry that came again, of each topic
	for i := range from {
		from[i] = "0"
	}
	for again := true; again; {
		n, err := r.take(ctx, from, 0)
		if err != nil {
			return err
		}
		again = n > 0
	}
	r.Ready()
	for i := range from {
		from[i] = ">"
	}
	for {
		if _, err := r.take(ctx, from, r.timeout/2); err != nil {
			return err
		}
	}
}

func (r *groupReader) ask(ctx context.Context, cmd rueidis.Completed, wait time.Duration) rueidis.RedisResult {
	ctx, cancel := context.WithTimeout(ctx, wait+r.timeout)
	defer cancel()
	return r.Do(ctx, cmd)
}

// take takes entries of all topics; wait is how long the server holds the question open for one.
func (r *groupReader) take(ctx context.Context, from []string, wait time.Duration) (n int, err error) {
	const most = 64 // messages in memory; they may be large
	cmd := r.B().Xreadgroup().Group(r.Group, consumer).Count(most).Streams().Key(r.Topics...).Id(from...).Build()
	if wait > 0 {
		cmd = r.B().Xreadgroup().Group(r.Group, consumer).Count(most).Block(max(wait.Milliseconds(), 1)).Streams().
			Key(r.Topics...).Id(from...).Build()
	}
	got, err := r.ask(ctx, cmd, wait).AsXRead()
	if rueidis.IsRedisNil(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for i, topic := range r.Topics {
		for _, e := range got[topic] {
			if from[i] != ">" {
				from[i] = e.ID
			}
			n++
			if e.FieldValues == nil { // was deleted by somebody while it waited for us
				err = r.broker.ack(ctx, topic, r.Group, e.ID)
			} else {
				err = r.hear(topic, e)
			}
			if err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (r *groupReader) hear(topic string, e rueidis.XRangeEntry) error {
	group := r.Group
	err := r.Hear(connector.Heard{
		Message: connector.Message{Topic: topic, Key: e.FieldValues[fieldKey],
			Payload: []byte(e.FieldValues[fieldPayload])},
		Ack: func(ctx context.Context) error { return r.broker.ack(ctx, topic, group, e.ID) },
	})
	if err != nil {
		return hearError{err}
	}
	return nil
}

// ack drops an entry: its topic has no other group.
func (b *Broker) ack(ctx context.Context, topic, group, id string) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	c, err := b.publisher(ctx)
	if err == nil {
		for _, r := range c.DoMulti(ctx, c.B().Xack().Key(topic).Group(group).Id(id).Build(),
			c.B().Xdel().Key(topic).Id(id).Build()) {
			if err = r.Error(); err != nil {
				b.drop(c, err)
				break
			}
		}
	}
	return classify(ctx, "acknowledge "+id+" of "+topic, err)
}
