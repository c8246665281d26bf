package streamer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/base/record"
	"holdfast/job/stream/wire"
)

func newCutter() *cutter {
	return &cutter{span: time.Hour, batch: 500, most: 1 << 20, layout: DefaultTimeLayout, name: hourKey,
		schema: smallSchema(), state: state{Next: 1, NextPile: 1}}
}

// cuts cuts pages of rows, and returns the windows with what is in their batches.
type cuts struct {
	t       *testing.T
	c       *cutter
	batches map[string]string // by pile and index
	windows []*window
	refused []string
}

func newCuts(t *testing.T, c *cutter) *cuts { return &cuts{t: t, c: c, batches: map[string]string{}} }

func (k *cuts) step(s *step) {
	k.t.Helper()
	for _, b := range s.batches {
		text, err := unpack(b.packed)
		if err != nil {
			k.t.Fatal(err)
		}
		k.batches[fmt.Sprint(b.pile, b.index)] = string(text)
	}
	k.windows = append(k.windows, s.windows...)
	for _, r := range s.refused {
		k.refused = append(k.refused, r.Reason)
	}
}

func (k *cuts) page(rows ...obs) {
	k.t.Helper()
	k.step(k.c.take(batchRows(rows)))
}

func (k *cuts) end(again bool) {
	k.t.Helper()
	s := new(step)
	k.c.end(s, again)
	k.step(s)
}

// texts returns of each window its number, hour and the rows of each batch, by zip code.
func (k *cuts) texts() (out []string) {
	k.t.Helper()
	for _, w := range k.windows {
		text := fmt.Sprintf("%d %s:", w.Number, w.From.Format("02T15:04"))
		if w.Late {
			text = "late " + text
		}
		rows := 0
		for i, p := range w.Parts {
			payload := k.batches[fmt.Sprint(w.Pile, i)]
			items, err := itemsOf([]byte(payload))
			if err != nil || len(items) != p.Rows || p.Hash != wire.Hash([]byte(payload)) || p.Size != len(payload) {
				k.t.Errorf("window %d batch %d: %v, %d rows of %d bytes, want %+v", w.Number, i, err, len(items), len(payload), p)
			}
			var zips []string
			for _, it := range items {
				zips = append(zips, it["zip_code"].(string))
				if it["hour"] != float64(w.From.Hour()) || it["time"].(string)[:10] != w.From.Format(time.DateOnly) {
					k.t.Errorf("window %d of %v has %v", w.Number, w.From, it)
				}
			}
			rows += len(items)
			text += " [" + strings.Join(zips, " ") + "]"
		}
		if rows != w.Rows || !w.To.Equal(w.From.Add(k.c.span)) {
			k.t.Errorf("window %d: %+v, %d rows", w.Number, w, rows)
		}
		out = append(out, text)
	}
	return out
}

func (k *cuts) want(want ...string) {
	k.t.Helper()
	if got := k.texts(); !slices.Equal(got, want) {
		k.t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func at(hour, minute int, zip string) obs {
	return obs{At: day.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute), Zip: zip}
}

// TestWindows: an empty hour makes no window, an hour of one row one batch, a whole last batch no empty one
// behind it; rows within the open window come in any order.
func TestWindows(t *testing.T) {
	k := newCuts(t, newCutter())
	k.c.batch = 2
	k.page(at(0, 59, "a"), at(0, 0, "b"), at(0, 30, "c"), at(0, 31, "d"))
	k.want()
	k.page(at(3, 0, "e"), at(23, 59, "f"), at(23, 0, "g"))
	k.want("1 19T00:00: [a b] [c d]", "2 19T03:00: [e]")
	k.page(at(24, 0, "h"))
	k.end(false)
	k.want("1 19T00:00: [a b] [c d]", "2 19T03:00: [e]", "3 19T23:00: [f g]", "4 20T00:00: [h]")
	if !k.c.state.Over {
		t.Error("it is not over")
	}
}

// TestLateRows: rows of a window that is closed are a further window of their time once the open one closes.
func TestLateRows(t *testing.T) {
	k := newCuts(t, newCutter())
	k.page(at(1, 0, "a"), at(2, 0, "b"), at(0, 5, "late"), at(1, 6, "behind"), at(2, 1, "c"), at(0, 7, "too"))
	k.want("1 19T01:00: [a]")
	k.page(at(5, 0, "d"), at(2, 3, "e"))
	k.end(false)
	k.want("1 19T01:00: [a]", "2 19T02:00: [b c]", "late 3 19T00:00: [late too]", "late 4 19T01:00: [behind]",
		"5 19T05:00: [d]", "late 6 19T02:00: [e]")
}

// TestMostLate: more late time ranges than are collected at once are cut early, and nothing is lost.
func TestMostLate(t *testing.T) {
	k := newCuts(t, newCutter())
	k.page(at(500, 0, "now"))
	for i := range 2*mostLate + 3 {
		k.page(at(400-i, 0, fmt.Sprint(i)))
		if n := len(k.c.late); n > mostLate {
			t.Fatalf("%d late ranges at once", n)
		}
	}
	k.end(false)
	if n := len(k.texts()); n != 2*mostLate+4 {
		t.Errorf("%d windows", n)
	}
}

// TestLargeRows: a batch is cut before it is too large for the broker, and a row that is too large alone is
// refused.
func TestLargeRows(t *testing.T) {
	k := newCuts(t, newCutter())
	k.c.most = 300
	big := strings.Repeat("x", 300)
	k.page(at(0, 0, "a"), at(0, 0, "b"), at(0, 0, big), at(0, 0, "c"), at(0, 0, "d"), at(0, 0, "e"), at(0, 0, "f"))
	k.end(false)
	k.want("1 19T00:00: [a b c d] [e f]")
	for i := range 2 {
		if n := len(k.batches[fmt.Sprint(1, i)]); n > 300 {
			t.Errorf("batch %d has %d bytes", i, n)
		}
	}
	if len(k.refused) != 1 || !strings.Contains(k.refused[0], "a message of the broker takes 300") {
		t.Errorf("refused: %q", k.refused)
	}
}

// TestLargeWindow: a window whose manifest would be too large goes on in another one.
func TestLargeWindow(t *testing.T) {
	k := newCuts(t, newCutter())
	k.c.batch = 1
	rows := make([]obs, mostParts+2)
	for i := range rows {
		rows[i] = at(0, 0, fmt.Sprint(i))
	}
	k.page(rows...)
	k.end(false)
	if n := len(k.windows); n != 2 || len(k.windows[0].Parts) != mostParts || len(k.windows[1].Parts) != 2 {
		t.Fatalf("%d windows", n)
	}
	if m := k.windows[0].manifest("e").Message(names); len(m.Payload) > 1<<20-forWords {
		t.Errorf("the manifest has %d bytes", len(m.Payload))
	}
}

// TestLaps: a data set that begins again is later by the days that its windows span, so that the second day
// follows the first.
func TestLaps(t *testing.T) {
	for _, c := range []struct {
		rows []obs
		days int
	}{
		{[]obs{at(0, 0, "a"), at(23, 59, "b")}, 1},
		{[]obs{at(7, 0, "a")}, 1},
		{[]obs{at(0, 0, "a"), at(24, 0, "b")}, 2},
		{[]obs{at(23, 0, "a"), at(25, 0, "b")}, 1},
		{[]obs{at(9, 0, "a"), at(8, 0, "b"), at(32, 0, "c")}, 2},
	} {
		k := newCuts(t, newCutter())
		for range 3 {
			k.page(c.rows...)
			k.end(true)
		}
		per := len(k.windows) / 3
		for i, w := range k.windows[per:] {
			if want := k.windows[i].From.AddDate(0, 0, c.days); !w.From.Equal(want) {
				t.Errorf("%v: window %d is at %v, want %v", c.rows, w.Number, w.From, want)
			}
		}
		last, first := time.Time{}, k.windows[per].From
		for _, w := range k.windows[:per] {
			if w.To.After(last) {
				last = w.To
			}
		}
		for _, w := range k.windows[per : 2*per] {
			if w.From.Before(first) {
				first = w.From
			}
		}
		if first.Before(last) {
			t.Errorf("%v: the second lap begins at %v, the first ends at %v", c.rows, first, last)
		}
		k.texts()
	}
	k := newCuts(t, newCutter())
	k.end(true)
	if !k.c.state.Over {
		t.Error("an empty data set begins again for ever")
	}
}

// BenchmarkCut is an hour of the WeatherAPI: encoded, hashed and packed.
func BenchmarkCut(b *testing.B) {
	rows := weatherRows(22_000, day)
	c := newCutter()
	c.schema = record.NewSchema(weather(), "", "time")
	b.ReportAllocs()
	for b.Loop() {
		for range 2 {
			c.take(rows)
		}
		s := new(step)
		c.close(s)
		if len(s.windows[0].Parts) != 88 {
			b.Fatal(len(s.windows[0].Parts))
		}
	}
	b.ReportMetric(float64(b.N)*44_000/b.Elapsed().Seconds(), "rows/s")
}
