package collect

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// counting is a source whose n-th page leads to the cursor n.
type counting struct{ asked []string }

func (c *counting) Fetch(_ context.Context, r connector.Request) (connector.Page, error) {
	c.asked = append(c.asked, string(r.Cursor))
	n, err := strconv.Atoi(string(r.Cursor))
	return connector.Page{Cursor: []byte(strconv.Itoa(n + 1)), More: true}, err
}

func (c *counting) Start(uint64) []byte            { return []byte("0") }
func (c *counting) Traits() connector.SourceTraits { return connector.SourceTraits{Pausable: true} }
func (c *counting) Close() error                   { return nil }
func (c *counting) Schema() record.Schema {
	return record.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, "", "")
}

// TestACanaryReadsOn: a canary that was under way when a person opened the gate fetches the page behind the one that the poll
// has read since, though that is not committed yet: rows without a key would be there twice. A page that it has fetched is
// not lost to another canary.
func TestACanaryReadsOn(t *testing.T) {
	src := new(counting)
	in, err := OpenIntake(storetest.Open(t, t.TempDir()), "job", "feed", src.Schema(), src.Traits(), IntakeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	j := &Job{src: src, intake: in}
	cursor := src.Start(0)
	for _, step := range []func() error{
		func() error { return j.probeSource(t.Context()) }, // the usual way: the poll takes the page
		nil,
		nil, // the poll goes on, and the page is not committed
		func() error { return j.probeSource(t.Context()) },
		func() error { return j.probeSource(t.Context()) },
		nil,
		nil,
	} {
		if step != nil {
			if err := step(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		p, err := j.next(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(string(cursor))
		if got, want := string(p.Cursor), strconv.Itoa(n+1); got != want {
			t.Errorf("behind cursor %s the poll got the page that leads to %s", cursor, got)
		}
		cursor = p.Cursor
	}
	if len(src.asked) != 4 {
		t.Errorf("the source was asked for %q, want each page once", src.asked)
	}
}

// vague is a source of integer keys whose answers for gaps tell nothing.
type vague struct {
	counting
	gaps []uint64 // where the gaps begin that it was asked for
}

func (v *vague) Fetch(_ context.Context, r connector.Request) (connector.Page, error) {
	v.gaps = append(v.gaps, r.Fill.From)
	return connector.Page{}, nil
}

func (v *vague) Traits() connector.SourceTraits { return connector.SourceTraits{Fillable: true} }
func (v *vague) Schema() record.Schema {
	return record.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Uint64}}, "id", "")
}

// TestGapsTakeTurns: a gap of which no answer tells anything does not keep another one from being asked for.
func TestGapsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := new(vague)
		st := storetest.Open(t, t.TempDir())
		in, err := OpenIntake(st, "job", "feed", src.Schema(), src.Traits(), IntakeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		err = st.Update(func(tx *store.Tx) error {
			now := time.Now().UTC()
			return errors.Join(
				balance.PutGap(tx, balance.Gap{Source: in.id, From: 10, To: 10, Missing: 1, State: balance.GapFound, Found: now, Next: now}),
				balance.PutGap(tx, balance.Gap{Source: in.id, From: 20, To: 20, Missing: 1, State: balance.GapFound, Found: now, Next: now}))
		})
		if err != nil {
			t.Fatal(err)
		}
		room, err := engine.NewRoom(t.TempDir(), engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		j := &Job{env: engine.Env{Store: st, Room: room}, src: src, intake: in, cfg: Config{FillPages: 1, FillEvery: time.Minute}}
		in.done = j.done
		for range 4 {
			if err := j.fill(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
		}
		if want := []uint64{10, 20, 10, 20}; !slices.Equal(src.gaps, want) {
			t.Errorf("the gaps from %d were asked for, want %d", src.gaps, want)
		}
		now, later := time.Now(), balance.Gap{Next: time.Now().Add(time.Minute)}
		if j.isDue(later, now) || !j.isDue(later, now.Add(time.Minute)) || !j.isDue(later, now.Add(-24*time.Hour)) {
			t.Error("a gap is not due at its time, or after the clock was set back by a day")
		}
	})
}

// TestDueGapsBehindMany: a gap that is due is found behind however many that are not.
func TestDueGapsBehindMany(t *testing.T) {
	src := new(vague)
	st := storetest.Open(t, t.TempDir())
	in, err := OpenIntake(st, "job", "feed", src.Schema(), src.Traits(), IntakeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	j := &Job{env: engine.Env{Store: st}, src: src, intake: in, cfg: Config{FillPages: 2, FillEvery: time.Hour}}
	now := time.Now().UTC()
	const many = 2*gapsAtOnce + 3
	err = st.Update(func(tx *store.Tx) error {
		for i := range uint64(many) {
			next := now.Add(time.Minute)
			if i >= many-3 { // the last one is due first
				next = now.Add(-time.Duration(i) * time.Second)
			}
			g := balance.Gap{Source: in.id, From: 1 + 2*i, To: 1 + 2*i, Missing: 1, State: balance.GapFound, Found: now, Next: next}
			if err := balance.PutGap(tx, g); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = st.Latest(func(r store.Reader) error {
		due, err := j.dueGaps(r, now)
		if len(due) != 2 || due[0].From != 2*many-1 || due[1].From != 2*many-3 {
			t.Errorf("due are %+v", due)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
