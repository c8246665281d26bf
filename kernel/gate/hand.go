package gate

import (
	"strings"
	"time"

	"holdfast/base/fault"
)

// Statuses are the states of some gates.
func Statuses(of ...*Gate) []Status {
	all := make([]Status, len(of))
	for i, g := range of {
		all[i] = g.Status()
	}
	return all
}

// Open opens the gate of a name, one of some, because a person says so: at once, even before a time that the dependency
// asked for. What work meets behind it closes it again.
//
// It is a Conflict if the gate is open already; if it was never open in this process, because its canary has to be flown
// first (it looks at a table, or asks a sink what it has), for which there is Kick; and if it has no canary, because
// nothing waits for such a gate: the work behind it closes and opens it.
func Open(name string, among ...*Gate) error {
	var names []string
	for i, s := range Statuses(among...) {
		if s.Name == name {
			return among[i].byHand()
		}
		names = append(names, s.Name)
	}
	return fault.WithHint(fault.New(fault.NotFound, "there is no gate %.100q", name), "gates are: %s", strings.Join(names, ", "))
}

func (g *Gate) byHand() error {
	g.mu.Lock()
	err := g.openable()
	if err == nil {
		g.openBy(time.Now(), true)
	}
	g.mu.Unlock()
	g.tell()
	return err
}

func (g *Gate) openable() error {
	name := g.status.Name
	switch {
	case g.status.Open:
		return fault.New(fault.Conflict, "the gate of %s is open", name)
	case g.opts.Probe == nil:
		return fault.WithHint(fault.New(fault.Conflict, "the gate of %s can't be opened by hand: it tells what the work meets, and does not "+
			"hold it", name), "mend the cause; it opens by itself")
	case !g.was:
		return fault.WithHint(fault.New(fault.Conflict, "the gate of %s was never open since the process began: what its first try does "+
			"has to be done", name), "`holdfast resume` tries it now")
	}
	return nil
}
