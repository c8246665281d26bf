package wire

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
)

var names = Names{DefaultPrefix}

// TestChannels holds the channels to those of the original's document.
func TestChannels(t *testing.T) {
	for want, m := range map[string]connector.Message{
		"weather_channel:data:0:7":     {Topic: names.Data(), Key: Place{Window: "7"}.Key()},
		"weather_channel:data:87:23":   {Topic: names.Data(), Key: Place{Batch: 87, Window: "23"}.Key()},
		"weather_channel:data:LAST:0":  {Topic: names.Data(), Key: Place{Last: true, Window: "0"}.Key()},
		"weather_channel:request:12:7": {Topic: names.Request(), Key: Place{Batch: 12, Window: "7"}.Key()},
		"weather_channel:processor:7":  {Topic: names.Processor(), Key: "7"},
	} {
		if m.Channel() != want || m.Check() != nil {
			t.Errorf("got %s (%v), want %s", m.Channel(), m.Check(), want)
		}
	}
}

func TestParsePlace(t *testing.T) {
	for key, want := range map[string]Place{"0:7": {Window: "7"}, "00:07": {Window: "7"}, "87:00": {Batch: 87, Window: "0"},
		"LAST:23": {Last: true, Window: "23"}, "3:20230919T07": {Batch: 3, Window: "20230919T07"}} {
		if got, err := ParsePlace(key); err != nil || got != want {
			t.Errorf("%s: got %+v %v, want %+v", key, got, err, want)
		}
	}
	for _, key := range []string{"", "1", ":", "1:", ":7", "-1:7", "last:7", "1:2:3", "99999999999999999999:7", "1000000:7"} {
		if got, err := ParsePlace(key); err == nil {
			t.Errorf("%q was taken for %+v", key, got)
		}
	}
}

var (
	day      = time.Date(2023, 9, 19, 7, 0, 0, 0, time.UTC)
	manifest = Manifest{Epoch: "e1", Number: 8, Window: "7", From: day, To: day.Add(time.Hour),
		Batches: []Batch{{500, Hash([]byte("a"))}, {3, Hash([]byte("b"))}}}
)

// TestOneBit: a message of ours comes back as it was, and with any bit changed or any end cut off it is refused.
func TestOneBit(t *testing.T) {
	more := manifest
	more.More = true
	for _, m := range []connector.Message{manifest.Message(names), more.Message(names), Beacon{Epoch: "e1", Oldest: 3, Newest: 8, Confirmed: 5}.Message(names),
		Gone{"e1", 2}.Message(names), Ask{"e1", 8, []int{0, 5}}.Message(names), Confirm{Epoch: "e1", UpTo: 7, Batches: 12, End: true}.Message(names),
		Stored{Epoch: "i", Number: 3, Window: "7", From: day, To: day.Add(time.Hour), Rows: 44_000,
			Keys: 43_999, More: true}.Message(names),
		Told{Epoch: "i", Oldest: 1, Newest: 3}.Message(names), Follow{"i", 4}.Message(names), Follow{}.Message(names)} {
		got, err := Read(m)
		if err != nil {
			t.Fatal(err)
		}
		again := got.(interface{ Message(Names) connector.Message }).Message(names)
		if !reflect.DeepEqual(again, m) {
			t.Errorf("got %s, want %s", again.Payload, m.Payload)
		}
		for bit := range len(m.Payload) * 8 {
			bad := m
			bad.Payload = []byte(string(m.Payload))
			bad.Payload[bit/8] ^= 1 << (bit % 8)
			if _, err := Read(bad); err == nil {
				t.Fatalf("%s with bit %d changed was taken", m.Channel(), bit)
			}
			bad.Payload = m.Payload[:bit/8]
			if _, err := Read(bad); err == nil {
				t.Fatalf("%s cut at %d was taken", m.Channel(), bit/8)
			}
		}
	}
}

// TestLies: a message that is whole and says what can't be is refused with a reason.
func TestLies(t *testing.T) {
	change := func(f func(*Manifest)) Manifest {
		m := manifest
		m.Batches = append([]Batch(nil), m.Batches...)
		f(&m)
		return m
	}
	for want, m := range map[string]connector.Message{
		"number of a window": change(func(m *Manifest) { m.Number = 0 }).Message(names),
		"before it begins":   change(func(m *Manifest) { m.To = m.From }).Message(names),
		"window's key":       change(func(m *Manifest) { m.Window = "a:b" }).Message(names),
		"want an epoch":      change(func(m *Manifest) { m.Epoch = "" }).Message(names),
		"batch 1":            change(func(m *Manifest) { m.Batches[1].Hash = "x" }).Message(names),
		"oldest window":      Beacon{Epoch: "e1", Oldest: 9, Newest: 7}.Message(names),
		"oldest notice":      Told{Epoch: "i", Oldest: 9, Newest: 7}.Message(names),
		"notice 0":           Stored{Epoch: "i", From: day, To: day.Add(time.Hour)}.Message(names),
		"of version 2": {Topic: names.About(), Key: "gone:1",
			Payload: []byte(Hash([]byte(`{"v":2}`)) + "\n" + `{"v":2}`)},
		"nobody speaks": {Topic: names.About(), Key: "news:1"},
	} {
		if _, err := Read(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want something about %q", err, want)
		}
	}
}

// FuzzAbout: nothing that a broker can send makes us fail.
func FuzzRead(f *testing.F) {
	f.Add("manifest:8", manifest.Message(names).Payload)
	f.Add("beacon:0", Beacon{Epoch: "e", Oldest: 1}.Message(names).Payload)
	f.Add("gone:1", []byte("x\n{}"))
	f.Fuzz(func(t *testing.T, key string, payload []byte) {
		_, _ = ParsePlace(key)
		got, err := Read(connector.Message{Topic: names.About(), Key: key, Payload: payload})
		if err != nil {
			return
		}
		// What it says can be said again.
		if _, err := Read(got.(interface{ Message(Names) connector.Message }).Message(names)); err != nil {
			t.Errorf("%+v: %v", got, err)
		}
	})
}
