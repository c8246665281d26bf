package split

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	_ "modernc.org/sqlite"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sqlite"
)

// schema is that of rows of two tables: cats have lives, dogs have owners, both have a name.
var schema = record.NewSchema([]arrow.Field{
	{Name: "table", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_us},
	{Name: "name", Type: arrow.BinaryTypes.String},
	{Name: "cats.lives", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "dogs.owner", Type: arrow.BinaryTypes.String, Nullable: true},
}, "", "time")

var (
	cats = []Column{{"time", "time"}, {"name", "name"}, {"cats.lives", "lives"}}
	dogs = []Column{{"name", "dog"}, {"dogs.owner", "owner"}, {"time", "at"}}
)

// animals makes rows of words: "cat Tom" and "dog Rex", anything else is of no table.
func animals(words ...string) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	for i, word := range words {
		table, name, _ := strings.Cut(word, " ")
		if table == "null" {
			b.Field(0).AppendNull()
		} else {
			b.Field(0).(*array.StringBuilder).Append(table + "s")
		}
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(i * 1_000_000))
		b.Field(2).(*array.StringBuilder).Append(name)
		if table == "cat" && name != "Kit" {
			b.Field(3).(*array.Int64Builder).Append(int64(len(name)))
		} else {
			b.Field(3).AppendNull()
		}
		if table == "dog" {
			b.Field(4).(*array.StringBuilder).Append("owner of " + name)
		} else {
			b.Field(4).AppendNull()
		}
	}
	return b.NewRecordBatch()
}

// delivery makes the n-th delivery of rows.
func delivery(t *testing.T, n uint64, rows arrow.RecordBatch) connector.Delivery {
	t.Helper()
	_, hash, err := record.Encode(nil, rows)
	if err != nil {
		t.Fatal(err)
	}
	return connector.Delivery{Schema: schema, Rows: rows, FirstAttempt: time.Unix(int64(n), 0),
		Token: record.Token{Job: "pets", Lineage: record.Lineage{1}, First: n, Last: n, Hash: hash}}
}

// watched is a sink whose calls are kept, and that can be made to fail.
type watched struct {
	connector.Sink
	traits connector.SinkTraits
	bad    func(d connector.Delivery) error // of a write that reaches nobody
	late   error                            // of the next write, which is done all the same
	probe  error
	closed int
	seen   []connector.Delivery
}

func (w *watched) Traits() connector.SinkTraits { return w.traits }

func (w *watched) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	w.seen = append(w.seen, d)
	if w.bad != nil {
		if err := w.bad(d); err != nil {
			return connector.Verdict{}, err
		}
	}
	v, err := w.Sink.Write(ctx, d)
	if err == nil && w.late != nil {
		err, w.late = w.late, nil
	}
	return v, err
}

func (w *watched) Probe(ctx context.Context) error { return errors.Join(w.probe, w.Sink.Probe(ctx)) }

func (w *watched) Close() error {
	w.closed++
	return w.Sink.Close()
}

// rig is two tables in one file.
type rig struct {
	t    *testing.T
	file string
	cats *watched
	dogs *watched
	sink *Sink
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, file: filepath.Join(t.TempDir(), "pets.sqlite")}
	r.open()
	return r
}

// open makes the sinks anew, as a process that begins does.
func (r *rig) open() {
	r.t.Helper()
	if r.sink != nil {
		if err := r.sink.Close(); err != nil {
			r.t.Fatal(err)
		}
	}
	table := func(name string) *watched {
		s, err := sqlite.New(sqlite.Config{Path: r.file, Table: name})
		if err != nil {
			r.t.Fatal(err)
		}
		return &watched{Sink: s, traits: s.Traits()}
	}
	r.cats, r.dogs = table("cats"), table("dogs")
	var err error
	r.sink, err = New("table", []Part{{"cats", cats, r.cats}, {"dogs", dogs, r.dogs}})
	if err == nil {
		err = r.sink.Prepare(r.t.Context(), schema)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	sink := r.sink
	r.t.Cleanup(func() { _ = sink.Close() })
}

func (r *rig) write(d connector.Delivery) connector.Verdict {
	r.t.Helper()
	v, err := r.sink.Write(r.t.Context(), d)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

// gives checks the answer to a question.
func (r *rig) gives(query, want string) {
	r.t.Helper()
	db, err := sql.Open("sqlite", r.file)
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	var got string
	if err := db.QueryRow(query).Scan(&got); err != nil {
		r.t.Fatal(err)
	}
	if got != want {
		r.t.Errorf("got %q, want %q", got, want)
	}
}

// holds checks who is in the tables, and when.
func (r *rig) holds(wantCats, wantDogs string) {
	r.t.Helper()
	r.gives("SELECT group_concat(name || '@' || (time / 1000000), ' ') FROM (SELECT * FROM cats ORDER BY time, rowid)", wantCats)
	r.gives("SELECT group_concat(dog || '@' || (at / 1000000), ' ') FROM (SELECT * FROM dogs ORDER BY at, rowid)", wantDogs)
}

// TestDivides: rows go to their tables with their columns, in every mixture, and once however often a
// delivery comes.
func TestDivides(t *testing.T) {
	r := newRig(t)
	first := delivery(t, 1, animals("cat Tom", "dog Rex", "dog Fido", "cat Kit", "dog Spot"))
	only := delivery(t, 2, animals("cat Felix", "cat Lucy"))
	none := delivery(t, 3, animals())
	for range 2 {
		for _, d := range []connector.Delivery{first, only, none} {
			if v := r.write(d); len(v.Rejected) != 0 {
				t.Errorf("got %+v", v)
			}
		}
		r.open()
	}
	r.holds("Tom@0 Felix@0 Lucy@1 Kit@3", "Rex@1 Fido@2 Spot@4")
	r.gives("SELECT group_concat(name || ' ' || coalesce(lives, 'none'), ', ') FROM (SELECT * FROM cats ORDER BY name)",
		"Felix 5, Kit none, Lucy 4, Tom 3")
	r.gives("SELECT group_concat(owner, ', ') FROM (SELECT * FROM dogs ORDER BY dog)",
		"owner of Fido, owner of Rex, owner of Spot")
	if v := r.write(first); v.Present != 5 {
		t.Errorf("got %d rows that were there, want 5", v.Present)
	}
}

// TestHandsOn: parts get what is known of a delivery, the same bytes at each attempt, and columns as they are
// where all rows go.
func TestHandsOn(t *testing.T) {
	r := newRig(t)
	d := delivery(t, 7, animals("dog Rex", "cat Tom", "dog Fido"))
	d.Unknown, d.ByKey = true, true
	r.write(d)
	r.write(d)
	for _, w := range []*watched{r.cats, r.dogs} {
		var first record.Hash
		for i, got := range w.seen {
			if got.Token != d.Token || !got.FirstAttempt.Equal(d.FirstAttempt) || !got.Unknown || !got.ByKey {
				t.Errorf("got %+v, want what the delivery has", got)
			}
			if got.Schema.Time < 0 || !got.Schema.Equal(got.Rows.Schema()) {
				t.Errorf("got schema %v", got.Schema)
			}
			_, hash, err := record.Encode(nil, got.Rows)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 && hash != first {
				t.Error("another attempt has other bytes")
			}
			first = hash
		}
	}
	all := delivery(t, 8, animals("cat Tom", "cat Kit"))
	r.write(all)
	if got := r.cats.seen[len(r.cats.seen)-1].Rows; got.Column(1).Data() != all.Rows.Column(2).Data() {
		t.Error("a column of which all rows go was copied")
	}
	if n := len(r.dogs.seen); n != 2 {
		t.Errorf("the part without rows was written to %d times", n-2)
	}
}

// TestOnePartFails: a delivery that failed at one part is repeated, by this process and another, and is in
// each table once; whether the failed write was done or not.
func TestOnePartFails(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for _, restart := range []bool{false, true} {
			r := newRig(t)
			d := delivery(t, 1, animals("cat Tom", "dog Rex", "cat Kit"))
			away := fault.New(fault.Transient, "away")
			if lost {
				r.dogs.late = away
			} else {
				r.dogs.bad = func(connector.Delivery) error { return away }
			}
			if _, err := r.sink.Write(t.Context(), d); !fault.Is(err, fault.Transient) || !strings.Contains(err.Error(), "rows of dogs: away") {
				t.Fatalf("got %v, want whose outage it is", err)
			}
			r.dogs.bad = nil
			if restart {
				r.open()
			}
			d.Unknown = true
			r.write(d)
			r.holds("Tom@0 Kit@2", "Rex@1")
		}
	}
}

// TestVerdicts: what parts say of rows is said of the delivery's, and rows of no part are refused.
func TestVerdicts(t *testing.T) {
	r := newRig(t)
	r.cats.Sink = refusing{r.cats.Sink, "Tom"}
	r.dogs.Sink = refusing{r.dogs.Sink, "Fido"}
	v := r.write(delivery(t, 1, animals("dog Rex", "cow Bess", "cat Kit", "dog Fido", "null X", "cat Tom")))
	var got []string
	for _, f := range v.Rejected {
		got = append(got, fmt.Sprint(f.Row, " ", f.Reason))
	}
	want := []string{"1 column table is cows, and no such rows are configured", "3 not Fido",
		"4 column table is (null), and no such rows are configured", "5 not Tom"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	r.cats.Sink = refusing{r.cats.Sink, "outside"}
	if _, err := r.sink.Write(t.Context(), delivery(t, 2, animals("cat outside"))); err == nil {
		t.Error("a verdict about a row that is not there was taken")
	}
}

// refusing refuses rows of a name one by one, and writes the others nowhere.
type refusing struct {
	connector.Sink
	name string
}

func (s refusing) Write(_ context.Context, d connector.Delivery) (v connector.Verdict, err error) {
	at := slices.IndexFunc(d.Schema.Fields(), func(f arrow.Field) bool { return f.Name == "name" || f.Name == "dog" })
	for i := range int(d.Rows.NumRows()) {
		if d.Rows.Column(at).(*array.String).Value(i) == s.name {
			v.Rejected = append(v.Rejected, connector.RowFault{Row: i, Reason: "not " + s.name})
		}
	}
	if s.name == "outside" {
		v.Rejected = []connector.RowFault{{Row: 1}}
	}
	return v, nil
}

// biting is a server that refuses deliveries with certain dogs as a whole, once it has looked whether it
// knows their token.
type biting struct {
	t        *testing.T
	whole    record.Token
	dogs     []string
	written  []record.Token
	writes   int
	awayFrom int // the write at which it is away
}

func (s *biting) judge(d connector.Delivery) error {
	if s.writes++; s.writes == s.awayFrom {
		return fault.New(fault.Transient, "away")
	}
	from, to := d.Token.RowFrom, d.Token.RowTo
	if d.Token != s.whole && (from >= to || from < s.whole.RowFrom || s.whole.RowTo > 0 && to > s.whole.RowTo) {
		s.t.Errorf("rows %d to %d are no part of the delivery", from, to)
	}
	for _, known := range s.written {
		if known != d.Token && (to == 0 || from < known.RowTo && known.RowFrom < to) {
			return fault.New(fault.Conflict, "rows %d to %d meet %d to %d", from, to, known.RowFrom, known.RowTo)
		}
	}
	for i := range int(d.Rows.NumRows()) {
		if name := d.Rows.Column(0).(*array.String).Value(i); slices.Contains(s.dogs, name) {
			return fault.New(fault.Invalid, "%s bites", name)
		}
	}
	s.written = append(s.written, d.Token)
	return nil
}

// TestPoison: rows because of which a part refuses all of its rows are found, others go, and nothing is there
// twice whenever a part goes away meanwhile and the delivery comes again.
func TestPoison(t *testing.T) {
	words := []string{"dog A", "cat Tom", "dog B", "dog Biter", "cat Kit", "dog C", "dog D", "dog Snapper", "cat Leo", "dog E"}
	for fail := range 12 { // the dogs' sink goes away at that write
		for _, part := range []bool{false, true} { // of a delivery that was halved from outside
			r := newRig(t)
			d := delivery(t, 1, animals(words...))
			want := [2]string{"Tom@1 Kit@4 Leo@8", "A@0 B@2 C@5 D@6 E@9"}
			refused := []int{3, 7}
			if part {
				d.Rows = d.Rows.NewSlice(5, 10)
				d.Token.RowFrom, d.Token.RowTo = 5, 10
				want, refused = [2]string{"Leo@8", "C@5 D@6 E@9"}, []int{2}
			}
			server := &biting{t: t, whole: d.Token, dogs: []string{"Biter", "Snapper"}, awayFrom: fail + 1}
			r.dogs.bad = server.judge
			v, err := r.sink.Write(t.Context(), d)
			if server.writes > fail {
				if !fault.Is(err, fault.Transient) {
					t.Fatalf("got %v, want an outage", err)
				}
				r.open()
				r.dogs.bad = server.judge
				v = r.write(d)
			} else if err != nil {
				t.Fatal(err)
			}
			var got []int
			for _, f := range v.Rejected {
				got = append(got, f.Row)
			}
			if !slices.Equal(got, refused) {
				t.Errorf("outage at write %d: rows %v were refused, want %v", fail, got, refused)
			}
			r.holds(want[0], want[1])
		}
	}
}

// TestConflict: a token that comes with other rows is told and changes nothing.
func TestConflict(t *testing.T) {
	r := newRig(t)
	r.write(delivery(t, 1, animals("cat Tom", "dog Rex", "dog Fido", "dog Spot")))
	other := delivery(t, 1, animals("cat Tom", "dog Rex", "dog Fido", "dog Kid"))
	_, err := r.sink.Write(t.Context(), other)
	if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "/1-1/") || strings.Contains(err.Error(), "/r") {
		t.Errorf("got %v, want a conflict of the whole delivery", err)
	}
	r.dogs.seen = nil
	other.Rows = other.Rows.NewSlice(1, 4) // now the cats can't be the first to see it
	if _, err := r.sink.Write(t.Context(), other); !fault.Is(err, fault.Conflict) || strings.Contains(err.Error(), "/r") {
		t.Errorf("got %v, want a conflict of the whole delivery", err)
	}
	r.holds("Tom@0", "Rex@1 Fido@2 Spot@3")
}

// TestTraits: all that the parts keep, and no more.
func TestTraits(t *testing.T) {
	const once, least = connector.ExactlyOnce, connector.AtLeastOnce
	for _, c := range []struct{ a, b, want connector.SinkTraits }{
		{connector.SinkTraits{Exactness: once}, connector.SinkTraits{Exactness: once}, connector.SinkTraits{Exactness: once}},
		{connector.SinkTraits{Exactness: least}, connector.SinkTraits{Exactness: once, MaxRows: 5}, connector.SinkTraits{Exactness: least, MaxRows: 5}},
		{connector.SinkTraits{Exactness: once, MaxRows: 7}, connector.SinkTraits{Exactness: least, MaxRows: 9}, connector.SinkTraits{Exactness: least, MaxRows: 7}},
	} {
		s, err := New("table", []Part{{"a", nil, &watched{traits: c.a}}, {"b", nil, &watched{traits: c.b}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Traits(); got != c.want {
			t.Errorf("got %+v, want %+v", got, c.want)
		}
	}
}

// TestRefusesRows: what can't be divided is a fault that names the column.
func TestRefusesRows(t *testing.T) {
	for want, parts := range map[string][]Part{"there is no part": nil, `"a" is there twice`: {{"a", nil, nil}, {"a", nil, nil}},
		`"" is`:                    {{"", nil, nil}},
		"two columns are called x": {{"a", []Column{{"time", "x"}, {"name", "x"}}, nil}}} {
		if _, err := New("table", parts); !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	r := newRig(t)
	for want, s := range map[string]record.Schema{
		"a key, name":        record.NewSchema(schema.Fields(), "name", "time"),
		"no such column":     record.NewSchema(schema.Fields()[1:], "", "time"),
		"column of texts":    record.NewSchema(append([]arrow.Field{{Name: "table", Type: arrow.PrimitiveTypes.Int64}}, schema.Fields()[1:]...), "", "time"),
		"column cats.lives":  record.NewSchema(schema.Fields()[:3], "", "time"),
		"rows of dogs: ther": record.NewSchema(schema.Fields()[:4], "", "time"),
	} {
		if err := r.sink.Prepare(t.Context(), s); !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	d := delivery(t, 1, animals("cat Tom"))
	d.Schema = record.NewSchema(schema.Fields()[1:], "", "time")
	d.Rows = array.NewRecordBatch(d.Schema.Schema, d.Rows.Columns()[1:], 1)
	if _, err := r.sink.Write(t.Context(), d); !fault.Is(err, fault.Permanent) {
		t.Errorf("rows without the column: got %v", err)
	}
}

// TestOlderRows: rows of a configuration that lacked a column go where they belong.
func TestOlderRows(t *testing.T) {
	r := newRig(t)
	d := delivery(t, 1, animals("cat Tom", "dog Rex"))
	d.Schema = record.NewSchema(schema.Fields()[:3], "", "time")
	d.Rows = array.NewRecordBatch(d.Schema.Schema, d.Rows.Columns()[:3], 2)
	r.write(d)
	r.write(delivery(t, 2, animals("cat Kit", "dog Fido")))
	r.holds("Tom@0 Kit@0", "Rex@1 Fido@1")
}

// TestProbeAndClose reach all parts.
func TestProbeAndClose(t *testing.T) {
	r := newRig(t)
	if err := r.sink.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.dogs.probe = fault.New(fault.Credentials, "who are you")
	if err := r.sink.Probe(t.Context()); !fault.Is(err, fault.Credentials) || !strings.HasPrefix(err.Error(), "rows of dogs: ") {
		t.Errorf("got %v", err)
	}
	if r.sink.Reader() != nil {
		t.Error("rows without a key can be asked for")
	}
	if err := r.sink.Close(); err != nil || r.cats.closed != 1 || r.dogs.closed != 1 {
		t.Errorf("got %v, closed %d and %d times", err, r.cats.closed, r.dogs.closed)
	}
}
