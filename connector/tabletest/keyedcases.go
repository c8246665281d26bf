package tabletest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// places returns n rows of one time, each of a place of its own; some share a zip code, some a state.
func places(at, revision int64, n int) []Row {
	rows := make([]Row, n)
	for i := range rows {
		rows[i] = Row{Time: at, ZipCode: fmt.Sprint(i / 2), State: fmt.Sprintf("state %d", i%2), Revision: revision,
			TempC: float64(i) + float64(revision)/8, Humidity: at % 100, Name: fmt.Sprintf("place %d", i)}
	}
	return rows
}

const sameKey = "the table holds another row with the same time, zip_code, state; it differs in "

// contents: of two rows with one key the first stands; the other is there if it is the same, and refused with
// what differs if it is not.
func contents(k *keyed) {
	k.begin("")
	rows := places(7200, 1, 300)
	k.put(rows, 0)
	k.put(rows, 300)
	other := slices.Clone(rows)
	other[7].TempC++
	other[7].Name = ""
	other[299].Revision = 2
	fresh := places(10_800, 1, 5)
	k.put(append(other, fresh...), 298, connector.RowFault{Row: 7, Reason: sameKey + "temp_c, name"},
		connector.RowFault{Row: 299, Reason: sameKey + "revision"})
	k.stand(append(rows, fresh...)...)
}

// twice: the same holds between the rows of one delivery, near to each other and far apart.
func twice(k *keyed) {
	k.begin("")
	for n, far := range []int{0, 2_000} {
		rows := append(places(int64(n), 1, 3), places(100, 1, far)...)
		other := rows[1]
		other.Humidity++
		k.put(append(slices.Clone(rows), rows[0], other), 1,
			connector.RowFault{Row: len(rows) + 1, Reason: sameKey + "humidity"})
		if far > 0 {
			k.stand(append(rows, places(0, 1, 3)...)...)
		}
	}
}

// loose is Schema with nulls allowed everywhere.
func loose() record.Schema {
	fields := slices.Clone(Schema().Fields())
	for i := range fields {
		fields[i].Nullable = true
	}
	return record.NewSchema(fields, "", "time")
}

// without returns rows of loose in which some values are null: of each row the column of that index, -1
// for none.
func without(rows []Row, columns ...int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, loose().Schema)
	for i, r := range rows {
		one := Batch([]Row{r})
		for c, col := range one.Columns() {
			if c == columns[i] || col.IsNull(0) {
				b.Field(c).AppendNull()
				continue
			}
			if err := b.Field(c).AppendValueFromString(col.ValueStr(0)); err != nil {
				panic(err) // what a column says of itself it can read
			}
		}
	}
	return b.NewRecordBatch()
}

// nullKeys: what lacks a part of its key is refused, and its neighbours arrive.
func nullKeys(k *keyed) {
	if err := k.use(loose(), replaceBy, Keys...); err != nil {
		k.Fatalf("prepare: %v", err)
	}
	rows := places(7200, 1, 6)
	const part = " is missing, and it is part of the key"
	v := k.deliver(k.delivery(loose(), without(rows, -1, 0, 1, 2, 5, 7)))
	k.says(v, 0, connector.RowFault{Row: 1, Reason: "time" + part},
		connector.RowFault{Row: 2, Reason: "zip_code" + part},
		connector.RowFault{Row: 3, Reason: "state" + part},
		connector.RowFault{Row: 4, Reason: "revision is missing, and it says which rows stand"})
	rows[5].Name = ""
	k.stand(rows[0], rows[5])
}

// repeats: a token that is known changes nothing, whoever brings it.
func repeats(k *keyed) {
	for _, replace := range []string{"", replaceBy} {
		k.begin(replace)
		rows := places(7200+int64(len(replace)), 1, 200)
		d := k.delivery(Schema(), Batch(rows))
		if hook := k.tg.LostAnswer; hook.Do != nil {
			if err := hook.Do(); err != nil {
				k.Fatalf("lose an answer: %v", err)
			}
		}
		k.deliver(d)
		d.Unknown = true
		k.says(k.deliver(d), 200)
		k.begin(replace)
		k.says(k.deliver(d), 200)
		d.ByKey = true
		k.says(k.deliver(d), 200)
		k.stand(rows...)
		k.exec("DELETE FROM %s", k.tg.Table)
	}
}

// broughtBack: rows that the table has lost are found by their key and written again.
func broughtBack(k *keyed) {
	k.begin("")
	rows := places(7200, 1, 200)
	d := k.delivery(Schema(), Batch(rows))
	k.deliver(d)
	k.exec("DELETE FROM %s WHERE state = 'state 1'", k.tg.Table)
	d.ByKey, d.Unknown = true, true
	k.says(k.deliver(d), 100)
	k.stand(rows...)
}

// unfitKeys: a key that the rows can't have is told before anything is written.
func unfitKeys(k *keyed) {
	own := record.NewSchema(Schema().Fields(), "zip_code", "time")
	timeless := record.NewSchema(Schema().Fields(), "", "")
	for _, c := range []struct {
		schema  record.Schema
		replace string
		key     []string
		want    string
	}{
		{Schema(), "", []string{"zip_code", "town"}, "the rows have no column town"},
		{own, "", []string{"state"}, "the rows have a key of their own, zip_code"},
		{own, "", Keys, "the rows have a key of their own, zip_code"},
		{Schema(), "version", Keys, "the rows have no column version"},
		{Schema(), "temp_c", Keys, "column temp_c is float64"},
		{Schema(), replaceBy, Keys[:2], "the event time time is not in the key"},
		{timeless, replaceBy, Keys, "the rows have no event time"},
	} {
		err := k.use(c.schema, c.replace, c.key...)
		if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), c.want) ||
			!strings.Contains(err.Error(), k.tg.Table) || fault.HintOf(err) == "" {
			k.Errorf("key %v, replace %q: got %v (kind %v, hint %q), want permanent with %q", c.key, c.replace, err,
				fault.KindOf(err), fault.HintOf(err), c.want)
		}
	}
	if got := k.rows(); len(got) != 0 {
		k.Errorf("something was written: %q", got)
	}
	if err := k.use(own, "", "zip_code"); err != nil {
		k.Errorf("the key of the schema itself: %v", err)
	}
}

// foundTables: a table that is there must keep exactly these columns unique, else it says how to.
func foundTables(k *keyed) {
	if err := k.use(Schema(), ""); err != nil {
		k.Fatalf("prepare: %v", err)
	}
	for _, c := range []struct{ index, want string }{
		{"", "columns time, zip_code, state have no unique index together"},
		{"CREATE INDEX i ON %s (time, zip_code, state)", "have no unique index"},
		{"CREATE UNIQUE INDEX i ON %s (time, zip_code)", "have no unique index"},
		{"CREATE UNIQUE INDEX i ON %s (time, zip_code, state, name)", "have no unique index"},
		{"CREATE UNIQUE INDEX i ON %s (time, zip_code, state) WHERE humidity > 0", "have no unique index"},
		{"CREATE UNIQUE INDEX i ON %s (time, zip_code, lower(state))", "have no unique index"},
		{"CREATE UNIQUE INDEX i ON %s (time, zip_code, state, lower(state))", "have no unique index"},
		{"CREATE UNIQUE INDEX i ON %s (state, time, zip_code)", ""},
		{"hint", ""},
	} {
		if c.index == "hint" { // what is said to be done is enough
			c.index = fault.HintOf(k.use(Schema(), "", Keys...))
		} else if c.index != "" {
			c.index = fmt.Sprintf(c.index, k.tg.Table)
		}
		if c.index != "" {
			k.exec("%s", c.index)
		}
		err := k.use(Schema(), "", Keys...)
		if c.want == "" && err != nil || c.want != "" && (!fault.Is(err, fault.Permanent) ||
			!strings.Contains(err.Error(), c.want) || !strings.Contains(fault.HintOf(err), "CREATE UNIQUE INDEX")) {
			k.Errorf("%s: got %v (kind %v, hint %q), want %q", c.index, err, fault.KindOf(err),
				fault.HintOf(err), c.want)
		}
		if c.want == "" {
			rows := places(7200, 1, 200)
			k.put(rows, 0)
			k.put(rows, 200)
			k.stand(rows...)
			k.exec("DELETE FROM %s", k.tg.Table)
		}
		if strings.Contains(c.index, "INDEX i ") {
			k.exec("DROP INDEX i")
		}
	}
}
