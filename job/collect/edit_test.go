package collect_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/base/rowtext"
	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/connector/wsprnet/spot"
	"holdfast/job/collect"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// poisonedBy refuses every delivery with a row of a certain power.
type poisonedBy struct {
	connector.Sink
	power string
}

func (p poisonedBy) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	at := d.Rows.Schema().FieldIndices("power")[0]
	for i := range int(d.Rows.NumRows()) {
		if d.Rows.Column(0).ValueStr(i) == "6040000100" && d.Rows.Column(at).ValueStr(i) != p.power {
			return connector.Verdict{}, fault.New(fault.Invalid, "power out of range")
		}
	}
	return p.Sink.Write(ctx, d)
}

// TestEditedRowIsDelivered: through the way of every delivery, counted as any row, with what was and is in the
// history; the key stays.
func TestEditedRowIsDelivered(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 300})
	r.wrap = func(s connector.Sink) connector.Sink { return poisonedBy{s, "11"} }
	r.run()
	st := r.open()
	in := intake(t, st)
	for set, want := range map[string]string{"id=7": "column id is the key", "power=300": "column power is 300",
		"power=null": "column power may not be null: every row has a value",
		"band=null":  "column band may not be null", "tx_sign=null": "column tx_sign may not be null: every row has a text", "powr=1": "there is no column powr",
		"time=today": "column time is \"today\", want a time"} {
		name, value, _ := strings.Cut(set, "=")
		err := in.EditDead(t.Context(), 1, collect.Edit{Set: map[string]string{name: value}})
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to say %q", set, err, want)
		}
	}
	if err := in.EditDead(t.Context(), 1, collect.Edit{Row: json.RawMessage(`{"id": 1}`)}); err == nil ||
		!strings.Contains(err.Error(), "column time is missing; column band is missing") {
		t.Errorf("a row that is not whole: got %v, want every missing column named", err)
	}
	if err := in.EditDead(t.Context(), 1, collect.Edit{Set: map[string]string{"power": "11"}}); err != nil {
		t.Fatal(err)
	}
	if err := in.EditDead(t.Context(), 1, collect.Edit{Set: map[string]string{"power": "12"}}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a second edit: got %v, want no such letter", err)
	}
	text := ""
	err := st.View(t.Context(), func(rd store.Reader) error {
		all, err := engine.ReadEvents(rd, 0, 1000)
		for _, e := range all {
			if e.Kind == "dead.edited" {
				text = e.Text
			}
		}
		return err
	})
	if err != nil || !strings.Contains(text, "power was ") || !strings.Contains(text, " and is 11") {
		t.Errorf("the history says %q (%v)", text, err)
	}
	st.Close()
	if b := r.books(); b.Sinks[0].Dead != 0 || b.Sinks[0].Pending != 1 || b.Sinks[0].Accepted != 300 {
		t.Errorf("books behind the edit: %+v", b.Sinks[0])
	}
	r.run()
	if b := r.books(); b.Sinks[0].Delivered != 300 || len(r.ids()) != 300 {
		t.Errorf("books at the end: %+v, %d rows", b.Sinks[0], len(r.ids()))
	}
}

// whole is a row as a person writes it.
func whole(id int) json.RawMessage {
	p := parse([]byte(object(id)))
	b, err := rowtext.Object(p.Rows)
	if err != nil {
		panic(err)
	}
	return b
}

// TestItemEditedIntoARow: what was no row becomes one under a key that no row has; a known one is a conflict
// that changes nothing.
func TestItemEditedIntoARow(t *testing.T) {
	st := emptyStore(t)
	in := intake(t, st)
	page := parse([]byte(object(11)))
	page.Rejected = []connector.Reject{{Raw: []byte("{garbage"), Reason: "no JSON"},
		{Raw: []byte(object(12)), Key: "12", Reason: "out of range"}}
	if _, err := in.Take(t.Context(), page, collect.Follow); err != nil {
		t.Fatal(err)
	}
	if err := in.EditDead(t.Context(), 1, collect.Edit{Row: whole(11)}); !fault.Is(err, fault.Conflict) ||
		!strings.Contains(err.Error(), "key 11 came in already") {
		t.Errorf("a known key: got %v, want a conflict", err)
	}
	if err := in.EditDead(t.Context(), 1, collect.Edit{Set: map[string]string{"id": "9"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("columns of what is no row: got %v, want it refused", err)
	}
	if b := readBooks(t, st); b.Rejected != 2 || b.Accepted != 1 {
		t.Errorf("what was refused changed the books: %+v", b.Intake)
	}
	for id, row := range map[uint64]int{1: 10, 2: 12} {
		if err := in.EditDead(t.Context(), id, collect.Edit{Row: whole(row)}); err != nil {
			t.Fatal(err)
		}
	}
	// The feed sends it whole later: it is known.
	if _, err := in.Take(t.Context(), parse([]byte(object(10))), collect.Follow); err != nil {
		t.Fatal(err)
	}
	want := balance.Intake{Read: 4, Accepted: 3, Duplicate: 1}
	if b := readBooks(t, st); b.Intake != want || b.Sinks[0].Pending != 3 {
		t.Errorf("got %+v and %+v, want %+v and 3 pending rows", b.Intake, b.Sinks[0].Flow, want)
	}
}

// TestPowerCutInAnEdit cuts the power before each change that an edit makes on the disk: the row is dead or
// pending, never both and never neither, and the books, the counter of dead letters among them, agree.
func TestPowerCutInAnEdit(t *testing.T) {
	disk := storetest.NewCrashFS()
	var mu sync.Mutex
	var cuts []*storetest.CrashFS
	watching := false
	var faulty *storetest.FaultFS
	faulty = disk.Faulty(func(storetest.Change) error {
		mu.Lock()
		defer mu.Unlock()
		if watching && len(cuts) < 200 {
			cuts = append(cuts, faulty.After(50*(len(cuts)%3), uint64(len(cuts))))
		}
		return nil
	})
	st, err := store.Open("/job", storetest.Options(t, faulty))
	if err != nil {
		t.Fatal(err)
	}
	sink, err := withDeadRow(st)
	if err != nil {
		t.Fatal(err)
	}
	in := intake(t, st)
	mu.Lock()
	watching = true
	mu.Unlock()
	if err := in.EditDead(t.Context(), 1, collect.Edit{Set: map[string]string{"power": "11"}}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	watching = false
	cuts = append(cuts, faulty.After(0))
	mu.Unlock()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	before, after := 0, 0
	for i, cut := range cuts {
		edited := editedAt(t, cut.FS(), sink)
		if edited {
			after++
		} else {
			before++
		}
		if i == len(cuts)-1 && !edited {
			t.Error("what was acknowledged is gone")
		}
	}
	if before == 0 || after == 0 {
		t.Errorf("%d cuts show the state before and %d that behind: want both", before, after)
	}
}

// withDeadRow takes one row in, which its sink refuses.
func withDeadRow(st *store.Store) (sink uint32, err error) {
	sp, err := spool.Open(st, "spots")
	if err != nil {
		return 0, err
	}
	if _, err := sp.Sink("main"); err != nil {
		return 0, err
	}
	in, err := collect.OpenIntake(st, "spots", "feed", spot.Schema(), connector.SourceTraits{},
		collect.IntakeOptions{})
	if err != nil {
		return 0, err
	}
	p := parse([]byte(object(11)))
	if _, err := in.Take(context.Background(), p, collect.Follow); err != nil {
		return 0, err
	}
	batch, hash, err := record.Encode(nil, p.Rows)
	if err != nil {
		return 0, err
	}
	if sp, err = spool.Open(st, "spots"); err != nil { // which knows what came in through another
		return 0, err
	}
	k, err := sp.Sink("main")
	if err != nil {
		return 0, err
	}
	d, err := k.Next(context.Background(), spool.Want{Rows: 10})
	if err != nil {
		return 0, err
	}
	return k.ID, st.Update(func(tx *store.Tx) error {
		_, err := balance.Bury(tx, balance.DeadLetter{At: time.Now(), Stage: balance.AtSink, From: "main",
			FromID: k.ID, Seq: 1, Key: "11", Reason: "refused", Batch: batch, Hash: hash[:]})
		if err != nil {
			return err
		}
		bytes, err := k.Settle(tx, d)
		if err != nil {
			return err
		}
		return balance.AddFlow(tx, k.ID, balance.Flow{Dead: 1, Pending: -1, PendingBytes: -bytes})
	})
}

// editedAt opens a disk after a power cut and reports whether the edit is in it, whole.
func editedAt(t *testing.T, fs store.FS, sink uint32) bool {
	t.Helper()
	st, err := store.Open("/job", storetest.Options(t, fs))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	b := readBooks(t, st) // which must balance, the letters included
	flow := b.Sinks[0].Flow
	if flow.Dead+flow.Pending != 1 {
		t.Fatal(fmt.Errorf("the row is dead %d times and pending %d times", flow.Dead, flow.Pending))
	}
	return flow.Pending == 1
}
