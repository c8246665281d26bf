package journald

import (
	"encoding/json"
	"testing"
	"time"

	"holdfast/base/lines"
)

// Where something else is chosen of the journal it is read on from where all was told: nothing of the time between two
// lives is missed, and what is chosen in addition is not told of the time when nobody asked for it.
func TestOtherFilter(t *testing.T) {
	j, w := journal(t)
	w.cfg.Unit, w.cfg.Watchdog = "a.service", 100*time.Millisecond
	w.start()
	w.Ready()
	j.Say("a.service", "one")
	w.Tells("one")
	j.Say("b.service", "not asked for")
	j.Flush()
	said := time.Now()
	w.Until("time up to which all is told", func() bool {
		var p place
		must(t, json.Unmarshal(w.Position(), &p))
		return max(p.Until, p.Micro) > said.UnixMicro()
	})
	w.Stop()
	j.Say("b.service", "meanwhile")
	j.Say("a.service", "two")
	j.Flush()
	w.cfg.Units = []string{"b.service"}
	w.start()
	w.Tells("one", "meanwhile", "two")
	w.Stop()
	// And without anything in between no line is told twice.
	w.cfg.Units = nil
	w.start()
	j.Say("a.service", "three")
	w.Tells("one", "meanwhile", "two", "three")
}

// Entries that were being joined are told as they are where they are joined no more.
func TestJoinedNoMore(t *testing.T) {
	j, w := journal(t)
	w.cfg.Unit, w.cfg.Join = "a.service", &lines.Config{Continue: `^\s`, Quiet: time.Hour}
	w.start()
	w.Ready()
	j.Say("a.service", "panic", " at a", "next")
	w.Tells("panic\n at a")
	w.Stop()
	w.cfg.Join = nil
	w.start()
	j.Say("a.service", "last")
	w.Tells("panic\n at a", "next", "last")
}
