package tabletest

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSilentTarget: a target that neither has a hook nor says why is refused.
func TestSilentTarget(t *testing.T) {
	err := (&Target{}).complete()
	for _, name := range []string{"Away", "Restart", "Freeze", "Denied", "Table, Sink and Open"} {
		if err == nil || !strings.Contains(err.Error(), "target: "+name) {
			t.Errorf("%s is not asked for: %v", name, err)
		}
	}
}

func TestRows(t *testing.T) {
	rows := hours(100)
	if rows := mixed(rows); slices.Equal(rows, byTime(rows)) || !slices.Equal(byTime(rows), hours(100)) {
		t.Error("mixed rows are in order, or others")
	}
	b := Batch([]Row{{Time: 7, ZipCode: "1", State: "x"}, {Name: "y"}})
	name := b.Column(len(Columns) - 1)
	if b.NumRows() != 2 || b.NumCols() != int64(len(Columns)) || !name.IsNull(0) || name.IsNull(1) {
		t.Errorf("got %v", b)
	}
	for i, f := range Schema().Fields() {
		if f.Name != Columns[i] {
			t.Errorf("column %d is %s, want %s", i, f.Name, Columns[i])
		}
	}
	row := Row{Time: 7, ZipCode: "1", Complete: true}
	got := text(row.values([]string{"time", "zip_code", "name", "complete", "temp_c"}))
	if want := `1970-01-01T00:00:07Z, "1", <nil> <nil>, bool true, float64 0`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := text([]any{time.Unix(7, 0).In(time.FixedZone("x", 3600))}); !strings.HasSuffix(got, "not in UTC") {
		t.Errorf("got %s", got)
	}
}
