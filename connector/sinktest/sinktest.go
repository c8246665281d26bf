// Package sinktest is the contract suite of sinks: every implementation of connector.Sink runs it
// against the real thing, and what it promises in connector.go is what is tried here.
//
// A test of a sink calls Run with a function that makes a fresh, empty Target: where the rows go,
// how they are read back without the sink, and the ways to break it. A target that lacks a way says
// why in data; the suite logs the reason, and refuses a target that is silent.
//
//	func TestContract(t *testing.T) {
//		sinktest.Run(t, func(t *testing.T) *sinktest.Target { ... })
//	}
//
// The rows are WSPR-shaped (spots.go). Called by tests only.
package sinktest

import (
	"errors"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/tests/testenv"
)

// Target is one fresh, empty place that rows go to. Its functions are called by one goroutine.
type Target struct {
	// New returns a sink for the target. Called again it gives what a restarted process would have.
	New func() (connector.Sink, error)
	// Rows reads all rows of the target without the sink, in any order; none if there is no table.
	Rows func() ([]Spot, error)

	// Timeout is how long one call may take while the target is frozen, by default 10 s.
	Timeout time.Duration
	// Recovers is how long repeated attempts may need after a fault is over, by default 30 s.
	Recovers time.Duration
	// Large is how many rows the largest delivery has, by default 25,000, and 100,000 under make torture.
	Large int
	// Histories is how many random histories are tried, by default 20.
	Histories int

	// LacksNUL says why a text of the target can't hold a NUL byte; "" if it can. A row with one is
	// then to be refused.
	LacksNUL string

	// Outage makes the target unreachable or unwilling, and well again.
	Outage Hook
	// Restart ends the target's server at once and starts it again.
	Restart Hook
	// Freeze makes the target silent: nothing is refused, nothing is answered; Undo thaws it.
	Freeze Hook
	// Slow makes the target slow, not slower than a tenth of Timeout for 1,000 rows.
	Slow Hook
	// LostAnswer makes one next write succeed while the sink learns of a failure.
	LostAnswer Hook
	// Cut breaks the next write when about this many bytes of it have gone out; Undo stops that.
	Cut func(bytes int64) Hook

	// Child is how another process writes to the target.
	Child Child
	// Kills divides how often a writer is killed, for a target whose writer begins slowly; default 1.
	Kills int
	// Whole says that of a delivery which was cut off all rows are there or none.
	Whole bool
	// Pressure makes the target say that it has too much to do, or no room.
	Pressure Pressure
	// Forget makes the server forget the tokens that it remembers for a time; none where a token is known
	// as long as its rows.
	Forget Hook

	// Double puts rows of the target there once more, behind the sink's back.
	Double Deletion
	// Delete takes rows out of the target, as a server that loses unsynced data does.
	Delete Deletion

	// Denied is a sink whose credentials the target refuses.
	Denied Variant
	// Unfit is a sink whose table exists and lacks room for one column of the rows.
	Unfit Variant

	// Refused are rows that this target can't hold, each alone of its kind.
	Refused Rows
	// Poison are rows because of which the target refuses a delivery as a whole (Invalid).
	Poison Rows
}

// Hook is a way to break a target and to make it whole again.
type Hook struct {
	Do   func() error
	Undo func() error // nil if Do mends itself
	// Lacks says why this target has no such hook.
	Lacks string
	// Weak, for Freeze, says why rows may be there twice afterwards. They must then be counted so.
	Weak string
}

// Pressure is a Hook, and how the sink tells it.
type Pressure struct {
	Hook
	Kinds []fault.Kind
	Wait  time.Duration // that the target asks for
}

// Deletion takes rows away behind the sink's back.
type Deletion struct {
	Do    func(ids []uint64) error
	Lacks string // why that can't be done
}

// Variant is another sink of the same target.
type Variant struct {
	New func() (connector.Sink, error)
	// Column is the name that the error must tell.
	Column string
	// Lacks says why there is no such sink.
	Lacks string
}

// Rows are rows with something special about them.
type Rows struct {
	Spots []Spot
	// Lacks says why there are none.
	Lacks string
}

func (tg *Target) withDefaults() *Target {
	if tg.Timeout == 0 {
		tg.Timeout = 10 * time.Second
	}
	if tg.Recovers == 0 {
		tg.Recovers = 30 * time.Second
	}
	if tg.Large == 0 {
		tg.Large = 25_000
		if testenv.Torture() {
			tg.Large = 100_000
		}
	}
	if tg.Kills == 0 {
		tg.Kills = 1
	}
	if tg.Histories == 0 {
		tg.Histories = 20
	}
	return tg
}

// complete returns an error for every hook that is neither there nor explained.
func (tg *Target) complete() error {
	var errs []error
	want := func(name string, has bool, lacks string) {
		if has == (lacks != "") {
			errs = append(errs, errors.New("target: "+name+": give it, or say in Lacks why not"))
		}
	}
	for _, h := range []struct {
		name string
		Hook
	}{{"Outage", tg.Outage}, {"Restart", tg.Restart}, {"Freeze", tg.Freeze}, {"Slow", tg.Slow},
		{"LostAnswer", tg.LostAnswer}, {"Cut", tg.cut(1)}, {"Pressure", tg.Pressure.Hook},
		{"Forget", tg.Forget}} {
		want(h.name, h.Do != nil, h.Lacks)
	}
	want("Child", len(tg.Child.Args) > 0, tg.Child.Lacks)
	want("Double", tg.Double.Do != nil, tg.Double.Lacks)
	want("Delete", tg.Delete.Do != nil, tg.Delete.Lacks)
	want("Denied", tg.Denied.New != nil, tg.Denied.Lacks)
	want("Unfit", tg.Unfit.New != nil && tg.Unfit.Column != "", tg.Unfit.Lacks)
	want("Refused", len(tg.Refused.Spots) > 0, tg.Refused.Lacks)
	want("Poison", len(tg.Poison.Spots) > 0, tg.Poison.Lacks)
	if tg.New == nil || tg.Rows == nil {
		errs = append(errs, errors.New("target: New and Rows are needed"))
	}
	return errors.Join(errs...)
}

func (tg *Target) cut(bytes int64) Hook {
	if tg.Cut == nil {
		return Hook{}
	}
	return tg.Cut(bytes)
}

// cases are the suite but for its random histories. Those of the encoding are of how rows become bytes; the others
// are of how a target is spoken to.
var cases = []struct {
	name     string
	encoding bool
	run      func(t *testing.T, tg *Target)
}{
	{"sizes", true, sizes},
	{"extreme values", true, extremes},
	{"several partitions", true, partitions},
	{"empty delivery", true, empty},
	{"repeat after success", false, repeatAfterSuccess},
	{"repeat by a new sink", false, repeatByNewSink},
	{"repeat after a restart of the server", false, repeatAfterRestart},
	{"writer killed", false, killedWriter},
	{"lost answer", false, lostAnswer},
	{"outage before a write", false, outageBefore},
	{"cut during a write", true, cutDuring},
	{"same keys in a new lineage", false, byKey},
	{"rows lost by the target, by key", false, byKeyBringsBack},
	{"rows out of range", true, refusedRows},
	{"delivery refused as a whole", true, poison},
	{"parts of a delivery", true, parts},
	{"rows without a key", true, keyless},
	{"poison rows found by halving", true, halving},
	{"back-pressure", false, pressure},
	{"clocks that jump or differ", false, clocks},
	{"rows doubled by another", false, doubled},
	{"schema that does not fit", false, unfit},
	{"columns that the schema does not promise", true, extras},
	{"credentials refused", false, denied},
	{"slow", false, slow},
	{"frozen", false, frozen},
	{"cancelled", false, cancelled},
	{"reader", true, readerAgrees},
	{"probe", false, probe},
	{"probe and reader beside writes", false, beside},
	{"nothing is left behind", false, leavesNothing},
}

// Run runs the suite; open makes a fresh, empty target for each case.
func Run(t *testing.T, open func(t *testing.T) *Target) {
	run(t, open, false)
	t.Run("random histories", func(t *testing.T) { histories(t, open) })
}

// RunEncoding runs the cases of the encoding, for a target that Run has tried with another one; all of them under make
// torture.
func RunEncoding(t *testing.T, open func(t *testing.T) *Target) {
	if testenv.Torture() {
		Run(t, open)
		return
	}
	run(t, open, true)
}

func run(t *testing.T, open func(t *testing.T) *Target, encodingOnly bool) {
	for _, c := range cases {
		if encodingOnly && !c.encoding {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			tg := open(t).withDefaults()
			if err := tg.complete(); err != nil {
				t.Fatal(err)
			}
			c.run(t, tg)
		})
	}
}

// lacks reports whether a case can't be run, and logs why.
func lacks(t *testing.T, reason string) bool {
	t.Helper()
	if reason != "" {
		t.Logf("not applicable to this target: %s", reason)
	}
	return reason != ""
}
