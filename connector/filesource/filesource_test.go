package filesource

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"go.uber.org/goleak"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/columns"
	"holdfast/connector/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// numbers reads rows with the columns id and v.
func numbers(path, mode string) Config {
	return Config{Path: path, Mode: mode, Format: formatJSONL, Key: "id", Settle: 200 * time.Millisecond,
		MaxLine: 1000, Columns: []columns.Column{{Name: "id", Type: "int64"}, {Name: "v", Type: "text", Optional: true}}}
}

// reader plays the job.
type reader struct {
	t      testing.TB
	cfg    Config
	src    connector.Source
	cursor []byte
	ids    []int64
	bad    []string
	notes  map[string]int64
}

func read(t testing.TB, cfg Config) *reader {
	r := &reader{t: t, cfg: cfg, notes: map[string]int64{}}
	r.restart()
	t.Cleanup(func() { r.src.Close() })
	return r
}

// restart goes on from the cursor as a new process would.
func (r *reader) restart() {
	r.t.Helper()
	if r.src != nil {
		r.src.Close()
	}
	src, err := Open(r.cfg, Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.src = src
}

// until fetches until so many rows and rejects have come.
func (r *reader) until(rows, bad int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for len(r.ids) < rows || len(r.bad) < bad {
		r.page(ctx)
	}
	if len(r.ids) != rows || len(r.bad) != bad {
		r.t.Fatalf("got %d rows and %d rejects, want %d and %d: %v %q", len(r.ids), len(r.bad), rows, bad, r.ids, r.bad)
	}
}

func (r *reader) page(ctx context.Context) {
	r.t.Helper()
	p, err := r.src.Fetch(ctx, connector.Request{Cursor: r.cursor})
	if err != nil {
		r.t.Fatalf("after rows %v, rejects %q: %v", r.ids, r.bad, err)
	}
	if !p.More {
		r.t.Error("a page of a stream says that there is no more")
	}
	keys, _ := record.Keys(r.src.Schema(), p.Rows)
	for _, k := range keys {
		r.ids = append(r.ids, int64(k))
	}
	for _, rej := range p.Rejected {
		r.bad = append(r.bad, rej.Reason)
	}
	for k, n := range p.Notes {
		r.notes[k] += n
	}
	r.cursor = p.Cursor
}

// quiet wants nothing more within a moment.
func (r *reader) quiet() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	p, err := r.src.Fetch(ctx, connector.Request{Cursor: r.cursor})
	if err == nil {
		r.t.Fatalf("got a page with %d rows and %d rejects, want none", p.Rows.NumRows(), len(p.Rejected))
	}
}

func (r *reader) in(order ...int64) {
	r.t.Helper()
	if fmt.Sprint(r.ids) != fmt.Sprint(order) {
		r.t.Errorf("got ids %v, want %v", r.ids, order)
	}
}

func appendTo(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func rename(t testing.TB, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func ids(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "{\"id\":%d}\n", i)
	}
	return b.String()
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	r := read(t, numbers(path, modeTail))
	r.quiet() // the file is not there yet
	appendTo(t, path, "\uFEFF{\"id\":1}\r\n{\"id\":2,\"v\":\"x\"}\n{\"id\"")
	r.until(2, 0)
	r.quiet()
	appendTo(t, path, ":3}\n\nno json\n{\"id\":4}\n"+strings.Repeat("x", 3000)+"\n"+ids(5, 5))
	r.until(5, 2)
	r.in(1, 2, 3, 4, 5)
	want := []string{"line 5 of " + path + ": it is no JSON", "line 7 of " + path + ": it is longer than 1000 bytes"}
	for i, w := range want {
		if !strings.HasPrefix(r.bad[i], w) {
			t.Errorf("got reject %q, want %q", r.bad[i], w)
		}
	}
	r.restart()
	r.quiet()
	appendTo(t, path, ids(6, 6))
	r.until(6, 2)
}

// TestTailEveryCursor goes on with a new source from every cursor, as after a crash; a page that was not
// committed comes again.
func TestTailEveryCursor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	appendTo(t, path, ids(1, 25_000))
	r := read(t, numbers(path, modeTail))
	for len(r.ids) < 25_000 {
		cursor, n := r.cursor, len(r.ids)
		r.page(t.Context())
		r.cursor, r.ids = cursor, r.ids[:n]
		if n%2 == 0 {
			r.restart()
		}
		r.page(t.Context())
	}
	for i, id := range r.ids {
		if id != int64(i+1) {
			t.Fatalf("row %d has id %d", i, id)
		}
	}
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	appendTo(t, path, ids(1, 3))
	r := read(t, numbers(path, modeTail))
	r.until(3, 0)
	rename(t, path, path+".1")
	appendTo(t, path+".1", ids(4, 4)) // its writer does not know yet
	r.until(4, 0)
	appendTo(t, path, ids(6, 7))
	appendTo(t, path+".1", ids(5, 5)+`{"id":99`)
	r.until(7, 1)
	r.in(1, 2, 3, 4, 5, 6, 7)
	if !strings.Contains(r.bad[0], "rotated away before the line ended") {
		t.Errorf("got reject %q", r.bad[0])
	}
}

// TestRotationWhileDown: two rotations while nobody looked.
func TestRotationWhileDown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	appendTo(t, path, ids(1, 3))
	r := read(t, numbers(path, modeTail))
	r.until(3, 0)
	appendTo(t, path, ids(4, 4))
	rename(t, path, path+".2")
	time.Sleep(20 * time.Millisecond) // the files are told apart by their times
	appendTo(t, path+".1", ids(5, 5))
	time.Sleep(20 * time.Millisecond)
	appendTo(t, path, ids(6, 6))
	appendTo(t, path+".other", ids(100, 100))
	rename(t, path, path+".0")
	r.restart()
	r.until(6, 0) // though there is no file at the path now
	r.in(1, 2, 3, 4, 5, 6)
	rename(t, path+".0", path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, ids(7, 7))
	r.restart()
	r.until(7, 0)
	if r.notes["rotated_away"]+r.notes["truncated"] != 1 {
		t.Errorf("notes %v, want that the file was gone", r.notes)
	}
}

func TestTruncation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, down := range []bool{false, true} {
		os.Remove(path)
		appendTo(t, path, ids(1, 3))
		r := read(t, numbers(path, modeTail))
		r.until(3, 0)
		for _, text := range []string{ids(4, 4), ids(5, 9)} { // shorter, and longer with another beginning
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if down {
				r.restart()
			}
			r.until(len(r.ids)+strings.Count(text, "\n"), 0)
		}
		r.in(1, 2, 3, 4, 5, 6, 7, 8, 9)
		if r.notes["truncated"] != 2 {
			t.Errorf("notes %v, want 2 truncations", r.notes)
		}
	}
}

// TestRotationRace writes and rotates without pause: every line comes once, in order. The reader is there before
// the first rotation, for without a cursor it begins with the file that has the name.
func TestRotationRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	const files, lines = 8, 500
	appendTo(t, path, ids(1, 1))
	r := read(t, numbers(path, modeTail))
	r.until(1, 0)
	done := make(chan struct{})
	go func() { // ends by itself; waited for below
		defer close(done)
		for id := 2; id <= files*lines; id++ {
			appendTo(t, path, ids(id, id))
			if f := id / lines; id%lines == 0 && f < files {
				rename(t, path, fmt.Sprintf("%s.%d", path, files-f))
				time.Sleep(15 * time.Millisecond)
			}
		}
	}()
	r.until(files*lines, 0)
	<-done
	for i, id := range r.ids {
		if id != int64(i+1) {
			t.Fatalf("row %d has id %d", i, id)
		}
	}
}

func TestCSV(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.csv")
	cfg := numbers(path, modeTail)
	cfg.Format = formatCSV
	r := read(t, cfg)
	appendTo(t, path, "\uFEFFid,v\r\n1,\"two\nlines, \"\"quoted\"\"\"\r\n2\r\n3,5\" pipe\r\n4,\r\n\"5\",\"x")
	r.until(2, 2)
	r.in(1, 4)
	r.restart()
	appendTo(t, path, "\ny\"\n6,z\n")
	r.until(4, 2)
	r.in(1, 4, 5, 6)
	if !strings.HasPrefix(r.bad[0], "line 4 of") || !strings.Contains(r.bad[0], "it has 1 fields, want 2") ||
		!strings.Contains(r.bad[1], "it is no csv") {
		t.Errorf("got rejects %q", r.bad)
	}
	appendTo(t, path, "7,\"open\n8,a\n9,"+strings.Repeat("b", 1200)+"\n10,c\n")
	r.until(6, 4) // an open quote takes no neighbours
	r.in(1, 4, 5, 6, 8, 10)
}

func TestParse(t *testing.T) {
	cfg := numbers("/x", modeTail)
	for format, raw := range map[string]string{formatJSONL: `{"id":7}`, formatCSV: "id,v\n7,\"a\nb\""} {
		cfg.Format = format
		src, err := Open(cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if p := src.Parse([]byte(raw)); p.Rows == nil || p.Rows.NumRows() != 1 {
			t.Errorf("%s: got %+v", format, p)
		}
		for _, bad := range []string{"", "x", raw + "\n" + raw} {
			if p := src.Parse([]byte(bad)); len(p.Rejected) == 0 {
				t.Errorf("%s: %q became %+v", format, bad, p)
			}
		}
	}
}

func TestOnce(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string, age time.Duration) {
		t.Helper()
		appendTo(t, filepath.Join(dir, name), text)
		at := time.Now().Add(-age)
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	put("b.jsonl", ids(1, 2), 2*time.Hour)
	put("a.jsonl", ids(3, 3)+`{"id":4}`, time.Hour)
	put(".hidden.jsonl", ids(100, 100), time.Hour)
	put("other.txt", ids(100, 100), time.Hour)
	cfg := numbers(filepath.Join(dir, "*.jsonl"), modeOnce)
	cfg.Settle = time.Hour // only what inotify tells is complete
	r := read(t, cfg)
	r.until(4, 0)
	r.quiet()
	rename(t, filepath.Join(dir, "other.txt"), filepath.Join(dir, "other.jsonl"))
	f, err := os.Create(filepath.Join(dir, "c.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(ids(6, 6)); err != nil {
		t.Fatal(err)
	}
	r.until(5, 0)
	r.quiet() // c is still being written
	f.Close()
	r.until(6, 0)
	r.in(1, 2, 3, 4, 100, 6)
	r.restart()
	r.quiet()
	os.Remove(filepath.Join(dir, "a.jsonl"))
	appendTo(t, filepath.Join(dir, "d.jsonl"), ids(7, 7))
	r.until(7, 0)
	if at, err := readPosition(r.cursor); err != nil || len(at.Done) != 4 {
		t.Errorf("the cursor knows %d files, want the 4 that are there: %v", len(at.Done), err)
	}
}

// TestOnceResume: a large file is read on from every cursor, and a settled one is found by a look.
func TestOnceResume(t *testing.T) {
	dir := t.TempDir()
	appendTo(t, filepath.Join(dir, "x"), ids(1, 25_000))
	r := read(t, numbers(filepath.Join(dir, "*"), modeOnce))
	for len(r.ids) < 25_000 {
		r.page(t.Context())
		r.restart()
	}
	if r.ids[24_999] != 25_000 || len(r.ids) != 25_000 {
		t.Errorf("got %d rows", len(r.ids))
	}
	r.quiet()
}

func TestOnceParquet(t *testing.T) {
	dir := t.TempDir()
	var b bytes.Buffer
	spots := sinktest.Spots(1, 1<<60, 12_000)
	batch := sinktest.Batch(spots)
	w, err := pqarrow.NewFileWriter(batch.Schema(), &b, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err == nil {
		err = w.Write(batch)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, filepath.Join(dir, "1.parquet"), b.String())
	appendTo(t, filepath.Join(dir, "2.parquet"), b.String()[:b.Len()/2])
	cfg := Config{Path: filepath.Join(dir, "*.parquet"), Mode: modeOnce, Format: formatParquet, Key: "id", Time: "time",
		Settle: time.Millisecond, Columns: []columns.Column{{Name: "id", Type: "uint64"}, {Name: "time", Type: "time"},
			{Name: "frequency", Type: "uint64"}, {Name: "snr", Type: "int64"}, {Name: "rx_lat", Type: "float64"}}}
	r := read(t, cfg)
	r.until(12_000, 1)
	for i, s := range spots {
		if uint64(r.ids[i]) != s.ID {
			t.Fatalf("row %d has id %d, want %d", i, r.ids[i], s.ID)
		}
	}
}

func TestStdin(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	c := numbers("", "")
	s, err := OpenStdin(StdinConfig{Format: formatJSONL, Key: "id", Columns: c.Columns}, in)
	if err != nil {
		t.Fatal(err)
	}
	fetch := func(cursor []byte) connector.Page {
		t.Helper()
		p, err := s.Fetch(t.Context(), connector.Request{Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.Fetch(ctx, connector.Request{}); err != context.DeadlineExceeded {
		t.Errorf("silence: got %v", err)
	}
	fmt.Fprint(out, ids(1, 2)+`{"id":3`)
	one := fetch(nil)
	if again := fetch(nil); one.Rows.NumRows() != 2 || again.Rows.NumRows() != 2 || one.End {
		t.Errorf("got %v, again %v", one, again)
	}
	fmt.Fprint(out, "}\nbad\n"+`{"id":4}`)
	out.Close()
	rows, bad, cursor := int64(0), 0, one.Cursor
	for p := (connector.Page{}); !p.End; cursor = p.Cursor {
		p = fetch(cursor)
		rows, bad = rows+p.Rows.NumRows(), bad+len(p.Rejected)
	}
	if rows != 2 || bad != 1 {
		t.Errorf("got %d rows and %d rejects behind the first page, want 2 and 1", rows, bad)
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"":                              func(*Config) {},
		"path: is missing":              func(c *Config) { c.Path = "" },
		"path: a pattern is for":        func(c *Config) { c.Path = "/x/*" },
		"mode: is \"\"":                 func(c *Config) { c.Mode = "" },
		"format: is \"parquet\"":        func(c *Config) { c.Format = formatParquet },
		"delimiter: is \";;\"":          func(c *Config) { c.Delimiter = ";;" },
		"delimiter: is for format csv":  func(c *Config) { c.Delimiter = ";" },
		"key: there is no column \"x\"": func(c *Config) { c.Key = "x" },
		"max_line: is -1":               func(c *Config) { c.MaxLine = -1 },
		"settle: is -1s":                func(c *Config) { c.Settle = -time.Second },
	} {
		c := numbers("/x", modeTail)
		change(&c)
		errs := c.Validate()
		if want == "" && len(errs) == 0 {
			continue
		}
		if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), want) || want == "" {
			t.Errorf("got %v, want %q", errs, want)
		}
	}
}

// FuzzSplit: however the bytes come, the lines and their offsets are the same, and no byte is left out.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("a,\"b\nc\"\nd,\"e\nf\n"), uint8(3), true)
	f.Add([]byte(strings.Repeat("x", 50)+"\ny"), uint8(1), false)
	f.Fuzz(func(t *testing.T, text []byte, step uint8, isCSV bool) {
		sp := &splitter{in: &dribble{bytes.NewReader(text), int(step%16) + 1}, max: 20}
		if isCSV {
			sp.comma = ','
		}
		for {
			ln, ok, err := sp.next()
			if err == nil && !ok {
				ln, ok = sp.rest()
			}
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if ln.bad == "" && !bytes.Equal(ln.raw, text[sp.at-int64(len(ln.raw)):sp.at]) {
				t.Fatalf("line %q is not what stands before %d", ln.raw, sp.at)
			}
		}
		lines := bytes.Count(text, []byte("\n"))
		if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
			lines++
		}
		if sp.at != int64(len(text)) || sp.no != int64(lines) {
			t.Fatalf("ends at %d of %d, line %d of %q", sp.at, len(text), sp.no, text)
		}
	})
}

type dribble struct {
	*bytes.Reader
	n int
}

func (d *dribble) Read(p []byte) (int, error) { return d.Reader.Read(p[:min(len(p), d.n)]) }
