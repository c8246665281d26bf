package redis

import (
	"context"
	"slices"
	"strconv"
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
	// alone are the last entries that were heard of each topic without the group; nil if none were.
	alone []string
}

// read gives what was not acknowledged once more, and then what comes. All of it is kept, so everything that is
// published from now on is heard; to wait for a listener that takes what is old would be to wait for one that waits.
func (r *groupReader) read(ctx context.Context) error {
	full, err := r.join(ctx)
	if err != nil {
		return err
	}
	r.Ready()
	if full {
		if err := r.readAlone(ctx); err != nil {
			return err
		}
	}
	from := r.begin() // the last entry that came again, of each topic
	for again := true; again; {
		n, err := r.take(ctx, from, 0)
		if err != nil {
			return err
		}
		again = n > 0
	}
	for i := range from {
		from[i] = ">"
	}
	for {
		if _, err := r.take(ctx, from, r.timeout/2); err != nil {
			return err
		}
	}
}

// begin is the place in front of the first entry of each topic.
func (r *groupReader) begin() []string { return slices.Repeat([]string{"0"}, len(r.Topics)) }

// join makes the group of each topic that has none. A server whose memory is full refuses to, also where there is one.
func (r *groupReader) join(ctx context.Context) (full bool, err error) {
	for _, topic := range r.Topics {
		// From the first entry on: what came before the first listener is for it.
		cmd := r.B().XgroupCreate().Key(topic).Group(r.Group).Id("0").Mkstream().Build()
		err := r.ask(ctx, cmd, 0).Error()
		switch {
		case err == nil || strings.Contains(err.Error(), "BUSYGROUP"):
		case strings.HasPrefix(err.Error(), "OOM"):
			full = true
		default:
			return false, err
		}
	}
	return full, nil
}

// readAlone reads the streams without the group until that can be made: what is acknowledged makes room for it.
// Nothing is lost by that, because an entry stays in its stream until it is acknowledged, and the group begins
// with the first one.
func (r *groupReader) readAlone(ctx context.Context) error {
	r.alone = r.begin()
	for full := true; full; {
		wait := min(r.timeout/2, time.Second)
		cmd := r.B().Xread().Count(most).Block(r.blocks(wait)).Streams().Key(r.Topics...).Id(r.alone...).Build()
		got, err := r.ask(ctx, cmd, wait).AsXRead()
		if err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
		for i, topic := range r.Topics {
			for _, e := range got[topic] {
				r.alone[i] = e.ID
				if err := r.hear(topic, e); err != nil {
					return err
				}
			}
		}
		if full, err = r.join(ctx); err != nil {
			return err
		}
	}
	return nil
}

// most is how many messages of a topic are in memory at once; they may be large.
const most = 64

// blocks is a time as the server takes it.
func (r *groupReader) blocks(d time.Duration) int64 { return max(d.Milliseconds(), 1) }

func (r *groupReader) ask(ctx context.Context, cmd rueidis.Completed, wait time.Duration) rueidis.RedisResult {
	ctx, cancel := context.WithTimeout(ctx, wait+r.timeout)
	defer cancel()
	return r.Do(ctx, cmd)
}

// take takes entries of all topics; wait is how long the server holds the question open for one.
func (r *groupReader) take(ctx context.Context, from []string, wait time.Duration) (n int, err error) {
	cmd := r.B().Xreadgroup().Group(r.Group, consumer).Count(most).Streams().Key(r.Topics...).Id(from...).Build()
	if wait > 0 {
		cmd = r.B().Xreadgroup().Group(r.Group, consumer).Count(most).Block(r.blocks(wait)).Streams().
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
			switch {
			case e.FieldValues == nil: // was deleted by somebody while it waited for us
				err = r.broker.ack(ctx, topic, r.Group, e.ID)
			case r.wasHeard(i, e.ID): // it is acknowledged sooner or later, or comes in the next hearing
			default:
				err = r.hear(topic, e)
			}
			if err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// wasHeard reports whether an entry was heard without the group.
func (r *groupReader) wasHeard(topic int, id string) bool {
	return r.alone != nil && !later(id, r.alone[topic])
}

// later reports whether an entry's id is behind another's. Each is a time and a number.
func later(id, other string) bool {
	parts := func(id string) (at, number uint64) {
		a, b, _ := strings.Cut(id, "-")
		at, _ = strconv.ParseUint(a, 10, 64) // the server's own, and "0"
		number, _ = strconv.ParseUint(b, 10, 64)
		return at, number
	}
	at, number := parts(id)
	otherAt, otherNumber := parts(other)
	return at > otherAt || at == otherAt && number > otherNumber
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
	return classify(ctx, b.at()+"acknowledge "+id+" of "+topic, err)
}
