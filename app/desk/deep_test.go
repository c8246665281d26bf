package desk

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/app/datadir"
	"holdfast/kernel/engine"
)

// handFed is a feed that sends what a test puts into it.
type handFed struct {
	mu    sync.Mutex // guards spots
	spots map[uint64]string
}

func feedByHand(t *testing.T) (*handFed, string) {
	f := &handFed{spots: map[uint64]string{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return f, srv.URL + "/spots"
}

// put puts a spot of each id into the feed; power is a number for one that is a row.
func (f *handFed) put(power string, ids ...uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		f.spots[id] = fmt.Sprintf(`{"Spotnum":"%d","Date":"1548761280","Reporter":"AE2EA",`+
			`"ReporterGrid":"FN12fr","dB":"-12","MHz":"0.475674","CallSign":"AA1A","Grid":"FN42pb",`+
			`"Power":%q,"Drift":"0","distance":"566","azimuth":"280","Band":"0","version":"4",`+
			`"code":"0"}`, id, power)
	}
}

func (f *handFed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	after, _ := strconv.ParseUint(r.FormValue("spotnum_start"), 10, 64)
	var ids []uint64
	for id := range f.spots {
		if id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	page := make([]string, len(ids))
	for i, id := range ids {
		page[i] = f.spots[id]
	}
	fmt.Fprintf(w, "[%s]", strings.Join(page, ","))
}

func to(from, to uint64) (ids []uint64) {
	for id := from; id <= to; id++ {
		ids = append(ids, id)
	}
	return ids
}

// desk answers for a data directory in which nothing runs.
func deskOf(t *testing.T, place datadir.Place, text string) *Desk {
	t.Helper()
	d, err := Open(place, parsed(t, text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// An item that was no row and that a person let go is no loss, though its key stays known; a row
// that is missing beside it still is one, and both numbers are right.
func TestDeepAfterADeadLetterWasDiscarded(t *testing.T) {
	f, url := feedByHand(t)
	f.put("30", to(6_000_001, 6_000_100)...)
	f.put("999", 6_000_101)
	place := datadir.Place{Dir: t.TempDir(), Explicit: true}
	if a := cycle(t, place, url); !a.Balanced || a.Letters != 1 || a.Deep[0].Excused != 1 {
		t.Fatalf("before: got %+v", a)
	}
	d := deskOf(t, place, configText(url))
	if err := d.DiscardDead(t.Context(), "spots", 1, "nonsense"); err != nil {
		t.Fatal(err)
	}
	a, err := d.Audit(t.Context(), "", true, nil)
	if err != nil || !a.Balanced || a.Deep[0].Missing != 0 || a.Deep[0].Excused != 1 {
		t.Fatalf("discarded: got %v, %+v", err, a.Deep)
	}
	takeAway(t, place, "spots.sqlite", 6_000_050)
	a, err = d.Audit(t.Context(), "", true, nil)
	if err != nil || a.Balanced || a.Deep[0].Missing != 1 || a.Deep[0].Excused != 1 {
		t.Errorf("one is missing: got %v, %+v", err, a.Deep)
	}
}

func takeAway(t *testing.T, place datadir.Place, file string, id uint64) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(place.Dir, file))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("DELETE FROM spots WHERE id = ?", id); err != nil {
		t.Fatal(err)
	}
}

// What a sink was never owed is not named as missing.
func TestDeepNamesOnlyWhatIsOwed(t *testing.T) {
	f, url := feedByHand(t)
	f.put("30", to(6_000_001, 6_000_100)...)
	place := datadir.Place{Dir: t.TempDir(), Explicit: true}
	cycle(t, place, url)
	f.put("30", to(6_000_101, 6_000_200)...)
	text := strings.Replace(configText(url), "local:",
		"other: {sqlite: {path: other.sqlite}, batch: {every: 1ms}}, local:", 1)
	cycleOf(t, place, text)
	takeAway(t, place, "other.sqlite", 6_000_150)
	a, err := deskOf(t, place, text).Audit(t.Context(), "", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(a.Deep, func(c Comparison) bool { return c.Sink == "other" })
	c := a.Deep[i]
	if a.Balanced || c.Missing != 1 || c.Excused != 100 {
		t.Fatalf("got %+v", c)
	}
	if !slices.Equal(c.MissingKeys, []uint64{6_000_150}) && (len(c.MissingKeys) > 0 || c.Note == "") {
		t.Errorf("got keys %v, note %q; want the right one, or none and why", c.MissingKeys, c.Note)
	}
}

// A few keys far above all others cost one question more, not one for every million between.
func TestDeepWalksWhatIsKnown(t *testing.T) {
	f, url := feedByHand(t)
	f.put("30", to(6_000_001, 6_000_100)...)
	place := datadir.Place{Dir: t.TempDir(), Explicit: true}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	begun := time.Now()
	cycle(t, place, url)
	f.put("30", to(900_000_000_000_000_001, 900_000_000_000_000_003)...)
	cycle(t, place, url)
	a, err := deskOf(t, place, configText(url)).Audit(ctx, "", true, nil)
	if err != nil || !a.Balanced || a.Deep[0].Rows != 103 || a.Deep[0].To != 900_000_000_000_000_003 {
		t.Errorf("got %v after %v, %+v", err, time.Since(begun), a.Deep)
	}
}

// Where blocks from before the sink was added are gone, only their number is known: no key is named
// that may be one of theirs.
func TestDeepNamesNoneWhereItCanNotTell(t *testing.T) {
	var b engine.Books
	var s engine.SinkBooks
	b.Accepted, s.Accepted = 200, 100
	c := Comparison{Missing: 101, MissingKeys: to(1, 100)}
	c.excuse(b, s, &expected{})
	if c.Missing != 1 || c.Excused != 100 || len(c.MissingKeys) > 0 || !strings.Contains(c.Note, "101") {
		t.Errorf("got %+v", c)
	}
	c = Comparison{Missing: 1, MissingKeys: to(7, 7)}
	c.excuse(b, s, &expected{discarded: 0})
	if c.Missing != 0 || len(c.MissingKeys) > 0 || c.Note != "" {
		t.Errorf("all are excused: got %+v", c)
	}
}
