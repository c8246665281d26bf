// Package tabletest is the contract suite of readers of tables: every implementation of connector.Tables
// runs it against the real thing, over rows that the sink beside it has written, and what it promises in
// connector/tables.go is what is tried here.
//
// A test calls Run with a function that makes a fresh, empty Target: where the sink writes, how it is
// opened for reading, and the ways to break it. A target that lacks a way says why in data; the suite
// logs the reason, and refuses a target that is silent.
//
//	func TestTables(t *testing.T) {
//		tabletest.Run(t, func(t *testing.T) *tabletest.Target { ... })
//	}
//
// The rows are observations of the weather (rows.go); a zip code, a state and a time tell them apart.
// Called by tests only.
package tabletest

import (
	"errors"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/connector/sinktest"
)

// Target is one fresh, empty database.
type Target struct {
	// Table is the table or measurement that the sink writes to. There is none yet.
	Table string
	// Time is what a query calls the time of a row, by default "time".
	Time string
	// Sink returns a sink for Table. It is to create what is missing, and to tell rows apart by Keys.
	Sink func() (connector.Sink, error)
	// Open returns a reader of the same database. It is called before and after there is a table.
	Open func() (connector.Tables, error)

	// Timeout is how long one question may take while the target is frozen, by default 10 s.
	Timeout time.Duration
	// Recovers is how long repeated attempts may need after a fault is over, by default 30 s.
	Recovers time.Duration
	// Large is how many rows the largest answer has, by default 20,000.
	Large int

	// Loose says why a column that is not there is no error: as one of Columns it is null in every row, and
	// what Equal wants of it no row has. "" if it is an error.
	Loose string

	// Away makes the database unreachable, and reachable again.
	Away sinktest.Hook
	// Restart ends the database's server and starts it again: the next question may fail, or not.
	Restart sinktest.Hook
	// Freeze makes the database silent: nothing is refused, nothing is answered; Undo thaws it.
	Freeze sinktest.Hook
	// Denied is a reader whose credentials the database refuses.
	Denied Denied
}

// Denied opens a reader that is refused.
type Denied struct {
	Open  func() (connector.Tables, error)
	Lacks string // why there is none
}

func (tg *Target) withDefaults() *Target {
	if tg.Time == "" {
		tg.Time = "time"
	}
	if tg.Timeout == 0 {
		tg.Timeout = 10 * time.Second
	}
	if tg.Recovers == 0 {
		tg.Recovers = 30 * time.Second
	}
	if tg.Large == 0 {
		tg.Large = 20_000
	}
	return tg
}

// complete returns an error for everything that is neither there nor explained.
func (tg *Target) complete() error {
	var errs []error
	want := func(name string, has bool, lacks string) {
		if has == (lacks != "") {
			errs = append(errs, errors.New("target: "+name+": give it, or say in Lacks why not"))
		}
	}
	want("Away", tg.Away.Do != nil, tg.Away.Lacks)
	want("Restart", tg.Restart.Do != nil, tg.Restart.Lacks)
	want("Freeze", tg.Freeze.Do != nil, tg.Freeze.Lacks)
	want("Denied", tg.Denied.Open != nil, tg.Denied.Lacks)
	if tg.Table == "" || tg.Sink == nil || tg.Open == nil {
		errs = append(errs, errors.New("target: Table, Sink and Open are needed"))
	}
	return errors.Join(errs...)
}

// Run runs the suite; open makes a fresh, empty target for each case.
func Run(t *testing.T, open func(t *testing.T) *Target) {
	for _, c := range []struct {
		name string
		run  func(d *driver)
	}{
		{"nothing there yet", nothingYet},
		{"values", values},
		{"nulls", nulls},
		{"bounds of time", bounds},
		{"times far away", farAway},
		{"order of time", order},
		{"equal", equal},
		{"texts that mean something elsewhere", hostileTexts},
		{"names that mean something elsewhere", hostileNames},
		{"limit", limit},
		{"missing column", missingColumn},
		{"newest", newest},
		{"large answer", large},
		{"stopped by who asks", stopped},
		{"question within an answer", nested},
		{"beside writes, from everywhere", beside},
		{"cancelled", cancelled},
		{"away", away},
		{"restarted", restarted},
		{"frozen", frozen},
		{"credentials refused", denied},
		{"nothing is left behind", leavesNothing},
	} {
		t.Run(c.name, func(t *testing.T) {
			tg := open(t).withDefaults()
			if err := tg.complete(); err != nil {
				t.Fatal(err)
			}
			c.run(start(t, tg))
		})
	}
}
