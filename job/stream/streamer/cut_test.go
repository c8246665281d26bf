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
	k.step(k.c.take(batchRows(rows), nil))
}

func (k *cuts) end(again bool) (tooLate bool) {
	k.t.Helper()
	s := new(step)
	tooLate = k.c.end(s, again)
	k.step(s)
	return tooLate
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

// TestAnotherSpan: a pile keeps its span when windows get another one, and what comes of its time is still of it; those
// behind it have the new one.
func TestAnotherSpan(t *testing.T) {
	for _, c := range []struct {
		before, after time.Duration
		windows       string
	}{
		{2 * time.Hour, time.Hour, "[10:00 12:00 a b late c] [12:00 13:00 d] late [08:00 10:00 old e] late [07:00 08:00 f]"},
		{time.Hour, 24 * time.Hour, "[11:00 12:00 b late c] [00:00 00:00 d] late [09:00 10:00 old] late [00:00 00:00 a e f]"},
	} {
		k := newCuts(t, newCutter())
		k.c.span = c.before
		if c.before > time.Hour {
			k.page(at(10, 10, "a"))
		}
		k.page(at(11, 10, "b"), at(9, 5, "old"))
		piles := k.c.piles()
		k.c = newCutter()
		k.c.span, k.c.state.NextPile = c.after, 9
		k.c.resume(piles)
		if c.before == time.Hour {
			k.page(at(10, 10, "a"))
		}
		k.page(at(11, 40, "late"), at(11, 59, "c"), at(9, 59, "e"), at(7, 0, "f"), at(12, 0, "d"))
		k.end(false)
		var ahead, behind []string
		for _, w := range k.windows {
			text := w.From.Format("[15:04 ") + w.To.Format("15:04")
			for i := range w.Parts {
				items, err := itemsOf([]byte(k.batches[fmt.Sprint(w.Pile, i)]))
				if err != nil {
					t.Fatal(err)
				}
				for _, it := range items {
					text += " " + it["zip_code"].(string)
				}
			}
			if text += "]"; w.Late {
				behind = append([]string{"late " + text}, behind...)
			} else {
				ahead = append(ahead, text)
			}
		}
		if got := strings.Join(append(ahead, behind...), " "); got != c.windows {
			t.Errorf("%v, then %v: got\n%s, want\n%s", c.before, c.after, got, c.windows)
		}
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

// TestManifestFits: a window has no more batches than its manifest can tell in a message of the broker, and says of rows of
// its time that follow, be they late.
func TestManifestFits(t *testing.T) {
	const broker = 16 << 10
	k := newCuts(t, newCutter())
	k.c.batch, k.c.most = 1, broker-forWords
	var rows []obs
	for i := range 250 {
		rows = append(rows, at(5, 0, fmt.Sprint(i)))
	}
	k.page(rows...)
	for i := range rows {
		rows[i] = at(2, 0, fmt.Sprint(i))
	}
	k.page(rows...)
	k.page(at(6, 0, "x"))
	k.end(false)
	var got []string
	rest := map[int]int{2: 250, 5: 250, 6: 1}
	for _, w := range k.windows {
		m := w.manifest(strings.Repeat("e", 26))
		if n := len(m.Message(names).Payload); n > broker {
			t.Errorf("a manifest of %d batches has %d bytes, the broker takes %d", len(w.Parts), n, broker)
		}
		rest[w.From.Hour()] -= w.Rows
		if m.More != (rest[w.From.Hour()] > 0) {
			t.Errorf("window %d of %d o'clock says more: %v; %d rows follow", w.Number, w.From.Hour(), m.More, rest[w.From.Hour()])
		}
		got = append(got, fmt.Sprint(w.From.Hour(), len(w.Parts)))
	}
	if want := []string{"5 119", "5 119", "2 119", "2 119", "5 12", "2 12", "6 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestMoreIsNext: what follows a window that says so is the next one, whatever else waits.
func TestMoreIsNext(t *testing.T) {
	many := func(hour int) (rows []obs) {
		for i := range 150 {
			rows = append(rows, at(hour, 0, fmt.Sprint(i)))
		}
		return rows
	}
	for want, pages := range map[string][][]obs{
		"[5 true 5 false 1 false 4 false]": {{at(5, 1, "a"), at(4, 0, "b"), at(1, 0, "c")}, many(5)},
		"[2 true 2 false 5 false 4 false]": {{at(5, 1, "a"), at(4, 0, "b")}, many(2)},
	} {
		k := newCuts(t, newCutter())
		k.c.batch, k.c.most = 1, 12<<10
		for _, rows := range pages {
			k.page(rows...)
		}
		k.end(false)
		var got []any
		for _, w := range k.windows {
			got = append(got, w.From.Hour(), w.More)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
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

// TestTimesBelowTheLayout: two rows of one minute stay two, and those of whole minutes are as WeatherVane has them.
func TestTimesBelowTheLayout(t *testing.T) {
	for layout, want := range map[string]string{
		DefaultTimeLayout: `[{"time":"2023-09-19 07:05","zip_code":"a","temp_c":0.0,"hour":7},` +
			`{"time":"2023-09-19T07:05:30.25Z","zip_code":"b","temp_c":0.0,"hour":7}]`,
		time.DateTime: `[{"time":"2023-09-19 07:05:00","zip_code":"a","temp_c":0.0,"hour":7},` +
			`{"time":"2023-09-19T07:05:30.25Z","zip_code":"b","temp_c":0.0,"hour":7}]`,
		time.DateOnly: `[{"time":"2023-09-19T07:05:00Z","zip_code":"a","temp_c":0.0,"hour":7},` +
			`{"time":"2023-09-19T07:05:30.25Z","zip_code":"b","temp_c":0.0,"hour":7}]`,
		time.Kitchen: `[{"time":"2023-09-19T07:05:00Z","zip_code":"a","temp_c":0.0,"hour":7},` +
			`{"time":"2023-09-19T07:05:30.25Z","zip_code":"b","temp_c":0.0,"hour":7}]`,
		"2006-01-02T15:04:05.000000": `[{"time":"2023-09-19T07:05:00.000000","zip_code":"a","temp_c":0.0,"hour":7},` +
			`{"time":"2023-09-19T07:05:30.250000","zip_code":"b","temp_c":0.0,"hour":7}]`,
		time.RFC3339Nano: `[{"time":"2023-09-19T07:05:00Z","zip_code":"a","temp_c":0.0,"hour":7},` +
			`{"time":"2023-09-19T07:05:30.25Z","zip_code":"b","temp_c":0.0,"hour":7}]`,
	} {
		k := newCuts(t, newCutter())
		k.c.layout = layout
		b := at(7, 5, "b")
		b.At = b.At.Add(30_250 * time.Millisecond)
		k.page(at(7, 5, "a"), b)
		k.end(false)
		if got := k.batches["1 0"]; got != want {
			t.Errorf("%s: got\n%s, want\n%s", layout, got, want)
		}
	}
}

// TestDates: what is of no date that a window can have is refused, in each lap, and its neighbours go; the data set does
// not begin again where there are no dates for that.
func TestDates(t *testing.T) {
	of := func(year int, month time.Month, day, hour int, zip string) obs {
		return obs{At: time.Date(year, month, day, hour, 30, 0, 0, time.UTC), Zip: zip}
	}
	k := newCuts(t, newCutter())
	rows := batchRows([]obs{at(7, 0, "a"), of(9999, 12, 31, 23, "end"), of(1, 1, 1, 0, "none"), of(1, 1, 1, 5, "zone"),
		of(0, 6, 1, 0, "before"), at(7, 1, "b")})
	for range 2 {
		k.step(k.c.take(rows, func(row int) string { return fmt.Sprintf("line %d", row+2) }))
		if k.end(true) {
			t.Error("there is no lap more")
		}
	}
	k.want("1 19T07:00: [a b]", "2 20T07:00: [a b]")
	want := []string{"line 3: time is 9999-12-31T23:30:00Z: its window would end behind the year 9999",
		"line 4: time is 0001-01-01T00:30:00Z, which stands for no date",
		"line 5: time is 0001-01-01T05:30:00Z, which stands for no date",
		"line 6: time is 0000-06-01T00:30:00Z, which stands for no date"}
	again := append([]string{"line 3: time is 10000-01-01T23:30:00Z: its window would end behind the year 9999"}, want[1:]...)
	if got := k.refused; !slices.Equal(got, append(want, again...)) {
		t.Errorf("got %q, want %q and %q", got, want, again)
	}

	k = newCuts(t, newCutter())
	k.page(of(9999, 12, 29, 22, "a"), of(9999, 12, 30, 22, "b"))
	if k.end(true) != true || !k.c.state.Over || k.c.state.Lap != 0 {
		t.Errorf("it begins again: %+v", k.c.state)
	}
	k = newCuts(t, newCutter())
	k.page(of(9999, 12, 29, 22, "a"))
	if laps := []bool{k.end(true), func() bool { k.page(of(9999, 12, 29, 22, "a")); return k.end(true) }()}; laps[0] ||
		laps[1] || k.c.state.Lap != 2 {
		t.Errorf("laps: %v, %+v", laps, k.c.state)
	}
	if k.page(of(9999, 12, 29, 22, "a")); !k.end(true) {
		t.Error("a lap more would be in the year 10000")
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
			c.take(rows, nil)
		}
		s := new(step)
		c.close(s)
		if len(s.windows[0].Parts) != 88 {
			b.Fatal(len(s.windows[0].Parts))
		}
	}
	b.ReportMetric(float64(b.N)*44_000/b.Elapsed().Seconds(), "rows/s")
}
