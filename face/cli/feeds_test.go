package cli

import (
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/connector/wsprnet/simulator"
)

// feeds are the feeds of the scripts that run.
var feeds feedSet

type feedSet struct {
	mu  sync.Mutex
	all map[*testscript.TestScript]*simulator.Simulator
}

func (f *feedSet) set(ts *testscript.TestScript, s *simulator.Simulator) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[*testscript.TestScript]*simulator.Simulator{}
	}
	f.all[ts] = s
}

func (f *feedSet) get(ts *testscript.TestScript) *simulator.Simulator {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.all[ts]
	if s == nil {
		ts.Fatalf("there is no feed")
	}
	return s
}
