package ingester

import (
	"context"
	"time"

	"holdfast/base/plural"
	"holdfast/connector"
	"holdfast/job/stream/wire"
)

// voice is the one streamer that is listened to.
type voice struct {
	epoch     string    // "" for none
	from      string    // who it is, for a person
	at        time.Time // when it was heard last
	refused   string    // the epoch that a person was told of
	speaksOld bool      // it is one of old
}

const (
	// untilOther is for how long a streamer must be silent until another is listened to.
	untilOther = 10 * time.Second
	// untilFresh is for how long what a broker kept for us may come.
	untilFresh = 3 * time.Second
	// untilOld is for how long a batch waits for its manifest until it is taken for one of a streamer of old. One of ours says
	// ten times meanwhile that it is there.
	untilOld = 5 * time.Second
	// untilForgotten is for how long a streamer of ours must be silent until one of old is listened to.
	untilForgotten = 30 * time.Second
)

// here reports whether a streamer of ours was heard just now.
func (v *voice) here(now time.Time) bool { return v.epoch != "" && now.Sub(v.at) < untilOther }

// old reports whether what has no manifest is from a streamer of old.
func (v *voice) old(now time.Time) bool { return v.epoch == "" || now.Sub(v.at) >= untilForgotten }

// ours reports whether a batch that came then may be one of ours whose manifest was not heard.
func (v *voice) ours(came time.Time) bool { return v.epoch != "" && came.Sub(v.at) < untilOther }

// listensTo reports whether a streamer is the one that is listened to. Two at a time would mix their windows.
func (in *Source) listensTo(epoch, from string, now time.Time, p *page) bool {
	v := &in.voice
	if epoch == oldEpoch {
		p.Notes["spoilt_messages"]++
		return false
	}
	other := v.epoch != "" && v.epoch != epoch
	if other && v.here(now) {
		p.Notes["refused_messages"]++
		if v.refused != epoch && from != "" {
			v.refused = epoch
			in.history.Warn("stream.second", "a second streamer is heard and refused: %s, while another is at work (%s); "+
				"stop one of them, or give them channels of their own", from, v.name())
		}
		return false
	}
	if other {
		in.history.Note("stream.adopted", "another streamer is listened to now: %s, after epoch %s", orElse(from,
			"epoch "+epoch), v.epoch)
		in.beacon = wire.Beacon{}
	}
	if from == "" && !other {
		from = v.from
	}
	*v = voice{epoch: epoch, from: from, at: now, refused: v.refused}
	return true
}

func (v *voice) name() string { return orElse(v.from, "epoch "+v.epoch) }

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// The pauses between two times that the log is told, and how they grow while no processor answers.
const (
	tellSoon   = 500 * time.Millisecond // while a processor lacks something
	tellNow    = 2 * time.Second        // else
	tellSeldom = time.Minute
	tellHeard  = 10 * time.Second // a streamer that is idle, that it is heard: else it grows silent
	unheard    = 20               // how often it is told in vain before the pauses grow
)

// talk is what was said in this hearing.
type talk struct {
	due     time.Time    // when to say again what the log has
	notices uint64       // the notices up to this one were published; who lacks one of them asks for it
	said    uint64       // the newest one that was ever published
	asked   uint64       // what a processor wanted last, 0 for nothing yet
	askedAt time.Time    // and when
	confirm wire.Confirm // the newest that was said
	heard   time.Time    // when the streamer was told that it is heard
	told    wire.Told
	vain    int // how often the log was told and no processor answered
}

// say confirms what came, publishes the notices that are new, and says which ones there are if that is due or has
// changed. next is when to say more.
func (in *Source) say(ctx context.Context, now time.Time) (next time.Time, err error) {
	t := &in.talk
	if c := in.book.confirmed(in.voice.epoch); c.Epoch != "" && c != t.confirm && in.voice.here(now) {
		if err := in.publish(ctx, c.Message(in.cfg.Names)); err != nil {
			return next, err
		}
		t.confirm, t.heard = c, now
	}
	in.tellCut()
	told := in.book.has(in.ended(now))
	upTo := t.reach(told.Newest, now)
	if t.notices < upTo {
		if err := in.announce(ctx, upTo); err != nil {
			return next, err
		}
	}
	if told != t.told || !t.due.After(now) {
		if err := in.publish(ctx, told.Message(in.cfg.Names)); err != nil {
			return next, err
		}
		t.told, t.due = told, now.Add(in.pause())
	}
	if t.notices < upTo {
		return now, nil
	}
	return t.due, nil
}

// tellEach is how many notices are let go until it is told once more.
const tellEach = 10_000

// tellCut tells a person of notices that were let go.
func (in *Source) tellCut() {
	cut, oldest := in.book.cutSoFar()
	if cut == in.cut || in.cut > 0 && cut < in.cut+tellEach {
		return
	}
	in.cut = cut
	in.history.Warn("notices.cut", "%s of stored windows let go, those in front of number %d, because no processor "+
		"was ever heard and only %d are kept: there will be no report of their windows", plural.Of(cut, "notice"), oldest, mostNotices)
}

// reach is up to which notice is to be published: no more than the processor that is heard has room for. One that is silent
// may have none, or be of old and say nothing.
func (t *talk) reach(newest uint64, now time.Time) uint64 {
	if t.asked == 0 || now.Sub(t.askedAt) >= tellSeldom {
		return newest
	}
	return min(newest, t.asked-1+mostAhead)
}

// wants takes from where on a processor wants notices. What was published is under way to it, unless it wants the same as
// before, or less: then it was lost, or it was not there yet.
func (t *talk) wants(next uint64, now time.Time) {
	if t.asked == 0 || next <= t.asked || next > t.notices {
		t.notices = next - 1
	}
	t.notices = min(t.notices, next-1+mostAhead) // for more there was no room
	t.asked, t.askedAt = next, now
}

// pause is how long to wait until the log is told again.
func (in *Source) pause() time.Duration {
	in.talk.vain++
	pause := tellSoon
	if in.book.followed() {
		pause = tellNow
	}
	if in.cfg.Once && !in.cfg.Broker.Traits().Durable { // its end must not wait
		return pause
	}
	return min(pause<<min(max(in.talk.vain-unheard, 0), 10), tellSeldom)
}

const (
	// mostAnnounced is how many notices are published before something is heard again.
	mostAnnounced = 100
	// mostAhead is how many of them a processor is given beyond what it has done with: it has room for so many.
	mostAhead = 1_000
)

// announce publishes the next notices, up to one. A processor of old is told too. A broker that keeps messages
// would keep those that nobody takes for ever, and those of old know no such broker.
func (in *Source) announce(ctx context.Context, upTo uint64) error {
	t := &in.talk
	list, err := in.book.notices(ctx, t.notices+1, min(mostAnnounced, int(upTo-t.notices)))
	if err != nil {
		return err
	}
	if len(list) == 0 { // they are not kept any more
		t.notices = upTo
	}
	for _, n := range list {
		if err := in.publish(ctx, n.Message(in.cfg.Names)); err != nil {
			return err
		}
		if !in.cfg.Broker.Traits().Durable && n.Number > t.said {
			err := in.publish(ctx, connector.Message{Topic: in.cfg.Names.Processor(), Key: n.Window, Payload: []byte(n.Window)})
			if err != nil {
				return err
			}
		}
		t.notices, t.said = n.Number, max(t.said, n.Number)
	}
	return in.book.said(t.said)
}

// takeFollow has the notices given that a processor asks for. One that asks for others is told what there is.
func (in *Source) takeFollow(f wire.Follow, now time.Time) error {
	ours, err := in.book.follow(f, now)
	if err != nil {
		return err
	}
	in.talk.vain, in.talk.due = 0, time.Time{}
	if !ours {
		return nil
	}
	in.followed = true
	in.talk.wants(f.Next, now)
	return nil
}

// over reports whether there is nothing more to do, and everybody knows: the streamer has heard the last confirmation and
// a processor has every notice, as they said in this life, or they are silent because they have ended before.
func (in *Source) over(now time.Time) bool {
	if !in.cfg.Once || !in.ended(now) || !in.book.followed() {
		return false
	}
	if in.silent(now) {
		return true
	}
	return in.followed && in.beacon.Epoch == in.voice.epoch && in.beacon.Confirmed >= in.beacon.Newest
}

// ended reports whether the streamer is at its end, and every window of it is stored. What it said in a former life of
// ours does not count while it may be heard in this one: it may have another data set by now.
func (in *Source) ended(now time.Time) bool {
	said := in.beacon.End && in.beacon.Epoch == in.voice.epoch
	return (said || in.silent(now)) && in.book.ended(in.voice.epoch)
}

// tellUnended tells a person if nothing but the word of a silent streamer is waited for that it is at its end: it may have
// died. It returns when to look again, zero for when something is heard.
func (in *Source) tellUnended(now time.Time) (next time.Time) {
	if !in.cfg.Once || in.voice.epoch == "" || !in.book.unended(in.voice.epoch) {
		in.unended.Store(false)
		return next
	}
	if !in.silent(now) {
		in.unended.Store(false)
		if next = in.voice.at; next.Before(in.hearing) {
			next = in.hearing
		}
		return next.Add(untilOther)
	}
	if !in.unended.Swap(true) {
		in.history.Warn("stream.unended", "all that came is stored, and %s", unended)
	}
	return next
}

// unended is what a person is told.
const unended = "the streamer is silent and has not said that it is at its end: start it once more where it was, which says " +
	"so, or end this job"

// stale reports whether a beacon may be one that the broker kept since a former life: it has no news, and came with all that
// waited for us.
func (in *Source) stale(b wire.Beacon, now time.Time) bool {
	return in.cfg.Broker.Traits().Durable && b.Epoch == in.former.Epoch && b.Newest <= in.former.Known &&
		now.Sub(in.hearing) < untilFresh
}

// silent reports whether the streamer would have been heard if it were there.
func (in *Source) silent(now time.Time) bool {
	return now.Sub(in.hearing) >= untilOther && !in.voice.here(now)
}

const (
	farewells    = 3
	farewellWait = 100 * time.Millisecond
)

// farewell says that there is nothing more, a few times because a broker may lose it.
func (in *Source) farewell(ctx context.Context) error {
	for range farewells {
		for _, m := range []connector.Message{in.book.confirmed(in.voice.epoch).Message(in.cfg.Names),
			in.book.has(true).Message(in.cfg.Names)} {
			if in.publish(ctx, m) != nil {
				return nil // who missed it has everything else
			}
		}
		wait := time.NewTimer(farewellWait)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
	}
	return nil
}
