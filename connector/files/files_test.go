package files

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sinktest"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Path: "x", Format: "jsonl"}, ""},
		{Config{Path: "x", Format: "parquet", Compression: "snappy"}, ""},
		{Config{}, "path: missing; give the directory; format: missing; want parquet or jsonl"},
		{Config{Path: "x", Format: "csv"}, `format: want parquet or jsonl, got "csv"`},
		{Config{Path: "x", Format: "jsonl", Compression: "snappy"},
			`compression: want one of none, gzip, zstd for jsonl, got "snappy"`},
	} {
		var got []string
		for _, err := range c.cfg.Validate() {
			got = append(got, err.Error())
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%+v: got %q, want %q", c.cfg, got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	d := newDirectory(t)
	_, del := sinktest.Numbered(12)
	del.Token.RowFrom, del.Token.RowTo = 100, 500
	write(t, prepared(t, d, Config{Format: formatJSONL, Compression: packZstd}), del)
	got := strings.Join(d.names(), " ")
	const want = "2023-05-24.spots.00000000000000000000000000.12-12.r100-500.k120002-120454." +
		"0c00000000000000.jsonl.zst"
	if got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	n, ok := parseName(want)
	if !ok || n.bounds != boundsOf(del.Token) || n.span != (connector.KeyRange{From: 120002, To: 120454}) ||
		n.keys != intKeys || n.ext != extZstd || n.part != 0 {
		t.Errorf("parsed: %+v %v", n, ok)
	}
	for _, other := range []string{"", "notes.parquet", strings.Replace(want, "12-12", "12-99999999999999999999", 1),
		strings.TrimSuffix(want, ".zst") + ".tmp", "x" + want[len("2023-05-24"):] + ".bak"} {
		if _, ok := parseName(other); ok {
			t.Errorf("%q is taken for ours", other)
		}
	}
	long := del
	long.Token.Job = "a/b"
	if _, err := prepared(t, d, Config{Format: formatJSONL}).Write(t.Context(), long); !fault.Is(err, fault.Permanent) {
		t.Errorf("a job that can't be in a name: got %v", err)
	}
}

// TestConflict: the same token with other content is told, and nothing is overwritten.
func TestConflict(t *testing.T) {
	d := newDirectory(t)
	spots, del := sinktest.Numbered(1)
	write(t, prepared(t, d, Config{Format: formatJSONL}), del)
	_, other := sinktest.Numbered(2)
	other.Token = del.Token
	other.Token.Hash = record.Hash{9}
	if _, err := prepared(t, d, Config{Format: formatParquet}).Write(t.Context(), other); !fault.Is(err, fault.Conflict) {
		t.Errorf("got %v (kind %v), want a conflict", err, fault.KindOf(err))
	}
	d.has(t, spots)
}

// TestFormatChanges: a token that was written in one format is found when the configuration says
// another, and keys are compared over both.
func TestFormatChanges(t *testing.T) {
	d := newDirectory(t)
	one, first := sinktest.Numbered(1)
	write(t, prepared(t, d, Config{Format: formatJSONL, Compression: packGzip}), first)
	sink := prepared(t, d, Config{Format: formatParquet})
	if v := write(t, sink, first); v.Present != sinktest.PerDelivery {
		t.Errorf("got %d present, want %d", v.Present, sinktest.PerDelivery)
	}
	two, _ := sinktest.Numbered(2)
	both := connector.Delivery{Schema: sinktest.Schema(), ByKey: true,
		Rows:  sinktest.Batch(append(append([]sinktest.Spot{}, one...), two...)),
		Token: record.Token{Job: "spots", Lineage: record.Lineage{7}, First: 1, Last: 2}}
	if v := write(t, sink, both); v.Present != sinktest.PerDelivery {
		t.Errorf("by key: got %d present, want %d", v.Present, sinktest.PerDelivery)
	}
	d.has(t, append(one, two...))
}

// TestReadsLittle: of many files only those are read whose keys may be the delivery's.
func TestReadsLittle(t *testing.T) {
	d := newDirectory(t)
	sink := prepared(t, d, Config{Format: formatParquet})
	for n := uint64(1); n <= 5; n++ {
		_, del := sinktest.Numbered(n)
		write(t, sink, del)
	}
	spoil(t, d, func(i int) bool { return i != 2 })
	_, third := sinktest.Numbered(3)
	third.Token.Lineage, third.ByKey = record.Lineage{8}, true
	if v := write(t, sink, third); v.Present != sinktest.PerDelivery {
		t.Errorf("got %d present, want %d", v.Present, sinktest.PerDelivery)
	}
	_, fourth := sinktest.Numbered(4)
	fourth.Token.Lineage, fourth.ByKey = record.Lineage{8}, true
	_, err := sink.Write(t.Context(), fourth)
	if !fault.Is(err, fault.Corrupt) || fault.HintOf(err) == "" {
		t.Errorf("a damaged file in the way: got %v (kind %v), want corrupt with a hint", err, fault.KindOf(err))
	}
}

// spoil damages the files of those numbers.
func spoil(t *testing.T, d *directory, which func(i int) bool) {
	t.Helper()
	for i, n := range d.names() {
		if which(i) {
			if err := os.WriteFile(filepath.Join(d.path, n), []byte("damage"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// texts makes a delivery of rows with text keys.
func texts(first uint64, keys ...string) connector.Delivery {
	schema := record.NewSchema([]arrow.Field{{Name: "name", Type: arrow.BinaryTypes.String},
		{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, "name", "")
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	for i, k := range keys {
		b.Field(0).(*array.StringBuilder).Append(k)
		if i%2 == 0 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.Int64Builder).Append(1<<62 + 1)
		}
	}
	return connector.Delivery{Schema: schema, Rows: b.NewRecordBatch(),
		Token: record.Token{Job: "t", Lineage: record.Lineage{byte(first)}, First: first, Last: first}}
}

func TestTextKeys(t *testing.T) {
	for _, format := range []string{formatParquet, formatJSONL} {
		d := newDirectory(t)
		sink, err := d.sink(Config{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		write(t, sink, texts(1, "aaaaaaaaaa1", "aaaaaaaaaa2", "z\nz"))
		again := texts(2, "aaaaaaaaaa2", "aaaaaaaaaa3", "z\nz", "m")
		again.ByKey = true
		if v := write(t, sink, again); v.Present != 2 {
			t.Errorf("%s: got %d present, want 2", format, v.Present)
		}
		if some, err := sink.Reader().Holds(t.Context()); !some || err != nil {
			t.Errorf("%s: holds: %v %v", format, some, err)
		}
		if _, _, err := sink.Reader().Highest(t.Context()); !fault.Is(err, fault.Permanent) {
			t.Errorf("%s: highest of text keys: got %v", format, err)
		}
	}
}

func TestJSONL(t *testing.T) {
	d := newDirectory(t)
	sink, err := d.sink(Config{Format: formatJSONL})
	if err != nil {
		t.Fatal(err)
	}
	schema := record.NewSchema([]arrow.Field{{Name: "i", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "at \"µs\"", Type: arrow.FixedWidthTypes.Timestamp_us}, {Name: "f", Type: arrow.PrimitiveTypes.Float32},
		{Name: "b", Type: arrow.BinaryTypes.Binary}, {Name: "ok", Type: arrow.FixedWidthTypes.Boolean, Nullable: true}},
		"i", "at \"µs\"")
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	b.Field(0).(*array.Uint64Builder).Append(1<<64 - 1)
	b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC).UnixMicro()))
	b.Field(2).(*array.Float32Builder).Append(0.1)
	b.Field(3).(*array.BinaryBuilder).Append([]byte{0, 255})
	b.Field(4).AppendNull()
	write(t, sink, connector.Delivery{Schema: schema, Rows: b.NewRecordBatch(),
		Token: record.Token{Job: "t", First: 1, Last: 1}})
	got, err := os.ReadFile(filepath.Join(d.path, d.names()[0]))
	const want = `{"i":18446744073709551615,"at \"µs\"":"2026-02-03T04:05:06.000007Z","f":0.1,"b":"AP8=","ok":null}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("got %s %v, want %s", got, err, want)
	}
	if !strings.HasPrefix(d.names()[0], "2026-02-03.t.") {
		t.Errorf("name: %s", d.names()[0])
	}
}

// TestPlaces: what is wrong with the place is told for good, with what to do.
func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	no := false
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Path: plain}, "it is a file"},
		{Config{Path: filepath.Join(plain, "below")}, "not a directory"},
		{Config{Path: filepath.Join(dir, "missing"), Create: &no}, "create is false"},
		{Config{Path: filepath.Join(dir, strings.Repeat("long", 100))}, "name too long"},
	} {
		c.cfg.Format = formatJSONL
		s, err := New(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Prepare(t.Context(), sinktest.Schema())
		if !fault.Is(err, fault.Permanent) || fault.HintOf(err) == "" || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: got %v (kind %v, hint %q)", c.cfg.Path, err, fault.KindOf(err), fault.HintOf(err))
		}
	}
}

// TestColumnThatNoFormatHolds is told before anything is written, by its name.
func TestColumnThatNoFormatHolds(t *testing.T) {
	d := newDirectory(t)
	s, err := d.sink(Config{Format: formatParquet})
	if err != nil {
		t.Fatal(err)
	}
	schema := record.NewSchema([]arrow.Field{{Name: "list", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64)}}, "", "")
	if err := s.Prepare(t.Context(), schema); !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), "list") {
		t.Errorf("got %v", err)
	}
}

// TestDirectoryGoes: files that a person takes away do not come back, and the sink goes on.
func TestDirectoryGoes(t *testing.T) {
	d := newDirectory(t)
	sink := prepared(t, d, Config{Format: formatJSONL})
	_, one := sinktest.Numbered(1)
	write(t, sink, one)
	if err := os.RemoveAll(d.path); err != nil {
		t.Fatal(err)
	}
	spots, two := sinktest.Numbered(2)
	if _, err := sink.Write(t.Context(), two); !fault.Is(err, fault.Transient) {
		t.Fatalf("got %v (kind %v), want an outage", err, fault.KindOf(err))
	}
	if err := sink.Prepare(t.Context(), sinktest.Schema()); err != nil {
		t.Fatal(err)
	}
	write(t, sink, two)
	d.has(t, spots)
}

// FuzzName: no name of a file can make trouble.
func FuzzName(f *testing.F) {
	f.Add("2023-05-24.spots.00000000000000000000000000.12-12.r1-5.k1-2.0c00000000000000.p2.jsonl.zst")
	f.Fuzz(func(t *testing.T, text string) {
		if n, ok := parseName(text); ok && (n.text != text || n.ext == "") {
			t.Errorf("%q: %+v", text, n)
		}
	})
}

// FuzzLines: whatever stands in a JSONL file is keys or an error.
func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"a":1,"id":18446744073709551615}` + "\n" + `{"id":7}`))
	f.Add([]byte(`{"id":{"id":1}}[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "x.jsonl")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		keys := 0
		err := jsonKeys(path, "id", intKeys, func(key) error { keys++; return nil })
		if most := bytes.Count(text, []byte("{")); keys > most {
			t.Errorf("%d keys in %q (%v)", keys, text, err)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	spots := sinktest.Batch(sinktest.Spots(1, 1, 100_000))
	for _, cfg := range []Config{{Format: formatParquet}, {Format: formatJSONL}, {Format: formatJSONL, Compression: packZstd}} {
		b.Run(cfg.Format+cfg.Compression, func(b *testing.B) {
			cfg.Path = b.TempDir()
			s, err := New(cfg)
			if err != nil {
				b.Fatal(err)
			}
			n := uint64(0)
			for b.Loop() {
				n++
				if _, err := s.Write(context.Background(), connector.Delivery{Schema: sinktest.Schema(), Rows: spots,
					Token: record.Token{Job: "b", First: n, Last: n}}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*100_000/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
