package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/columns"
	"holdfast/tests/testenv"
)

// front is a Redis behind a proxy, with a client of the test's own.
type front struct {
	*testenv.RedisServer
	t     *testing.T
	proxy *testenv.FaultyProxy
}

func start(t *testing.T) *front {
	t.Helper()
	r := testenv.Redis(t)
	return &front{r, t, testenv.Proxy(t, r.Addr())}
}

// do runs commands, words with spaces between them.
func (s *front) do(commands ...string) {
	s.t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr()},
		Password: "geheim123", DisableCache: true, ForceSingleClient: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	for _, command := range commands {
		err := c.Do(context.Background(), c.B().Arbitrary(strings.Fields(command)...).Build()).Error()
		if err != nil && !rueidis.IsRedisNil(err) {
			s.t.Fatalf("%s: %v", command, err)
		}
	}
}

// publish adds entries with these ids in a field.
func (s *front) publish(from, to int) {
	s.t.Helper()
	var all []string
	for id := from; id <= to; id++ {
		all = append(all, fmt.Sprintf("XADD spots * id %d name n%d", id, id))
	}
	s.do(all...)
}

func (s *front) source(change ...func(*Config)) *Source {
	s.t.Helper()
	cfg := Config{URL: "redis://" + s.proxy.Addr(), Password: "geheim123", Stream: "spots", Key: "id",
		Timeout: time.Second, Linger: 50 * time.Millisecond,
		Columns: []columns.Column{{Name: "id", Type: columns.Uint64}}}
	for _, c := range change {
		c(&cfg)
	}
	src, err := Open(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = src.Close() })
	return src
}

// gather fetches until so many items have come or are lost.
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
			t.Fatalf("after %d rows and %d lost: %v", len(ids), all.Lost, err)
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

func upTo(from, to int) (ids []int) {
	for id := from; id <= to; id++ {
		ids = append(ids, id)
	}
	return ids
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %.300s, want %.300s", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}

// TestStream: all entries in order, by several sources one after the other, bad ones told.
func TestStream(t *testing.T) {
	r := start(t)
	r.publish(1, 2500)
	s := r.source(func(c *Config) { c.Rows = 700 })
	p, err := s.Fetch(t.Context(), connector.Request{})
	if err != nil || p.Rows.NumRows() != 700 || !p.More {
		t.Fatalf("got %+v %v, want a block of 700", p, err)
	}
	got, all := gather(t, r.source(), p.Cursor, 1800)
	same(t, "the rest", got, upTo(701, 2500))
	again, _ := gather(t, s, s.Start(7), 2500)
	same(t, "all again", again, upTo(1, 2500))
	r.do("XADD spots * id x", "XADD spots * name y")
	r.publish(2501, 2501)
	got, all = gather(t, s, all.Cursor, 3)
	same(t, "behind bad ones", got, []int{2501})
	if len(all.Rejected) != 2 || string(all.Rejected[0].Raw) != `{"id":"x"}` || all.Lost != 0 {
		t.Errorf("got %+v, want two rejects", all)
	}
	for _, rej := range all.Rejected {
		if p := s.Parse(rej.Raw); len(p.Rejected) != 1 || p.Rejected[0].Reason != rej.Reason {
			t.Errorf("%s: parsed again it is %+v", rej.Raw, p)
		}
	}
}

// TestField: a field may hold JSON.
func TestField(t *testing.T) {
	r := start(t)
	r.do(`XADD spots * id 7 body {"id":3}`, `XADD spots * body {`, `XADD spots * id 4`)
	got, all := gather(t, r.source(func(c *Config) { c.Field = "body" }), nil, 3)
	same(t, "ids", got, []int{3})
	if len(all.Rejected) != 2 || !strings.Contains(all.Rejected[1].Reason, "no field body") {
		t.Errorf("got %+v, want two rejects", all.Rejected)
	}
}

// TestTrimmed: what was gone before it was read is counted, at the first rest.
func TestTrimmed(t *testing.T) {
	r := start(t)
	r.publish(1, 60)
	r.do("XTRIM spots MAXLEN 50")
	got, all := gather(t, r.source(), nil, 50)
	same(t, "at first", got, upTo(11, 60))
	same(t, "lost before we came", all.Lost, 0)
	r.publish(61, 200)
	r.do("XTRIM spots MAXLEN 50")
	got, all = gather(t, r.source(), all.Cursor, 140)
	same(t, "ids", got, upTo(151, 200))
	same(t, "lost", all.Lost, 90)
	r.do("DEL spots", "XADD spots 5-1 id 1", "XADD spots 5-2 id 2")
	got, all = gather(t, r.source(), all.Cursor, 2)
	same(t, "ids of a stream that was made anew", got, []int{1, 2})
	same(t, "notes", all.Notes, map[string]int64{"streams_made_anew": 1})
	same(t, "lost then", all.Lost, 0)
}

// TestWaits: a fetch of a stream that is not there yet ends when there is an entry.
func TestWaits(t *testing.T) {
	r := start(t)
	s := r.source()
	came := make(chan connector.Page, 1)
	go func() {
		p, err := s.Fetch(t.Context(), connector.Request{})
		if err != nil {
			t.Errorf("fetch: %v", err)
		}
		came <- p
	}()
	time.Sleep(1500 * time.Millisecond) // beyond one question's time, which nothing but time shows
	r.publish(1, 3)
	if p := <-came; p.Rows == nil || p.Rows.NumRows() != 3 || p.Lost != 0 {
		t.Errorf("got %+v, want 3 rows in one block", p)
	}
}

func (s *front) outages() map[string][2]func() {
	return map[string][2]func(){"down": {s.proxy.Down, s.proxy.Up}, "frozen": {s.Freeze, s.Thaw},
		"killed": {s.Kill, s.Restart}}
}

// TestOutages: whatever breaks is told in time, and each entry comes once for each cursor.
func TestOutages(t *testing.T) {
	r := start(t)
	s := r.source()
	r.publish(1, 10)
	got, all := gather(t, s, nil, 10)
	next := 11
	for name, h := range r.outages() {
		h[0]()
		begun := time.Now()
		_, err := s.Fetch(t.Context(), connector.Request{Cursor: all.Cursor})
		if took := time.Since(begun); !fault.Is(err, fault.Transient) || took > 4*time.Second {
			t.Errorf("%s: got %v after %v, want an outage", name, err, took)
		}
		h[1]()
		r.publish(next, next+9)
		var more []int
		more, all = gather(t, s, all.Cursor, 10)
		got = append(got, more...)
		next += 10
	}
	same(t, "ids", got, upTo(1, next-1))
}

// TestEnds: with its context, at once, and leaves nothing behind.
func TestEnds(t *testing.T) {
	r := start(t)
	ignore := goleak.IgnoreCurrent()
	for _, change := range []func(*Config){func(*Config) {}, hears} {
		s := r.source(change, func(c *Config) { c.Timeout = time.Minute })
		ctx, cancel := context.WithCancel(t.Context())
		stop := time.AfterFunc(300*time.Millisecond, cancel)
		begun := time.Now()
		p, err := s.Fetch(ctx, connector.Request{})
		if err == nil { // that it is heard; nothing comes behind it
			_, err = s.Fetch(ctx, connector.Request{Cursor: p.Cursor})
		}
		if took := time.Since(begun); !errors.Is(err, context.Canceled) || took > time.Second {
			t.Errorf("got %v after %v, want the context's end after 300ms", err, took)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		stop.Stop()
	}
	if err := goleak.Find(append(testenv.ProxyLeaks(), ignore)...); err != nil {
		t.Error(err)
	}
}

// TestRefused says what a person has to do.
func TestRefused(t *testing.T) {
	r := start(t)
	r.do("SET text x", "ACL SETUSER poor on >geheim123 ~* +hello +client +xread")
	for what, c := range map[string]struct {
		change func(*Config)
		kind   fault.Kind
	}{
		"password": {func(c *Config) { c.Password = "falsch" }, fault.Credentials},
		"none":     {func(c *Config) { c.Password = "" }, fault.Credentials},
		"kind":     {func(c *Config) { c.Stream = "text" }, fault.Permanent},
		"rights":   {func(c *Config) { c.User = "poor" }, fault.Permanent},
		"channel":  {func(c *Config) { hears(c); c.User = "poor" }, fault.Permanent},
		"hearing":  {func(c *Config) { hears(c); c.Password = "falsch" }, fault.Credentials},
	} {
		_, err := r.source(c.change).Fetch(t.Context(), connector.Request{})
		if !fault.Is(err, c.kind) || fault.HintOf(err) == "" || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: got %v (kind %v), want %v with a hint", what, err, fault.KindOf(err), c.kind)
		}
	}
}

// listening waits until a channel has somebody who hears it.
func (s *front) listening(n int) {
	s.t.Helper()
	testenv.Until(s.t, 10*time.Second, "a subscription", func() bool {
		c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr()}, Password: "geheim123",
			DisableCache: true, ForceSingleClient: true})
		if err != nil {
			return false
		}
		defer c.Close()
		got, err := c.Do(s.t.Context(), c.B().Arbitrary("PUBLISH", "spots.x", "no row").Build()).AsInt64()
		return err == nil && got == int64(n)
	})
}

func hears(c *Config) { c.Stream, c.Pattern = "", "spots.*" }

// say publishes items with these ids on a channel.
func (s *front) say(from, to int) {
	s.t.Helper()
	var all []string
	for id := from; id <= to; id++ {
		all = append(all, fmt.Sprintf(`PUBLISH spots.x {"id":%d}`, id))
	}
	s.do(all...)
}

// TestChannel: what is heard comes, what does not fit is counted, a break is told with its time, and what
// was said while nobody listened is known to be missed.
func TestChannel(t *testing.T) {
	r := start(t)
	s := r.source(hears, func(c *Config) { c.Buffer, c.Rows = 300, 200 })
	if s.Traits().Pausable {
		t.Error("a channel waits for nobody")
	}
	type answer struct {
		connector.Page
		err error
	}
	first := make(chan answer, 1)
	begun, err := s.Fetch(t.Context(), connector.Request{})
	if err != nil || begun.Rows != nil && begun.Rows.NumRows() > 0 || begun.Missed != nil {
		t.Fatalf("got %+v (%v), want an empty page that says since when it is heard", begun, err)
	}
	go func() {
		p, err := s.Fetch(t.Context(), connector.Request{Cursor: begun.Cursor})
		first <- answer{p, err}
	}()
	r.listening(1)
	got := <-first
	if got.err != nil || len(got.Rejected) == 0 || got.Missed != nil {
		t.Fatalf("got %+v, want what was said, and nothing missed before the first time", got)
	}
	feed := s.Feed.(*channelFeed)
	for rows, _ := feed.buffer.Waiting(); rows > 0; rows, _ = feed.buffer.Waiting() {
		got.Page, got.err = s.Fetch(t.Context(), connector.Request{Cursor: got.Cursor})
	}
	r.say(1, 1000)
	r.do("PUBLISH spots.x x") // no JSON; its answer comes when all before it are on their way
	lost := int64(0)
	testenv.Until(t, 10*time.Second, "a full buffer, and the rest lost", func() bool {
		rows, _ := feed.buffer.Waiting()
		lost += s.Traits().Lost() // as a job asks that is held
		return rows == 300 && lost >= 701
	})
	if lost != 701 {
		t.Errorf("%d are told to be lost before the next page, want 701", lost)
	}
	ids, all := gather(t, s, got.Cursor, 300)
	if len(ids) != 300 || all.Lost != 0 {
		t.Errorf("got %d rows and %d lost, want 300 and none that was not told", len(ids), all.Lost)
	}
	same(t, "in order", ids, upTo(1, 300))
	r.proxy.Down()
	if _, err := s.Fetch(t.Context(), connector.Request{Cursor: all.Cursor}); !fault.Is(err, fault.Transient) {
		t.Errorf("down: got %v, want an outage", err)
	}
	r.say(2000, 2010) // nobody hears it
	r.proxy.Up()
	p, err := s.Fetch(t.Context(), connector.Request{Cursor: all.Cursor})
	if err != nil || p.Notes["reconnects"] != 1 || p.Missed == nil || !p.Missed.From.Before(p.Missed.To) {
		t.Fatalf("up again: got %+v %v, want a note, and since when", p, err)
	}
	r.say(7, 7)
	ids, all = gather(t, s, p.Cursor, 1)
	same(t, "after a break", ids, []int{7})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = r.source(hears)
	p, err = s.Fetch(t.Context(), connector.Request{Cursor: all.Cursor})
	if err != nil || p.Missed == nil || !p.Missed.From.Before(p.Missed.To) {
		t.Errorf("another life: got %+v %v, want since when nobody listened", p, err)
	}
	// The page is not committed, and the connection breaks: what it told is told again, and more.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := s.Fetch(t.Context(), connector.Request{Cursor: all.Cursor})
	if err != nil || again.Missed == nil || !again.Missed.From.Equal(p.Missed.From) || again.Missed.To.Before(p.Missed.To) {
		t.Errorf("behind a page that was not committed: got %+v %v, want %v and more", again.Missed, err, p.Missed)
	}
}

// TestChannelBroken: whatever breaks is told in time, also where nothing is said.
func TestChannelBroken(t *testing.T) {
	r := start(t)
	for name, h := range r.outages() {
		s := r.source(hears)
		failed := make(chan error, 1)
		go func() {
			p, err := s.Fetch(t.Context(), connector.Request{})
			for err == nil {
				p, err = s.Fetch(t.Context(), connector.Request{Cursor: p.Cursor})
			}
			failed <- err
		}()
		r.listening(1)
		h[0]()
		select {
		case err := <-failed:
			if !fault.Is(err, fault.Transient) {
				t.Errorf("%s: got %v", name, err)
			}
		case <-time.After(6 * time.Second):
			t.Fatalf("%s: nobody is told", name)
		}
		h[1]()
	}
}

func TestValidate(t *testing.T) {
	c := Config{URL: "redis://u:geheim123@h", User: "x", Rows: -1, Linger: -1, Timeout: 1, Buffer: -1,
		Channel: "c", Pattern: "p*", Field: "f"}
	got := errors.Join(c.Validate()...).Error()
	for _, key := range []string{"url:", "password:", "stream:", "columns:", "rows:", "linger:", "timeout:",
		"buffer:", "field:"} {
		if !strings.Contains(got, key) {
			t.Errorf("nothing about %s in %s", key, got)
		}
	}
	if strings.Contains(got, "geheim") {
		t.Errorf("the password is told: %s", got)
	}
}
