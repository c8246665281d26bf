package nats

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/columns"
	"holdfast/tests/testenv"
)

func (b *broken) source(t *testing.T, change ...func(*SourceConfig)) *Source {
	t.Helper()
	cfg := SourceConfig{URL: b.server.URL(b.lossy.Addr), User: "writer", Password: "geheim123",
		Stream: "SPOTS", Key: "id", Timeout: 2 * time.Second, Linger: 50 * time.Millisecond,
		Columns: []columns.Column{{Name: "id", Type: columns.Uint64}}}
	for _, c := range change {
		c(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// hears makes it the source of a subject.
func hears(c *SourceConfig) { c.Stream, c.Subject = "", "spots" }

// publish publishes items with these ids.
func (b *broken) publish(t *testing.T, ids ...int) {
	t.Helper()
	publish(t, b.direct(), ids...)
}

func publish(t *testing.T, js jetstream.JetStream, ids ...int) {
	t.Helper()
	for _, id := range ids {
		if err := js.Conn().Publish("spots", fmt.Appendf(nil, `{"id":%d}`, id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := js.Conn().FlushTimeout(10 * time.Second); err != nil {
		t.Fatal(err)
	}
}

func upTo(from, to int) (ids []int) {
	for id := from; id <= to; id++ {
		ids = append(ids, id)
	}
	return ids
}

// gather fetches until so many rows and lost items have come.
func gather(t *testing.T, s *Source, cursor []byte, n int) (ids []int, all connector.Page) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	all.Notes = map[string]int64{}
	for all.Cursor = cursor; len(ids)+len(all.Rejected)+int(all.Lost) < n; {
		p, err := s.Fetch(ctx, connector.Request{Cursor: all.Cursor})
		if fault.Is(err, fault.Transient) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			t.Fatalf("after %d rows: %v", len(ids), err)
		}
		if !p.More {
			t.Error("a page of a stream says that there is no more")
		}
		keys, _ := record.Keys(s.Schema(), p.Rows)
		for _, k := range keys {
			ids = append(ids, int(k))
		}
		all.Cursor, all.Lost = p.Cursor, all.Lost+p.Lost
		all.Rejected = append(all.Rejected, p.Rejected...)
		for name, n := range p.Notes {
			all.Notes[name] += n
		}
	}
	return ids, all
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %.300s, want %.300s", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}

// TestStream: all messages in order, by several sources one after the other, with bad ones told.
func TestStream(t *testing.T) {
	b := fresh(t, testenv.NATS(t))
	b.create(t, jetstream.StreamConfig{})
	b.publish(t, upTo(1, 2500)...)
	few := func(c *SourceConfig) { c.Rows = 700 }
	full := func(c *SourceConfig) { c.Linger = 2 * time.Second } // on a busy machine too
	s := b.source(t, few, full)
	if !s.Traits().Pausable {
		t.Error("a stream waits for us")
	}
	p, err := s.Fetch(t.Context(), connector.Request{})
	if err != nil || p.Rows.NumRows() != 700 {
		t.Fatalf("got %+v %v, want a block of 700", p, err)
	}
	got, all := gather(t, b.source(t, few), p.Cursor, 1800)
	same(t, "the rest", got, upTo(701, 2500))
	again, _ := gather(t, s, nil, 2500)
	same(t, "all again", again, upTo(1, 2500))
	if err := b.direct().Conn().Publish("spots", []byte("{")); err != nil {
		t.Fatal(err)
	}
	b.publish(t, 2501)
	got, all = gather(t, s, all.Cursor, 2)
	same(t, "behind a bad one", got, []int{2501})
	if len(all.Rejected) != 1 || string(all.Rejected[0].Raw) != "{" || all.Lost != 0 {
		t.Errorf("got %+v, want one reject", all)
	}
}

// TestStreamOutages: whatever breaks, each message comes once for each cursor.
func TestStreamOutages(t *testing.T) {
	b := fresh(t, testenv.NATS(t))
	b.create(t, jetstream.StreamConfig{})
	s := b.source(t)
	b.publish(t, upTo(1, 10)...)
	got, all := gather(t, s, nil, 10)
	next := 11
	for name, h := range map[string][2]func(){
		"down": {b.proxy.Down, b.proxy.Up}, "frozen": {b.server.Freeze, b.server.Thaw},
		"killed": {b.server.Kill, b.server.Restart},
	} {
		h[0]()
		begun := time.Now()
		if _, err := s.Fetch(t.Context(), connector.Request{Cursor: all.Cursor}); !fault.Is(err, fault.Transient) {
			t.Errorf("%s: got %v, want an outage", name, err)
		}
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("%s: told after %v", name, took)
		}
		h[1]()
		b.publish(t, upTo(next, next+9)...)
		var more []int
		more, all = gather(t, s, all.Cursor, 10)
		got = append(got, more...)
		next += 10
	}
	same(t, "ids", got, upTo(1, next-1))
}

// TestStreamDropped: what the stream let go of before it was read is lost, and counted.
func TestStreamDropped(t *testing.T) {
	b := fresh(t, testenv.NATS(t))
	stream := b.create(t, jetstream.StreamConfig{MaxMsgs: 50})
	b.publish(t, upTo(1, 60)...)
	got, all := gather(t, b.source(t), nil, 50)
	same(t, "at first", got, upTo(11, 60))
	same(t, "lost before we came", all.Lost, 0)
	b.publish(t, upTo(61, 200)...)
	testenv.Until(t, 10*time.Second, "the stream to hold all", func() bool {
		info, err := stream.Info(t.Context())
		return err == nil && info.State.LastSeq == 200
	})
	if err := stream.DeleteMsg(t.Context(), 170); err != nil {
		t.Fatal(err)
	}
	got, all = gather(t, b.source(t), all.Cursor, 140)
	same(t, "ids", got, append(upTo(151, 169), upTo(171, 200)...))
	same(t, "lost", all.Lost, 91)
	if err := b.direct().DeleteStream(t.Context(), "SPOTS"); err != nil {
		t.Fatal(err)
	}
	b.create(t, jetstream.StreamConfig{})
	b.publish(t, 1, 2)
	got, all = gather(t, b.source(t), all.Cursor, 2)
	same(t, "ids of a stream that was made anew", got, []int{1, 2})
	same(t, "notes", all.Notes, map[string]int64{"streams_made_anew": 1})
}

// TestSubject: what is heard comes, what does not fit is counted, a break is told.
func TestSubject(t *testing.T) {
	b := fresh(t, testenv.NATS(t))
	s := b.source(t, hears, func(c *SourceConfig) { c.Buffer, c.Rows = 300, 200 })
	if s.Traits().Pausable {
		t.Error("a subject waits for nobody")
	}
	begun, err := s.Fetch(t.Context(), connector.Request{})
	if err != nil || begun.Rows != nil && begun.Rows.NumRows() > 0 || begun.Missed != nil {
		t.Fatalf("got %+v (%v), want an empty page that says since when it is heard", begun, err)
	}
	first := make(chan connector.Page, 1)
	go func() {
		p, _ := s.Fetch(t.Context(), connector.Request{Cursor: begun.Cursor})
		first <- p
	}()
	listening(t, b.direct())
	p := <-first
	if len(p.Rejected) == 0 {
		t.Fatalf("got %+v, want what was asked", p)
	}
	feed := s.Feed.(*subjectFeed)
	before, err := feed.sub.Delivered()
	if err != nil {
		t.Fatal(err)
	}
	b.publish(t, upTo(1, 1000)...)
	testenv.Until(t, 10*time.Second, "all heard", func() bool {
		n, err := feed.sub.Delivered()
		return err == nil && n >= before+1000
	})
	got, all := gather(t, s, p.Cursor, 1000)
	if len(got) < 250 || all.Lost < 650 || len(got)+int(all.Lost) < 990 {
		t.Errorf("got %d rows and %d lost, want about 300 and 700", len(got), all.Lost)
	}
	b.proxy.Down()
	if _, err := s.Fetch(t.Context(), connector.Request{}); !fault.Is(err, fault.Transient) {
		t.Errorf("down: got %v, want an outage", err)
	}
	b.proxy.Up()
	if p, err = s.Fetch(t.Context(), connector.Request{Cursor: all.Cursor}); err != nil || p.Notes["reconnects"] != 1 ||
		p.Missed == nil || !p.Missed.From.Before(p.Missed.To) {
		t.Errorf("up again: got %+v %v, want a note and since when", p, err)
	}
	// The page is not committed, and the connection breaks: what it told is told again, and more.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := s.Fetch(t.Context(), connector.Request{Cursor: all.Cursor})
	if err != nil || again.Missed == nil || !again.Missed.From.Equal(p.Missed.From) || again.Missed.To.Before(p.Missed.To) {
		t.Errorf("behind a page that was not committed: got %+v %v, want %v and more", again.Missed, err, p.Missed)
	}
	b.publish(t, 7)
	got, _ = gather(t, s, nil, 1)
	same(t, "after a break", got, []int{7})
}

// TestSourceEnds: with its context, at once, and leaves nothing behind.
func TestSourceEnds(t *testing.T) {
	b := fresh(t, testenv.NATS(t))
	stream := b.create(t, jetstream.StreamConfig{})
	ignore := goleak.IgnoreCurrent()
	for _, change := range []func(*SourceConfig){func(*SourceConfig) {}, hears} {
		s := b.source(t, change)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		begun := time.Now()
		p, err := s.Fetch(ctx, connector.Request{})
		if err == nil { // that it is heard; nothing comes behind it
			_, err = s.Fetch(ctx, connector.Request{Cursor: p.Cursor})
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's end", err)
		}
		cancel()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("a fetch ended %v after it began, want 300ms", took)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := goleak.Find(append(testenv.ProxyLeaks(), ignore)...); err != nil {
		t.Error(err)
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Consumers != 0 {
		t.Errorf("%d consumers are left (%v)", info.State.Consumers, err)
	}
}

// TestSourceRefused says what a person has to do.
func TestSourceRefused(t *testing.T) {
	b := fresh(t, testenv.NATS(t))
	fetch := func(change func(*SourceConfig)) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := b.source(t, change).Fetch(ctx, connector.Request{})
		return err
	}
	if err := fetch(func(c *SourceConfig) { c.Password = "falsch" }); !fault.Is(err, fault.Credentials) {
		t.Errorf("password: got %v", err)
	}
	if err := fetch(func(*SourceConfig) {}); !fault.Is(err, fault.Permanent) || fault.HintOf(err) == "" {
		t.Errorf("no stream: got %v (kind %v)", err, fault.KindOf(err))
	}
	b.create(t, jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy})
	if err := fetch(func(*SourceConfig) {}); !fault.Is(err, fault.Permanent) || fault.HintOf(err) == "" {
		t.Errorf("a work queue: got %v (kind %v)", err, fault.KindOf(err))
	}
}
