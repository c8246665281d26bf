package sinktest

import (
	"testing"
	"time"

	"holdfast/base/record"
	"holdfast/connector"
)

// The cases about repeats and about targets that break.

func repeatAfterSuccess(t *testing.T, tg *Target) {
	d := start(t, tg)
	first, _ := d.send(700)
	last, _ := d.send(1)
	for range 3 {
		d.deliver(first)
		first.Unknown = true
		d.deliver(last)
	}
	d.verify()
}

func repeatByNewSink(t *testing.T, tg *Target) {
	d := start(t, tg)
	del, _ := d.send(700)
	d.renew()
	del.Unknown = true
	d.deliver(del)
	d.verify()
	d.send(700)
	d.verify()
}

func repeatAfterRestart(t *testing.T, tg *Target) {
	if lacks(t, tg.Restart.Lacks) {
		return
	}
	d := start(t, tg)
	del, _ := d.send(700)
	d.do("restart", tg.Restart.Do)
	d.do("end of restart", tg.Restart.Undo)
	del.Unknown = true
	d.deliver(del)
	d.verify()
	d.send(700)
	d.verify()
}

func lostAnswer(t *testing.T, tg *Target) {
	if lacks(t, tg.LostAnswer.Lacks) {
		return
	}
	d := start(t, tg)
	for _, months := range []int{1, 3} {
		spots := OverMonths(d.fresh(900), months)
		del := d.delivery(spots)
		d.do("lose an answer", tg.LostAnswer.Do)
		d.fails(del)
		d.do("answer again", tg.LostAnswer.Undo)
		del.Unknown = true
		d.deliver(del)
		d.expect(spots)
		d.verify()
	}
}

func outageBefore(t *testing.T, tg *Target) {
	if lacks(t, tg.Outage.Lacks) {
		return
	}
	d := start(t, tg)
	d.send(20)
	spots := d.fresh(900)
	del := d.delivery(spots)
	d.do("outage", tg.Outage.Do)
	d.fails(del)
	del.Unknown = true
	d.fails(del)
	ctx, cancel := d.patient()
	defer cancel()
	if err := d.sink.Prepare(ctx, Schema()); !outage(err) {
		t.Errorf("prepare during an outage: got %v, want an outage", err)
	}
	d.do("end of outage", tg.Outage.Undo)
	d.deliver(del)
	d.expect(spots)
	d.verify()
}

func cutDuring(t *testing.T, tg *Target) {
	if lacks(t, tg.cut(1).Lacks) {
		return
	}
	d := start(t, tg)
	for _, bytes := range []int64{1, 100, 4_000, 20_000, 100_000} {
		spots := OverMonths(d.fresh(tg.Large*8/100), 2)
		del := d.delivery(spots)
		cut := tg.Cut(bytes)
		d.do("cut", cut.Do)
		ctx, cancel := d.patient()
		_, err := d.sink.Write(ctx, del)
		cancel()
		if err != nil && !outage(err) {
			t.Errorf("cut after %d bytes: want an outage, got %v", bytes, err)
		}
		t.Logf("cut after %d bytes: %v", bytes, err)
		d.do("end of cut", cut.Undo)
		del.Unknown = true
		d.deliver(del)
		d.expect(spots)
		d.verify()
	}
}

func slow(t *testing.T, tg *Target) {
	if lacks(t, tg.Slow.Lacks) {
		return
	}
	d := start(t, tg)
	d.do("slow", tg.Slow.Do)
	d.send(1_000)
	d.do("fast again", tg.Slow.Undo)
	d.verify()
}

func frozen(t *testing.T, tg *Target) {
	if lacks(t, tg.Freeze.Lacks) {
		return
	}
	d := start(t, tg)
	d.send(20)
	spots := d.fresh(900)
	del := d.delivery(spots)
	d.do("freeze", tg.Freeze.Do)
	begun := time.Now()
	d.fails(del)
	if took := time.Since(begun); took > tg.Timeout+2*time.Second {
		t.Errorf("write to a frozen target returned after %v, want %v", took, tg.Timeout)
	}
	ctx, cancel := d.patient()
	defer cancel()
	if err := d.sink.Probe(ctx); !outage(err) {
		t.Errorf("probe of a frozen target: got %v, want an outage", err)
	}
	d.do("thaw", tg.Freeze.Undo)
	del.Unknown = true
	d.deliver(del)
	d.expect(spots)
	if tg.Freeze.Weak == "" {
		d.verify()
		return
	}
	t.Logf("weaker than exactly once: %s", tg.Freeze.Weak)
	d.verifyDistinct()
}

// verifyDistinct is verify for a target that may hold rows twice, and then must count them so.
func (d *driver) verifyDistinct() {
	d.t.Helper()
	got := d.rows()
	all := connector.KeyRange{To: 1<<63 - 1}
	told, err := d.sink.Reader().Tally(d.t.(*testing.T).Context(), all)
	if err != nil || told != tally(got, all) {
		d.t.Fatalf("tally: got %+v %v, want %+v", told, err, tally(got, all))
	}
	seen := map[uint64]bool{}
	var once []Spot
	for _, s := range got {
		if !seen[s.ID] {
			once = append(once, s)
		}
		seen[s.ID] = true
	}
	if diff := Difference(d.wanted(), once); diff != "" {
		d.t.Fatalf("the target is not what it should be: %s", diff)
	}
}

// byKey is a restore: a new life of the store delivers rows that the target has, among new ones.
func byKey(t *testing.T, tg *Target) {
	d := start(t, tg)
	_, old := d.send(1_500)
	for life := byte(2); life < 5; life++ {
		d.lineage, d.next = record.Lineage{life}, 1
		added := d.fresh(300)
		both := append(append([]Spot{}, old[400:1400]...), added...)
		del := d.delivery(both)
		del.ByKey = true
		if v := d.deliver(del); v.Present != 1000 || len(v.Rejected) > 0 {
			t.Errorf("verdict: got %d present and %d rejected, want 1000 and 0",
				v.Present, len(v.Rejected))
		}
		d.expect(added)
		d.verify()
		del.Unknown = true
		d.deliver(del)
		d.verify()
	}
}

// byKeyBringsBack is a repair: the target lost rows that it had acknowledged.
func byKeyBringsBack(t *testing.T, tg *Target) {
	if lacks(t, tg.Delete.Lacks) {
		return
	}
	d := start(t, tg)
	del, spots := d.send(500)
	lost := keysOf(spots[100:200])
	d.do("delete", func() error { return tg.Delete.Do(lost) })
	del.ByKey = true
	if v := d.deliver(del); v.Present != 400 {
		t.Errorf("verdict: got %d present, want 400", v.Present)
	}
	d.verify()
}
