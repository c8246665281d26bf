package desk

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// Long work shows how far it is after two seconds, to who waits for it and in status; short work
// does not.
func TestLongWorkTellsHowFarItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(&app.Plan{}, nil)
		var told []Progress
		w := d.begin("spots", "verifying the spool", func(p Progress) { told = append(told, p) })
		for i := int64(1); i <= 40; i++ {
			time.Sleep(100 * time.Millisecond)
			w.at(i, 80)
			if early := time.Since(w.p.Began) < ShowAfter; early && (len(told) > 0 ||
				len(d.underWay()) > 0) {
				t.Fatalf("told after %v: %v", time.Since(w.p.Began), told)
			}
		}
		if len(told) < 5 {
			t.Fatalf("told %d times in 4 s, want about 10", len(told))
		}
		last := told[len(told)-1]
		if last.Percent() != 50 && last.Percent() != 48 || last.Left < 3*time.Second ||
			last.Left > 5*time.Second {
			t.Errorf("got %d %% and %v left, want about 50 %% and 4 s", last.Percent(), last.Left)
		}
		if got := d.underWay(); len(got) != 1 || got[0].What != "verifying the spool" {
			t.Errorf("status shows %v", got)
		}
		w.end()
		if got := d.underWay(); len(got) != 0 {
			t.Errorf("status shows %v after the end", got)
		}
	})
}

// A sink that was added later did not get what came before it: that is no loss.
func TestSinkThatWasAddedLater(t *testing.T) {
	sim, url := feedOf(t, 50)
	place := datadir.Place{Dir: t.TempDir(), Explicit: true}
	cycle(t, place, url)
	text := configText(url)
	text = strings.Replace(text, "local:",
		"other: {sqlite: {path: other.sqlite}, batch: {every: 1ms}}, local:", 1)
	sim.Publish(10)
	a := cycleOf(t, place, text)
	if !a.Balanced || len(a.Deep) != 2 {
		t.Fatalf("got %+v", a.Deep)
	}
	for _, c := range a.Deep {
		want := map[string]Comparison{"local": {Rows: 60}, "other": {Rows: 10, Excused: 50}}[c.Sink]
		if c.Rows != want.Rows || c.Excused != want.Excused || c.Missing != 0 {
			t.Errorf("%s: got %+v, want %+v", c.Sink, c, want)
		}
	}
}

// One job whose dead letters can't be read does not hide the other, whether they run or not.
func TestStatusWithAJobThatCantBeRead(t *testing.T) {
	place := datadir.Place{Dir: t.TempDir(), Explicit: true}
	c := withBadJob(t, place)
	d, err := Open(place, c)
	if err != nil {
		t.Fatal(err)
	}
	tellsBad(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	p := &app.Plan{Place: place, Jobs: c.Jobs, Log: slog.New(slog.DiscardHandler)}
	d, _ = running(t, p)
	for _, name := range d.eng.Names() { // a desk waits until the job is open
		if err := d.with(t.Context(), name, func(*store.Store) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	tellsBad(t, d)
}

// withBadJob runs two jobs for a cycle, and spoils the counter of dead letters in the store of one.
func withBadJob(t *testing.T, place datadir.Place) *app.Config {
	t.Helper()
	_, url := feedOf(t, 10)
	text := strings.Replace(configText(url), "jobs: {", "jobs: {bad: {collect: "+
		"{source: {wsprnet: {url: \""+url+"\"}}, sinks: {local: {sqlite: {path: bad.sqlite}}}}}, ", 1)
	c := parsed(t, text)
	for _, j := range c.Jobs {
		j.EndWhenDone()
	}
	runOnce(t, place, c)
	st, err := store.Open(engine.JobDir(place.Dir, "bad"), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	err = st.Update(func(tx *store.Tx) error {
		tx.Set(store.Counters.K().U8('d').U32(0), []byte("no number"))
		return nil
	})
	if err := errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	return parsed(t, text)
}

func tellsBad(t *testing.T, d *Desk) {
	t.Helper()
	rep, err := d.Status(t.Context(), "")
	if err != nil || len(rep.Jobs) != 2 {
		t.Fatalf("got %d jobs, %v; want both", len(rep.Jobs), err)
	}
	for _, s := range rep.Jobs {
		if strings.Contains(s.Error, "dead letter") != (s.Name == "bad") || s.Balance.Accepted != 10 {
			t.Errorf("%s: got %d rows, error %q", s.Name, s.Balance.Accepted, s.Error)
		}
	}
}

// A directory that can't be read is not one without files.
func TestImportOfADirectoryThatIsNotThere(t *testing.T) {
	_, err := New(&app.Plan{}, nil).Import(t.Context(), "spots", t.TempDir()+"/nope", nil)
	if err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("got %v", err)
	}
}

// What a verification finds stands in status from then on, until one finds everything whole: that sinks
// have the block already, or who does not.
func TestStatusShowsWhatAVerificationFound(t *testing.T) {
	_, url := feedOf(t, 50)
	place := datadir.Place{Dir: t.TempDir(), Explicit: true}
	cycle(t, place, url)
	d, err := Open(place, nil)
	if err != nil {
		t.Fatal(err)
	}
	flip := func() {
		t.Helper()
		err := d.with(t.Context(), "spots", func(st *store.Store) error {
			return st.Update(func(tx *store.Tx) error {
				v, _, err := tx.Get(store.Blocks.K().U64(1))
				v[len(v)-1] ^= 1
				tx.Set(store.Blocks.K().U64(1), v)
				return err
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(bad int, texts ...string) {
		t.Helper()
		v, err := d.VerifySpool(t.Context(), "spots", func(Progress) {})
		if err != nil || len(v.Bad) != bad {
			t.Fatalf("got %+v, %v, want %d bad blocks", v, err, bad)
		}
		rep, err := d.Status(t.Context(), "spots")
		if err != nil {
			t.Fatal(err)
		}
		found := rep.Jobs[0].Damage
		if (found != nil) != (bad > 0) {
			t.Fatalf("status shows %+v of %d bad blocks", found, bad)
		}
		for _, want := range texts {
			if !strings.Contains(v.Bad[0].Text, want) || !strings.Contains(found.Text, want) {
				t.Errorf("got %q and %q, want %q in them", v.Bad[0].Text, found.Text, want)
			}
		}
	}
	check(0)
	flip()
	check(1, "checksum", "every sink is done with it", "can't be exported or delivered again")
	flip()
	check(0)
	flip()
	err = d.with(t.Context(), "spots", func(st *store.Store) error {
		return st.Update(func(tx *store.Tx) error {
			tx.DeleteRange(store.Settled.K(), store.Settled.K().End())
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	check(1, "what local did not get of it yet becomes a gap")
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
