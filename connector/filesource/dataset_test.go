package filesource

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// set is a data set in a directory of the test.
type set struct {
	t      *testing.T
	dir    string
	src    *Once
	cursor []byte
}

func newSet(t *testing.T, pattern string) *set {
	s := &set{t: t, dir: t.TempDir()}
	s.open(pattern, "csv")
	return s
}

func (s *set) open(pattern, format string) {
	s.t.Helper()
	src, err := OpenSet(Config{Path: filepath.Join(s.dir, pattern), Format: format,
		Columns: []columns.Column{{Name: "id", Type: columns.Int64}, {Name: "note", Type: columns.Text, Optional: true}}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = src.Close() })
	s.src = src
}

func (s *set) put(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// page fetches one.
func (s *set) page() connector.Page {
	s.t.Helper()
	p, err := s.src.Fetch(s.t.Context(), connector.Request{Cursor: s.cursor})
	if err != nil {
		s.t.Fatal(err)
	}
	s.cursor = p.Cursor
	return p
}

// rest is how many rows and rejects there are up to the end.
func (s *set) rest() (rows, rejected int64) {
	s.t.Helper()
	for {
		p := s.page()
		if p.End {
			return rows, rejected
		}
		rows, rejected = rows+p.Rows.NumRows(), rejected+int64(len(p.Rejected))
	}
}

// changed is what is told of a file, "" for nothing.
func (s *set) changed(name string) string {
	return s.src.Changed(s.cursor)[filepath.Join(s.dir, name)]
}

// TestSetChanges: what was read is another file now: it is told, and not read; a file of a new name is read.
func TestSetChanges(t *testing.T) {
	s := newSet(t, "day-*.csv")
	s.put("day-1.csv", "id\n1\n2\n")
	if n, _ := s.rest(); n != 2 || s.changed("day-1.csv") != "" {
		t.Fatalf("%d rows, want 2; told: %q", n, s.changed("day-1.csv"))
	}
	past := time.Now().Add(-time.Hour)
	for text, want := range map[string]string{"id\n3\n4\n": "(7 bytes then, 7 now)",
		"id\n1\n2\n3\n": "(7 bytes then, 9 now)"} {
		s.put("day-1.csv", text)
		if err := os.Chtimes(filepath.Join(s.dir, "day-1.csv"), past, past); err != nil {
			t.Fatal(err)
		}
		if n, _ := s.rest(); n != 0 || !strings.Contains(s.changed("day-1.csv"), want) {
			t.Errorf("%d rows, want 0; told: %q", n, s.changed("day-1.csv"))
		}
	}
	s.put("day-2.csv", "id\n5\n")
	if n, _ := s.rest(); n != 0 {
		t.Errorf("%d rows of a file that may not be whole yet, want 0", n)
	}
	if err := os.Chtimes(filepath.Join(s.dir, "day-2.csv"), past, past); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.rest(); n != 1 {
		t.Errorf("%d rows of the new file, want 1", n)
	}
	s.put("day-3.csv", "id\n6\n")
	s.open("day-*.csv", "csv")
	if n, _ := s.rest(); n != 1 {
		t.Errorf("%d rows of a file that was there at the start, want 1", n)
	}
	if err := os.Remove(filepath.Join(s.dir, "day-3.csv")); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.rest(); n != 0 || s.changed("day-3.csv") != "" {
		t.Errorf("a file was read and is gone: %d rows, told: %q", n, s.changed("day-3.csv"))
	}
}

// TestSetChangesMeanwhile: a file that is another one when the next part of it is to be read is left, and told of for
// good; the files behind it are read.
func TestSetChangesMeanwhile(t *testing.T) {
	var long strings.Builder
	long.WriteString("id\n")
	for i := range pageItems + 10 {
		fmt.Fprintln(&long, i)
	}
	for what, change := range map[string]func(s *set) error{
		"appended": func(s *set) error { s.put("a.csv", long.String()+"1\n"); return nil },
		"gone":     func(s *set) error { return os.Remove(filepath.Join(s.dir, "a.csv")) },
	} {
		s := newSet(t, "*.csv")
		s.put("a.csv", long.String())
		s.put("b.csv", "id\n1\n2\n")
		if n := s.page().Rows.NumRows(); n != pageItems {
			t.Fatalf("%s: the first page has %d rows", what, n)
		}
		if err := change(s); err != nil {
			t.Fatal(err)
		}
		rows, rejected := s.rest()
		if told := s.changed("a.csv"); rows != 2 || rejected != 0 || !strings.Contains(told, "behind line 20001 was not") {
			t.Errorf("%s: %d rows and %d rejects, want the 2 of the next file; told: %q", what, rows, rejected, told)
		}
		if s.put("a.csv", long.String()); s.changed("a.csv") == "" {
			t.Errorf("%s: it is not told once the name is there again", what)
		}
	}
}

// TestSetTry: what is wrong with a file is told before anything is read.
func TestSetTry(t *testing.T) {
	s := newSet(t, "none.csv")
	s.put("empty.csv", "")
	s.put("blank.csv", "\n\n")
	s.put("header.csv", "id,note\n")
	s.put("bare.csv", "id,note")
	s.put("lacks.csv", "note\nx\n")
	s.put("barelacks.csv", "note")
	s.put("packed.csv", "\x1f\x8b\x08 and so on")
	s.put("good.csv", "id\n1\n")
	s.put("torn.csv", "id\n1")
	s.put("text.parquet", "id\n1\n")
	s.put("short.parquet", "PAR1PAR1")
	s.put("none.parquet", "")
	if err := os.Symlink("good.csv", filepath.Join(s.dir, "link.csv")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.dir, "dir.csv"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(s.dir, "fifo.csv"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(s.dir, "sock.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, want := range map[string]string{
		"good.csv": "", "torn.csv": "", "link.csv": "", "header.csv": "", "bare.csv": "",
		"barelacks.csv": "line 1 of " + filepath.Join(s.dir, "barelacks.csv") + ": the header lacks id",
		"empty.csv":     "empty.csv is empty", "blank.csv": "blank.csv is empty", "lacks.csv": "the header lacks id",
		"packed.csv": "packed by gzip", "text.parquet": "is no Parquet file", "short.parquet": "is no Parquet file",
		"none.parquet": "is no Parquet file that can be read: it is empty",
		"dir.csv":      "dir.csv is a directory", "fifo.csv": "fifo.csv is a pipe", "sock.csv": "sock.csv is a socket",
		"none.csv": "there is no file", "no/such.csv": "there is no file",
	} {
		s.open(name, strings.TrimPrefix(filepath.Ext(name), "."))
		empty, err := s.src.Try(t.Context())
		if want == "" && err != nil || want != "" && (!fault.Is(err, fault.Permanent) ||
			!strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
		if slices.Contains(empty, filepath.Join(s.dir, name)) != (name == "header.csv" || name == "bare.csv" || name == "empty.csv" || name == "none.parquet") {
			t.Errorf("%s: empty: %q", name, empty)
		}
		if name == "header.csv" || name == "bare.csv" {
			if s.cursor = nil; !s.page().Rows.Schema().Equal(s.src.Schema().Schema) || !s.page().End {
				t.Errorf("%s does not end", name)
			}
		}
		if !strings.HasSuffix(name, ".parquet") && name != "empty.csv" && name != "barelacks.csv" {
			continue
		}
		if p, err := s.src.Fetch(t.Context(), connector.Request{}); !fault.Is(err, fault.Permanent) {
			t.Errorf("fetch of %s: got %v, %+v, want a permanent fault", name, err, p)
		}
	}
	if err := NoFile(os.DevNull); err == nil || !strings.Contains(err.Error(), "/dev/null is a device") {
		t.Errorf("got %v", err)
	}
}

// TestSetEmpty: a file that is empty holds up none behind it, and is read once it has content; one that has content and no
// header is a mistake.
func TestSetEmpty(t *testing.T) {
	s := newSet(t, "day-*.csv")
	s.put("day-1.csv", "id\n1\n")
	s.put("day-2.csv", "")
	s.put("day-3.csv", "id\n3\n")
	past := time.Now().Add(-time.Hour)
	old := func(name string) {
		t.Helper()
		if err := os.Chtimes(filepath.Join(s.dir, name), past, past); err != nil {
			t.Fatal(err)
		}
	}
	if empty := s.src.Empty(s.cursor); len(empty) > 0 {
		t.Errorf("it was made just now, and is told: %q", empty)
	}
	old("day-2.csv")
	want := []string{filepath.Join(s.dir, "day-2.csv")}
	if empty, err := s.src.Try(t.Context()); err != nil || !slices.Equal(empty, want) {
		t.Errorf("try: %v, empty: %q", err, empty)
	}
	if n, _ := s.rest(); n != 2 {
		t.Errorf("%d rows, want those of two files", n)
	}
	if empty := s.src.Empty(s.cursor); !slices.Equal(empty, want) {
		t.Errorf("empty: %q, want %q", empty, want)
	}
	s.put("day-2.csv", "id\n2\n")
	old("day-2.csv")
	if n, _ := s.rest(); n != 1 || len(s.src.Empty(s.cursor)) > 0 || s.changed("day-2.csv") != "" {
		t.Errorf("%d rows of the file that has content now, want 1; told: %q", n, s.changed("day-2.csv"))
	}
	s.put("day-4.csv", "\n\n")
	old("day-4.csv")
	if p, err := s.src.Fetch(t.Context(), connector.Request{Cursor: s.cursor}); !fault.Is(err, fault.Permanent) {
		t.Errorf("no header: got %+v, %v", p, err)
	}
}

// TestSetNames: a name that has the signs of a pattern is the file of that name, if there is one; else it is a pattern, and
// what can't be one is told.
func TestSetNames(t *testing.T) {
	s := newSet(t, "none.csv")
	s.put("a[1].csv", "id\n1\n")
	s.put("a1.csv", "id\n1\n2\n")
	s.put("b*.csv", "id\n1\n")
	s.put("b1.csv", "id\n1\n2\n")
	s.put("c?[.csv", "id\n1\n")
	s.put("d1.csv", "id\n1\n2\n")
	s.put("d2.csv", "id\n3\n")
	if err := os.Mkdir(filepath.Join(s.dir, "in[1]"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.put("in[1]/e1.csv", "id\n1\n")
	for name, want := range map[string]int64{"a[1].csv": 1, "a[0-9].csv": 2, "b*.csv": 1, "b?.csv": 3, "c?[.csv": 1, "d[12].csv": 3,
		"in[1]/e*.csv": 1} {
		s.cursor = nil
		s.open(name, "csv")
		if empty, err := s.src.Try(t.Context()); err != nil || len(empty) > 0 {
			t.Errorf("%s: %v, empty: %q", name, err, empty)
		}
		if got, rejected := s.rest(); got != want || rejected > 0 {
			t.Errorf("%s: got %d rows and %d rejects, want %d", name, got, rejected, want)
		}
	}
	for name, want := range map[string]string{"e[1.csv": "its name is no pattern: syntax error in pattern",
		"in*/e1.csv": "there is no directory " + filepath.Join(s.dir, "in*") + ", and the name of one can't be a pattern",
		"d[34].csv":  "there is no file"} {
		s.open(name, "csv")
		_, err := s.src.Try(t.Context())
		if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), want) || fault.HintOf(err) == "" {
			t.Errorf("%s: got %v, want %q and a hint", name, err, want)
		}
		if _, again := s.src.Fetch(t.Context(), connector.Request{}); fmt.Sprint(again) != fmt.Sprint(err) {
			t.Errorf("%s: fetch says %v", name, again)
		}
	}
	if _, err := Open(Config{Path: "/in/[", Mode: modeOnce, Format: formatCSV, Columns: s.src.cfg.Columns}, Options{}); err == nil ||
		!strings.Contains(err.Error(), "path: syntax error in pattern") {
		t.Errorf("a wrong pattern of a directory: %v", err)
	}
}

// TestSetCursorWithoutStamps: a cursor that knows no file begins at the beginning.
func TestSetCursorWithoutStamps(t *testing.T) {
	s := newSet(t, "*.csv")
	s.put("a.csv", "id\n1\n2\n")
	s.cursor = []byte(`{"v":1,"offset":5,"line":2,"header":"id\n","file":"a.csv"}`)
	if n, _ := s.rest(); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}
