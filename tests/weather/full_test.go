package weather

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// redisDo has Redis do a command that is not refused.
func (s *station) redisDo(command ...string) string {
	s.t.Helper()
	c := dialRedis(s.t, s.redis)
	defer c.Close()
	out := c.Do(context.Background(), c.B().Arbitrary(command...).Build())
	if err := out.Error(); err != nil {
		s.t.Errorf("%.100v: %v", command, err)
	}
	text, _ := out.ToString() // of an answer that is a number, there is none
	return text
}

// used is how many bytes of memory Redis uses.
func (s *station) used() (n int64) {
	s.t.Helper()
	for line := range strings.Lines(s.redisDo("INFO", "memory")) {
		if text, ok := strings.CutPrefix(line, "used_memory:"); ok {
			_, _ = fmt.Sscan(text, &n)
		}
	}
	return n
}

// limit lets Redis use so many bytes more than it does, and refuse what is beyond.
func (s *station) limit(more int64) {
	s.t.Helper()
	s.redisDo("CONFIG", "SET", "maxmemory-policy", "noeviction")
	s.redisDo("CONFIG", "SET", "maxmemory", fmt.Sprint(s.used()+more))
}

// fullBroker is Redis whose memory is full from when a role publishes a message that at reports true of, or strike is
// called; mend makes room. What roles try is counted.
func (s *station) fullBroker(at func(role, channel string) bool, strike, mend func()) *full {
	o := s.redisOutage(way{"full", "OOM|maxmemory", true, func(*outage) { strike() }, func(*outage) { mend() }})
	f := &full{outage: o, tried: map[string]*atomic.Int64{}}
	for _, name := range brokerRoles {
		n := new(atomic.Int64)
		f.tried[name] = n
		s.roles[name].broker.up = frames(func(v frame) [][]byte {
			if len(v.items) > 4 && string(v.items[0].text) == "XADD" {
				n.Add(1)
				if at(name, string(v.items[1].text)+":"+string(v.items[4].text)) {
					o.strike()
				}
			}
			return [][]byte{v.raw}
		})
	}
	return f
}

// full is a broker without room.
type full struct {
	*outage
	tried map[string]*atomic.Int64 // messages that a role published, or wanted to
}

// isClosed waits until the gates of roles say that the broker is full, and watches that they are quiet.
func (f *full) isClosed(names ...string) {
	f.t.Helper()
	f.closedFor("full", brokerGate, names...)
	began, before := time.Now(), map[string]int64{}
	for _, name := range names {
		before[name] = f.tried[name].Load()
	}
	f.idle(names...)
	for _, name := range names {
		n, took := f.tried[name].Load()-before[name], time.Since(began)
		f.t.Logf("%s: tried to publish %d messages in %.1f s", name, n, took.Seconds())
		if n < 1 || n > int64(took.Seconds())+2 {
			f.t.Errorf("the %s tried to publish %d messages in %v, want one a second", name, n, took)
		}
	}
}

// plain has the roles be what make build makes: their time is measured, or they have much to do.
func (s *station) plain() {
	s.t.Helper()
	for _, r := range s.roles {
		r.binary = testenv.PlainBinary(s.t)
	}
}

// kept has the roles that know the broker use its streams.
func (s *station) kept() {
	for _, name := range brokerRoles {
		s.with(name, "--broker-streams")
	}
}

// TestTimedRedisFull fills the broker's memory in each of the ways that it can be full.
func TestTimedRedisFull(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){
		"by a streamer that nobody hears": fullByTheStreamer,
		"by somebody else":                fullBySomebodyElse,
		"of what a role does not take":    fullOfOneListener,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// fullByTheStreamer has a streamer fill the streams before any other role has ever run. When they come, there is no
// room for what they have to say, not even for their groups, and nobody makes room but they.
func fullByTheStreamer(t *testing.T) {
	s := newStation(t, shape{seed: testenv.Seed(t), hours: 24, zips: 400})
	s.plain()
	s.kept()
	s.with(streamer, "--speedup", "max", "--batch", "40")
	s.limit(1 << 20)
	o := s.fullBroker(func(string, string) bool { return false }, func() {}, func() {
		for _, name := range []string{server, processor, ingester} {
			s.roles[name].start()
		}
	})
	s.roles[streamer].start()
	o.closedFor("full", brokerGate, streamer)
	s.limit(-64 << 10) // a few bytes more or less, as the server needs them for itself, make no room
	o.isClosed(streamer)
	if n := number(line(s.roles[streamer].await("it says what waits", func(engine.Status) bool { return true }), "windows"),
		"not sent yet"); n == 0 {
		t.Error("everything was sent: the memory was not full")
	}
	o.strike()
	o.way.mend(o.outage)
	s.finish()
	if left := s.used(); left > 20<<20 {
		t.Errorf("%d bytes are used in the end", left)
	}
}

// fullBySomebodyElse has the memory filled by other keys while all roles are at work, and freed again.
func fullBySomebodyElse(t *testing.T) {
	s := paced(t, time.Second, 6)
	s.kept()
	const hogs = 800
	// The processor has something to say then, and the others always have.
	reported := func(role, channel string) bool {
		n, is := strings.CutPrefix(channel, "weather_channel:follow:next:")
		return role == processor && is && n != "1"
	}
	o := s.fullBroker(reported, func() {
		s.limit(4 << 20)
		// Once it has begun, a script may go beyond the limit: there is no room left, not even for a few bytes.
		s.redisDo("EVAL", fmt.Sprintf("for i=1,%d do redis.call('SET','hog'..i,string.rep('x',10000)) end return 1", hogs), "0")
	}, func() {
		del := []string{"DEL"}
		for i := range hogs {
			del = append(del, fmt.Sprintf("hog%d", i+1))
		}
		s.redisDo(del...)
	})
	for _, name := range []string{server, processor, ingester, streamer} {
		s.roles[name].start()
	}
	o.awaitStruck("the first window is reported on")
	o.isClosed(brokerRoles...)
	o.mend(brokerGate, brokerRoles...)
	o.finish()
}

// fullOfOneListener has the server keep only a little for a listener that does not take it: the ingester is frozen, is
// dropped, and finds out what it missed when it goes on.
func fullOfOneListener(t *testing.T) {
	s := newStation(t, shape{seed: testenv.Seed(t), hours: 24, zips: 1000})
	s.plain()
	s.with(streamer, "--speedup", "max", "--batch", "100")
	s.redisDo("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 512kb 1")
	for _, name := range []string{server, processor, ingester} {
		s.roles[name].start()
	}
	s.awaitListeners(2 + 3) // of processor and ingester
	s.roles[ingester].p.Freeze()
	s.roles[streamer].start()
	s.awaitListeners(2 + 3 + 2)
	c := dialRedis(t, s.redis)
	testenv.Until(t, soon, "the ingester is dropped", func() bool {
		return redisAsk(t, c, "PUBSUB", "NUMPAT") == 2+2
	})
	c.Close()
	s.roles[ingester].p.Thaw()
	s.finish()
	if !s.roles[ingester].told("gate.closed", "broker: ") {
		t.Error("nobody is told that the ingester was dropped")
	}
}

// TestTimedInfluxDiskFull fills the disk of InfluxDB in the middle of the stream, at what the ingester writes and at what the
// processor writes. Behind a full disk 1.6.7 refuses every write until it is started again, as its supervisor does here.
func TestTimedInfluxDiskFull(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]struct{ role, gate string }{
		"rows":    {ingester, databaseGate},
		"reports": {processor, databaseGate + "-reports"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := bare(t)
			shape{seed: testenv.Seed(t), hours: 6, zips: 110}.write(t, s.input)
			disk := testenv.SmallDisk(t, 64<<20)
			s.redis, s.influx = testenv.Redis(t), testenv.Influx(t, disk)
			s.four("redis://", s.redis.Addr(), s.influx.Addr())
			s.with(streamer, "--interval", "1s", "--batch", "40")
			fill := filepath.Join(disk, "fill")
			s.plain()
			o := s.influxOutage(way{"out of disk", "no space left on device", true,
				func(*outage) { testenv.Fill(t, fill) }, func(o *outage) { o.server.Restart() }})
			// The first rows make a shard. Without room for that, the server would go on by itself once there is some.
			var stored atomic.Bool
			s.roles[at.role].database.up = parts(func(part []byte) {
				if bytes.HasPrefix(part, []byte("POST /write")) && stored.Load() {
					o.strike()
				}
			})
			s.start()
			s.roles[at.role].await("the first rows are stored", func(st engine.Status) bool {
				return slices.ContainsFunc(st.Balance.Sinks, func(k engine.SinkBooks) bool { return k.Sink == at.gate && k.Delivered > 0 })
			})
			stored.Store(true)
			o.awaitStruck("more is written")
			o.closedFor("full", at.gate, at.role)
			s.roles[streamer].await("all windows have gone out", func(st engine.Status) bool {
				return number(line(st, "windows"), "sent") == 6
			})
			o.idle(at.role)
			if err := os.Remove(fill); err != nil {
				t.Fatal(err)
			}
			o.idle(at.role)
			o.closedFor("full", at.gate, at.role) // there is room, and the server does not take anything
			o.mend(at.gate, at.role)
			o.finish()
		})
	}
}
