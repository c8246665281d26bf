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

// Open opens the gate of a name, one of some, on the word of a person: at once, also before a time that the dependency asked for. What
// work meets behind it closes it again.
//
// It is a Conflict where that would be no opening. A gate that is open is. One that was never open in this process waits for what its
// canary does first (it looks at a table, or asks a sink what it has), in whose place nobody can stand: Kick is for that. One without a
// canary is closed and opened by who works behind it, and nothing waits for it.
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
