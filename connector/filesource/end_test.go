package filesource

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// TestEnd: a data set is read as it is, its files by name, and has an end; what lacks a column, or is not there, is an
// error that says so.
func TestEnd(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	open := func(pattern string) File {
		s, err := Open(Config{Path: filepath.Join(dir, pattern), Mode: "once", Format: "csv",
			Columns: []columns.Column{{Name: "id", Type: columns.Int64}, {Name: "note", Type: columns.Text, Optional: true}}},
			Options{End: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	put("b.csv", "id\n3\n")
	put("a.csv", "id,note\n1,x\n2,\n")
	put("bad.txt", "ident,note\n1,x\n")
	s, rows := open("*.csv"), int64(0)
	var cursor []byte
	for i := 0; ; i++ {
		p, err := s.Fetch(t.Context(), connector.Request{Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		if p.End {
			break
		}
		if i == 0 && p.Rows.NumRows() != 2 {
			t.Errorf("the first page has %d rows, want the 2 of a.csv", p.Rows.NumRows())
		}
		rows, cursor = rows+p.Rows.NumRows(), p.Cursor
	}
	if rows != 3 {
		t.Errorf("got %d rows, want 3", rows)
	}
	for pattern, want := range map[string]string{"bad.txt": "line 1 of " + filepath.Join(dir, "bad.txt") +
		": the header lacks id", "none.csv": "there is no file"} {
		_, err := open(pattern).Fetch(t.Context(), connector.Request{})
		if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a permanent fault that says %q", pattern, err, want)
		}
	}
}
