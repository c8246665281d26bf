package transfer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"holdfast/connector"
)

// check compares the data centre, the ledger and the books of a Holdfast that has ended with what was written: each file once,
// at its place, whole.
func (o *observatory) check() {
	o.t.Helper()
	o.checkPlace(o.to)
	if o.pg != nil {
		o.checkLedger(1)
	}
	o.checkSource()
}

// checkPlace compares a destination with what was written. Each file has its name there, and there is nothing else.
func (o *observatory) checkPlace(dir string) {
	o.t.Helper()
	there := below(o.t, dir)
	if len(there) != len(o.sums) {
		o.t.Errorf("%d files are in %s, want %d", len(there), dir, len(o.sums))
	}
	names := map[string]string{} // by the last element of the path
	for _, name := range there {
		if connector.UnderWay(name) {
			o.t.Errorf("%s is left", name)
		}
		names[filepath.Base(name)] = filepath.Join(dir, name)
	}
	for name, want := range o.sums {
		base, packed := nameThere(name)
		switch at := names[base]; {
		case at == "":
			o.t.Errorf("%s is not in %s", base, dir)
		case packed && o.unpacked(at) != want, !packed && o.sumOf(at) != want:
			o.t.Errorf("%s is another one in %s", name, dir)
		}
	}
}

// nameThere is how a file is called at its destination.
func nameThere(name string) (base string, packed bool) {
	base = filepath.Base(name)
	if strings.HasSuffix(name, ".fits") {
		return base + ".fz", true
	}
	return base, false
}

// checkLedger compares the ledger with what was written: a row for each file, one more for each destination in our own table, and
// nothing is held.
func (o *observatory) checkLedger(destinations int) {
	o.t.Helper()
	rows := map[string]string{}
	const all = "select source_filepath, filepath from goto where file_transferred_at is not null"
	for row := range strings.Lines(o.pg.Query(o.t, all)) {
		source, path, _ := strings.Cut(strings.TrimSuffix(row, "\n"), "\t")
		rows[source] = path
	}
	for name := range o.sums {
		base, _ := nameThere(name)
		at := rows[filepath.Join(o.from, name)]
		if filepath.Base(at) != base {
			o.t.Errorf("the ledger has %q for %s", at, name)
		} else if _, err := os.Lstat(at); err != nil {
			o.t.Error(err)
		}
	}
	for table, want := range map[string]int{"goto": len(o.sums), "goto_holdfast_files": destinations * len(o.sums),
		"goto_holdfast_locks": 0} {
		if got := o.pg.Query(o.t, "select count(*) from "+table); got != fmt.Sprint(want) {
			o.t.Errorf("table %s has %s rows, want %d", table, got, want)
		}
	}
}

// checkSource makes sure of what is left where the files came from: nothing of ours, and no packed form in the data directory; and
// that the books are right.
func (o *observatory) checkSource() {
	o.t.Helper()
	for _, name := range below(o.t, o.from) {
		if connector.UnderWay(name) {
			o.t.Errorf("%s is left at the source", name)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(o.data, "jobs/*/packed/*")); len(left) > 0 {
		o.t.Errorf("packed forms are left: %v", left)
	}
	o.run(0, "audit")
}
