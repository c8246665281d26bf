package sinktest

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/fault"
	"holdfast/base/record"
)

// The cases about rows: sizes, values, and those that a target can't take.

func sizes(t *testing.T, tg *Target) {
	d := start(t, tg)
	for _, n := range []int{1, 2, 49, 50, 51, 999, tg.Large} {
		d.send(n)
	}
	d.verify()
}

func extremes(t *testing.T, tg *Target) {
	d := start(t, tg)
	spots := d.fresh(8)
	low, high, odd := &spots[0], &spots[1], &spots[2]
	low.Band, low.Power, low.SNR, low.Drift, low.Code = math.MinInt16, math.MinInt8, math.MinInt8,
		math.MinInt8, math.MinInt8
	low.RxLat, low.RxLon, low.TxLat, low.TxLon = -90, -180, 0, math.SmallestNonzeroFloat32
	low.Time, low.Frequency = 1, 0
	low.RxSign, low.RxLoc, low.TxSign, low.TxLoc, low.Version = "", "", "", "", ""
	high.Band, high.Power, high.SNR, high.Drift, high.Code = math.MaxInt16, math.MaxInt8, math.MaxInt8,
		math.MaxInt8, math.MaxInt8
	high.Distance, high.Azimuth, high.RxAzimuth = math.MaxUint16, math.MaxUint16, math.MaxUint16
	high.RxLat, high.RxLon = math.MaxFloat32, 1.0/3
	high.Time = 1 << 31 // one second after 32 signed bits end
	high.Version = strings.Repeat("long ", 20_000)
	odd.RxSign, odd.TxSign = "quote ' \" ` \\ end", "tab\tline\nreturn\rnul\x00end"
	if lacks(t, tg.LacksNUL) {
		odd.TxSign = strings.ReplaceAll(odd.TxSign, "\x00", "")
	}
	odd.RxLoc, odd.TxLoc, odd.Version = "日本語 ünïcode 🎈", "123456", "007"
	for i := 3; i < len(spots); i++ {
		spots[i].Version = []string{"NULL", "\\N", "1e5", "0x10", "nan"}[i-3]
	}
	if v := d.deliver(d.delivery(spots)); len(v.Rejected) > 0 {
		t.Fatalf("row %d rejected: %s", v.Rejected[0].Row, v.Rejected[0].Reason)
	}
	d.expect(spots)
	d.verify()
}

func partitions(t *testing.T, tg *Target) {
	d := start(t, tg)
	spots := OverMonths(d.fresh(2_000), 14)
	del := d.delivery(spots)
	d.deliver(del)
	d.expect(spots)
	d.verify()
	del.Unknown = true
	d.deliver(del)
	d.verify()
}

func empty(t *testing.T, tg *Target) {
	d := start(t, tg)
	none := d.delivery(nil)
	for range 2 {
		if v := d.deliver(none); v.Present != 0 || len(v.Rejected) != 0 {
			t.Errorf("empty delivery: got %+v", v)
		}
	}
	d.send(3)
	d.verify()
}

// mixed puts special rows between good ones and returns the places of the special ones.
func mixed(good, special []Spot) (all []Spot, at []int) {
	all = slices.Clone(good)
	for i, s := range special {
		k := (i*131 + 57) % len(all)
		all = slices.Insert(all, k, s)
	}
	for i, s := range all {
		if slices.ContainsFunc(special, func(x Spot) bool { return x == s || x.ID == s.ID }) {
			at = append(at, i)
		}
	}
	return all, at
}

func refusedRows(t *testing.T, tg *Target) {
	if lacks(t, tg.Refused.Lacks) {
		return
	}
	d := start(t, tg)
	good := d.fresh(1_000)
	all, at := mixed(good, tg.Refused.Spots)
	del := d.delivery(all)
	d.expect(good)
	for _, again := range []string{"first time", "repeat", "repeat by a new sink"} {
		v := d.deliver(del)
		var rows []int
		for _, r := range v.Rejected {
			t.Logf("%s: row %d: %s", again, r.Row, r.Reason)
			rows = append(rows, r.Row)
		}
		if !slices.Equal(rows, at) {
			t.Errorf("%s: rejected rows %v, want %v", again, rows, at)
		}
		d.verify()
		if again == "repeat" {
			d.renew()
		}
		del.Unknown = true
	}
	d.send(10)
	d.verify()
}

func poison(t *testing.T, tg *Target) {
	if lacks(t, tg.Poison.Lacks) {
		return
	}
	d := start(t, tg)
	d.send(10)
	good := d.fresh(500)
	all, _ := mixed(good, tg.Poison.Spots)
	del := d.delivery(all)
	ctx, cancel := d.patient()
	defer cancel()
	if _, err := d.sink.Write(ctx, del); !fault.Is(err, fault.Invalid) {
		t.Fatalf("delivery with poison: got %v (kind %v), want invalid", err, fault.KindOf(err))
	}
	d.verify() // nothing of it is there
	part := d.delivery(good)
	d.deliver(part)
	d.expect(good)
	d.verify()
}

func unfit(t *testing.T, tg *Target) {
	if lacks(t, tg.Unfit.Lacks) {
		return
	}
	d := start(t, tg)
	sink, err := tg.Unfit.New()
	if err != nil {
		t.Fatalf("new sink: %v", err)
	}
	defer func() { d.do("close", sink.Close) }()
	ctx, cancel := d.patient()
	defer cancel()
	prepare := sink.Prepare(ctx, Schema())
	_, write := sink.Write(ctx, d.delivery(d.fresh(5)))
	for what, err := range map[string]error{"prepare": prepare, "write": write} {
		if !fault.Is(err, fault.Permanent) {
			t.Errorf("%s: got %v (kind %v), want permanent", what, err, fault.KindOf(err))
		} else if !strings.Contains(err.Error(), tg.Unfit.Column) {
			t.Errorf("%s: %q does not name column %q", what, err, tg.Unfit.Column)
		}
	}
	d.verify()
}

// extras writes rows with a column more than the sink was prepared for, and with one of another type under
// the same name: what the sink can't keep stays out, and holds nothing up.
func extras(t *testing.T, tg *Target) {
	d := start(t, tg)
	for i, values := range []arrow.Array{texts("a", "b", "c"), numbers(1, 2, 3), texts("d", "e", "f")} {
		spots := d.fresh(3)
		del := d.delivery(spots)
		md := del.Schema.Metadata()
		extra := record.Optional(arrow.Field{Name: "remark", Type: values.DataType()})
		schema, err := record.SchemaOf(arrow.NewSchema(append(del.Schema.Fields(), extra), &md))
		if err != nil {
			t.Fatal(err)
		}
		del.Schema = schema
		del.Rows = array.NewRecordBatch(schema.Schema, append(del.Rows.Columns(), values), 3)
		for range 2 { // and the same once more
			if v := d.deliver(del); len(v.Rejected) > 0 {
				t.Fatalf("delivery %d: %d rows rejected: %s", i, len(v.Rejected), v.Rejected[0].Reason)
			}
			del.Unknown = true
		}
		d.expect(spots)
		d.verify()
	}
	d.send(5)
	d.verify()
}

func texts(v ...string) arrow.Array {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	b.AppendValues(v, nil)
	return b.NewArray()
}

func numbers(v ...float64) arrow.Array {
	b := array.NewFloat64Builder(memory.DefaultAllocator)
	b.AppendValues(v, nil)
	return b.NewArray()
}

func denied(t *testing.T, tg *Target) {
	if lacks(t, tg.Denied.Lacks) {
		return
	}
	d := start(t, tg)
	sink, err := tg.Denied.New()
	if err != nil {
		t.Fatalf("new sink: %v", err)
	}
	defer func() { d.do("close", sink.Close) }()
	ctx, cancel := d.patient()
	defer cancel()
	_, write := sink.Write(ctx, d.delivery(d.fresh(5)))
	for what, err := range map[string]error{
		"prepare": sink.Prepare(ctx, Schema()), "probe": sink.Probe(ctx), "write": write,
	} {
		if !fault.Is(err, fault.Credentials) {
			t.Errorf("%s: got %v (kind %v), want credentials", what, err, fault.KindOf(err))
		}
	}
	if tg.Outage.Do != nil {
		d.do("outage", tg.Outage.Do)
		err := sink.Prepare(ctx, Schema())
		d.do("end of outage", tg.Outage.Undo)
		if !outage(err) {
			t.Errorf("an outage with bad credentials: got %v (kind %v), want an outage",
				err, fault.KindOf(err))
		}
	}
	d.verify()
}

func cancelled(t *testing.T, tg *Target) {
	d := start(t, tg)
	const promptly = 3 * time.Second
	for _, after := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond} {
		spots := d.fresh(tg.Large / 5)
		del := d.delivery(spots)
		ctx, cancel := context.WithTimeout(context.Background(), after)
		begun := time.Now()
		_, err := d.sink.Write(ctx, del)
		cancel()
		if took := time.Since(begun); took > after+promptly {
			t.Errorf("cancelled after %v, returned after %v", after, took)
		}
		if err != nil && !outage(err) {
			t.Errorf("cancelled after %v: kind %v, want an outage: %v", after, fault.KindOf(err), err)
		}
		del.Unknown = true
		d.deliver(del)
		d.expect(spots)
	}
	d.verify()
}
