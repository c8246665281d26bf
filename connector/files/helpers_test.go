package files

import (
	"bufio"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/klauspost/compress/zstd"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sinktest"
)

// directory is what the tests see of a directory beside the sink, and how they break it.
type directory struct {
	t    testing.TB
	path string

	cutAfter atomic.Int64 // bytes until a write breaks; negative: never
	lose     atomic.Bool  // the next answer is lost
	down     atomic.Bool
}

func newDirectory(t testing.TB) *directory {
	t.Helper()
	d := &directory{t: t, path: filepath.Join(t.TempDir(), "new", "dir [1] #?*")}
	d.cutAfter.Store(-1)
	return d
}

func (d *directory) sink(cfg Config) (*Sink, error) {
	cfg.Path = d.path
	s, err := New(cfg)
	if err != nil {
		return nil, err
	}
	s.broken = func(at stage, bytes int) error {
		switch {
		case d.down.Load():
			return fault.New(fault.Transient, "down on purpose")
		case at == afterRename && d.lose.Swap(false):
			return fault.New(fault.Transient, "answer lost on purpose")
		case at == midFile && d.cutAfter.Load() >= 0 && d.cutAfter.Add(-int64(bytes)) < 0:
			return fault.New(fault.Transient, "cut on purpose")
		}
		return nil
	}
	return s, nil
}

func (d *directory) names() []string {
	d.t.Helper()
	entries, err := os.ReadDir(d.path)
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// spots reads all files.
func (d *directory) spots() ([]sinktest.Spot, error) {
	var all []sinktest.Spot
	for _, n := range d.names() {
		if strings.HasPrefix(n, ".") {
			continue
		}
		spots, err := read(filepath.Join(d.path, n))
		if err != nil {
			return nil, err
		}
		all = append(all, spots...)
	}
	return all, nil
}

func read(path string) ([]sinktest.Spot, error) {
	if strings.HasSuffix(path, ".parquet") {
		return readParquet(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	switch filepath.Ext(path) {
	case ".gz":
		r, err = gzip.NewReader(f)
	case ".zst":
		z, zerr := zstd.NewReader(f)
		if zerr == nil {
			defer z.Close()
		}
		r, err = z, zerr
	}
	if err != nil {
		return nil, err
	}
	return readLines(r)
}

func readLines(r io.Reader) (out []sinktest.Spot, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		spot, err := sinktest.ReadObject(lines.Bytes())
		if err != nil {
			return nil, err
		}
		out = append(out, spot)
	}
	return out, lines.Err()
}

func readParquet(path string) (out []sinktest.Spot, err error) {
	pf, err := file.OpenParquetFile(path, false)
	if err != nil {
		return nil, err
	}
	defer pf.Close()
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	table, err := fr.ReadTable(context.Background())
	if err != nil {
		return nil, err
	}
	r := array.NewTableReader(table, 0)
	defer r.Release()
	for r.Next() {
		b := r.RecordBatch()
		for i := range int(b.NumRows()) {
			out = append(out, spotAt(b, i))
		}
	}
	return out, nil
}

// spotAt reads a row; a column of another type than was written is a panic.
func spotAt(b arrow.RecordBatch, i int) sinktest.Spot {
	col := func(name string) arrow.Array { return b.Column(b.Schema().FieldIndices(name)[0]) }
	text := func(name string) string { return strings.Clone(col(name).(*array.String).Value(i)) }
	f32 := func(name string) float32 { return col(name).(*array.Float32).Value(i) }
	u16 := func(name string) uint16 { return col(name).(*array.Uint16).Value(i) }
	u64 := func(name string) uint64 { return col(name).(*array.Uint64).Value(i) }
	i8 := func(name string) int8 { return col(name).(*array.Int8).Value(i) }
	at := col("time").(*array.Timestamp)
	return sinktest.Spot{ID: u64("id"), Band: col("band").(*array.Int16).Value(i),
		Time:   at.Value(i).ToTime(at.DataType().(*arrow.TimestampType).Unit).Unix(),
		RxSign: text("rx_sign"), RxLat: f32("rx_lat"), RxLon: f32("rx_lon"), RxLoc: text("rx_loc"),
		TxSign: text("tx_sign"), TxLat: f32("tx_lat"), TxLon: f32("tx_lon"), TxLoc: text("tx_loc"),
		Distance: u16("distance"), Azimuth: u16("azimuth"), RxAzimuth: u16("rx_azimuth"),
		Frequency: u64("frequency"), Power: i8("power"), SNR: i8("snr"), Drift: i8("drift"),
		Version: text("version"), Code: i8("code")}
}

// remove writes each file again without the rows of those ids.
func (d *directory) remove(ids []uint64) error {
	for _, n := range d.names() {
		path := filepath.Join(d.path, n)
		spots, err := read(path)
		if err != nil {
			return err
		}
		spots = slices.DeleteFunc(spots, func(s sinktest.Spot) bool { return slices.Contains(ids, s.ID) })
		was, _ := parseName(n)
		s, err := d.sink(Config{Format: map[bool]string{true: formatParquet, false: formatJSONL}[was.ext == extParquet],
			Compression: map[string]string{extGzip: packGzip, extZstd: packZstd}[was.ext]})
		if err != nil {
			return err
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		err = s.encode(context.Background(), &counted{f: f, at: s.at},
			content{sinktest.Schema(), sinktest.Batch(spots), record.Token{}})
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func prepared(t testing.TB, d *directory, cfg Config) *Sink {
	t.Helper()
	s, err := d.sink(cfg)
	if err == nil {
		err = s.Prepare(context.Background(), sinktest.Schema())
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t testing.TB, s *Sink, d connector.Delivery) connector.Verdict {
	t.Helper()
	v, err := s.Write(context.Background(), d)
	if err != nil {
		t.Fatalf("write %s: %v", d.Token, err)
	}
	return v
}

func (d *directory) has(t testing.TB, want []sinktest.Spot) {
	t.Helper()
	got, err := d.spots()
	if diff := sinktest.Difference(want, got); diff != "" || err != nil {
		t.Errorf("files: %s %v", diff, err)
	}
}

// double writes rows once more, as somebody does who knows nothing of the first time.
func (d *directory) double(cfg Config, ids []uint64) error {
	spots, err := d.spots()
	if err != nil {
		return err
	}
	spots = slices.DeleteFunc(spots, func(s sinktest.Spot) bool { return !slices.Contains(ids, s.ID) })
	sink, err := d.sink(cfg)
	if err != nil {
		return err
	}
	defer sink.Close()
	_, err = sink.Write(d.t.Context(), connector.Delivery{Schema: sinktest.Schema(), Rows: sinktest.Batch(spots),
		Token: record.Token{Job: "another", First: 1, Last: 1}})
	return err
}
