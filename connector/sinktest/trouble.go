package sinktest

import (
	"slices"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// The cases about parts of deliveries, back-pressure, clocks, and rows that another doubled.

// part is the rows [from, to) of a delivery's own, as the job cuts it.
func part(del connector.Delivery, from, to int64) connector.Delivery {
	at := int64(del.Token.RowFrom)
	del.Token.RowFrom, del.Token.RowTo = uint32(at+from), uint32(at+to)
	del.Rows = del.Rows.NewSlice(from, to)
	del.Unknown = false
	return del
}

// halved delivers as a job does: what is refused as a whole is cut in two until the rows at fault stand
// alone. It returns their places.
func (d *driver) halved(del connector.Delivery) (refused []int) {
	d.t.Helper()
	n := del.Rows.NumRows()
	ctx, cancel := d.patient()
	defer cancel()
	for {
		v, err := d.sink.Write(ctx, del)
		switch {
		case err == nil:
			d.checkVerdict(del, v)
			for _, r := range v.Rejected {
				refused = append(refused, int(del.Token.RowFrom)+r.Row)
			}
			return refused
		case fault.Is(err, fault.Invalid) && n == 1:
			return []int{int(del.Token.RowFrom)}
		case fault.Is(err, fault.Invalid):
			return append(d.halved(part(del, 0, n/2)), d.halved(part(del, n/2, n))...)
		}
		d.wait(ctx, "write", err)
		del.Unknown = true
		d.prepare()
	}
}

// parts delivers blocks in parts under their own tokens, each again and by another process.
func parts(t *testing.T, tg *Target) {
	d := start(t, tg)
	spots := d.fresh(900)
	del := d.delivery(spots)
	for _, cut := range [][2]int64{{0, 450}, {450, 675}, {675, 900}} {
		p := part(del, cut[0], cut[1])
		d.deliver(p)
		p.Unknown = true
		d.deliver(p)
		d.expect(spots[cut[0]:cut[1]])
		d.verify()
		d.renew()
		d.deliver(p)
		d.verify()
	}
}

// keyless delivers rows without a key, whole and in parts: the token alone tells a repeat.
func keyless(t *testing.T, tg *Target) {
	d := startWith(t, tg, record.NewSchema(Schema().Fields(), "", "time"))
	if p := d.sink.Traits().Exactness; p != connector.ExactlyOnce {
		t.Logf("not applicable to this target: it promises %s of rows without a key", p)
		return
	}
	spots := d.fresh(900)
	del := d.delivery(spots)
	for _, p := range []connector.Delivery{part(del, 0, 450), part(del, 450, 900), d.delivery(d.fresh(50))} {
		for _, unknown := range []bool{false, true, true} {
			p.Unknown = unknown
			d.deliver(p)
			if unknown {
				d.renew()
			}
		}
	}
	d.expect(spots)
	d.expect(Spots(d.seed, spots[899].ID, 50))
	d.verify()
}

// halving finds poison rows, with an answer lost on the way where the target can lose one.
func halving(t *testing.T, tg *Target) {
	if lacks(t, tg.Poison.Lacks) {
		return
	}
	d := start(t, tg)
	d.send(10)
	for _, lost := range []bool{false, true} {
		if lost && lacks(t, tg.LostAnswer.Lacks) {
			return
		}
		good := d.fresh(100)
		all, at := mixed(good, tg.Poison.Spots)
		if lost {
			d.do("lose an answer", tg.LostAnswer.Do)
		}
		refused := d.halved(d.delivery(all))
		d.do("answer again", tg.LostAnswer.Undo)
		if !slices.Equal(refused, at) {
			t.Errorf("refused rows: got %v, want %v", refused, at)
		}
		d.expect(good)
		d.verify()
	}
}

// pressure is a target that has too much to do, or no room: that is told from an outage, costs nothing,
// and ends by itself.
func pressure(t *testing.T, tg *Target) {
	if lacks(t, tg.Pressure.Lacks) {
		return
	}
	d := start(t, tg)
	d.send(20)
	spots := d.fresh(300)
	del := d.delivery(spots)
	d.do("pressure", tg.Pressure.Do)
	for range 3 {
		ctx, cancel := d.patient()
		_, err := d.sink.Write(ctx, del)
		cancel()
		if !slices.Contains(tg.Pressure.Kinds, fault.KindOf(err)) {
			t.Errorf("write under pressure: got %v (kind %v), want one of %v", err, fault.KindOf(err),
				tg.Pressure.Kinds)
		}
		if w := fault.WaitOf(err); w != tg.Pressure.Wait {
			t.Errorf("write under pressure: told to wait %v, want %v", w, tg.Pressure.Wait)
		}
		del.Unknown = true
	}
	d.do("end of pressure", tg.Pressure.Undo)
	d.deliver(del)
	d.expect(spots)
	d.verify()
}

// clocks is a delivery whose first attempt was, by the clock of now, hours ago or hours to come: our clock
// jumped, or the server's is off. The sink that tried first is gone, and perhaps what the server knew of
// tokens too. Nothing may follow from such a time.
func clocks(t *testing.T, tg *Target) {
	d := start(t, tg)
	for _, forgets := range []bool{false, true} {
		if forgets && lacks(t, tg.Forget.Lacks) {
			return
		}
		for _, off := range []time.Duration{0, 6 * time.Hour, -6 * time.Hour, 72 * time.Hour, -72 * time.Hour} {
			spots := d.fresh(500)
			del := d.delivery(spots)
			del.FirstAttempt = time.Now().Add(off).Round(0) // as it is read from a disk
			d.deliver(del)
			d.renew()
			if forgets {
				d.do("forget", tg.Forget.Do)
			}
			del.Unknown = true
			for range 2 {
				d.deliver(del)
				del.FirstAttempt = time.Now().Add(-off).Round(0) // it jumps once more
			}
			d.expect(spots)
			d.verify()
		}
	}
}

// doubled is a target in which rows came to stand twice behind the sink's back, as when an abandoned insert
// is executed after the keys were compared: they are counted twice, so that `audit --deep` tells them.
func doubled(t *testing.T, tg *Target) {
	if lacks(t, tg.Double.Lacks) {
		return
	}
	d := start(t, tg)
	_, spots := d.send(500)
	twice := keysOf(spots[100:150])
	d.do("double", func() error { return tg.Double.Do(twice) })
	reader := d.sink.Reader()
	all := connector.KeyRange{To: 1<<63 - 1}
	got, err := reader.Tally(t.Context(), all)
	if want := tally(append(slices.Clone(spots), spots[100:150]...), all); err != nil || got != want {
		t.Errorf("tally: got %+v %v, want %+v", got, err, want)
	}
	var told []uint64
	err = reader.Keys(t.Context(), all, func(key, rows uint64) error {
		if rows == 2 {
			told = append(told, key)
		}
		return nil
	})
	if err != nil || !slices.Equal(told, twice) {
		t.Errorf("keys with two rows: got %d %v, want the %d that were doubled", len(told), err, len(twice))
	}
}
