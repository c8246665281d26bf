package ingester

import (
	"context"
	"time"

	"holdfast/connector"
	"holdfast/job/stream/wire"
)

// voice is the one streamer that is listened to.
type voice struct {
	epoch     string    // "" for none
	at        time.Time // when it was heard last
	refused   string    // the epoch that a person was told of
	speaksOld bool      // it is one of old
}

const (
	// untilOther is for how long a streamer must be silent until another is listened to.
	untilOther = 10 * time.Second
	// untilOld is for how long a batch waits for its manifest until it is taken for one of a streamer of old.
	untilOld = 2 * time.Second
	// untilForgotten is for how long a streamer of ours must be silent until one of old is listened to.
	untilForgotten = 30 * time.Second
)

// old reports whether what has no manifest is from a streamer of old.
func (v *voice) old(now time.Time) bool {
	return v.epoch == "" || now.Sub(v.at) > untilForgotten
}

// listensTo reports whether a streamer is the one that is listened to. Two at a time would mix their windows.
func (in *Source) listensTo(epoch, from string, now time.Time, p *pageOf) bool {
	v := &in.voice
	if epoch == oldEpoch {
		p.Notes["spoilt_messages"]++
		return false
	}
	if v.epoch != "" && v.epoch != epoch && now.Sub(v.at) < untilOther {
		p.Notes["refused_messages"]++
		if v.refused != epoch && from != "" {
			v.refused = epoch
			in.history.Warn("stream.second", "a second streamer is heard and refused: %s, while another is at work; stop "+
				"one of them, or give them channels of their own", from)
		}
		return false
	}
	if v.epoch != "" && v.epoch != epoch {
		in.history.Note("stream.adopted", "another streamer is listened to now: epoch %s after %s", epoch, v.epoch)
	}
	*v = voice{epoch: epoch, at: now, refused: v.refused}
	return true
}

// The pauses between two times that the log is told: while a processor lacks something, and else.
const (
	tellSoon = 500 * time.Millisecond
	tellNow  = 2 * time.Second
)

// say confirms what came and publishes the notices that are new, and says which ones there are; next is when to say
// so again.
func (in *Source) say(ctx context.Context, now time.Time) (next time.Time, err error) {
	if in.voice.epoch != "" {
		c := in.book.confirmed(in.voice.epoch)
		if err := in.cfg.Broker.Publish(ctx, c.Message(in.cfg.Names)); err != nil {
			return next, err
		}
	}
	for in.book.newest() > in.said {
		list, err := in.book.notices(ctx, in.said+1, 100)
		if err != nil {
			return next, err
		}
		if len(list) == 0 { // older ones are not kept
			in.said = in.book.newest()
		}
		for _, n := range list {
			if err := in.publish(ctx, n); err != nil {
				return next, err
			}
		}
		if err := in.book.said(in.said); err != nil {
			return next, err
		}
	}
	told := in.book.told(in.ended())
	if err := in.cfg.Broker.Publish(ctx, told.Message(in.cfg.Names)); err != nil {
		return next, err
	}
	if in.book.followed() {
		return now.Add(tellNow), nil
	}
	return now.Add(tellSoon), nil
}

// publish tells of a stored window, a processor of old too. A broker that keeps messages would keep those that
// nobody takes for ever, and those of old know no such broker.
func (in *Source) publish(ctx context.Context, n wire.Stored) error {
	if err := in.cfg.Broker.Publish(ctx, n.Message(in.cfg.Names)); err != nil {
		return err
	}
	if !in.cfg.Broker.Traits().Durable {
		err := in.cfg.Broker.Publish(ctx, connector.Message{Topic: in.cfg.Names.Processor(), Key: n.Window,
			Payload: []byte(n.Window)})
		if err != nil {
			return err
		}
	}
	in.said = n.Number
	return nil
}

// takeFollow gives a processor the notices that it asks for. One that asks for others is told what there is.
func (in *Source) takeFollow(ctx context.Context, f wire.Follow, now time.Time) error {
	ours, err := in.book.follow(f, now)
	if err != nil {
		return err
	}
	if !ours {
		return in.cfg.Broker.Publish(ctx, in.book.told(in.ended()).Message(in.cfg.Names))
	}
	list, err := in.book.notices(ctx, f.Next, 100)
	if err != nil {
		return err
	}
	for _, n := range list {
		if err := in.cfg.Broker.Publish(ctx, n.Message(in.cfg.Names)); err != nil {
			return err
		}
	}
	in.tell = time.Time{}
	return nil
}

// ended reports whether the streamer is at its end, and all of it is stored.
func (in *Source) ended() bool {
	return in.end.End && in.end.Epoch == in.voice.epoch && in.book.allStored(in.end)
}

// over reports whether there is nothing more to do, and to be told.
func (in *Source) over() bool { return in.cfg.Once && in.ended() && in.book.followed() }
