package decide

import (
	"time"

	"holdfast/job/supervise/rule"
)

// shown is what is known of one key of a rule, as tests look at it.
type shown struct {
	Seen time.Time
	// Now is on, off, the value or the word that was seen last; "no data" if there is none.
	Now string
	// Holds is the time since which the condition has held; zero if it does not.
	Holds time.Time
	// Cooldown is the time until which nothing more is done; zero if that is over.
	Cooldown time.Time
}

// shown returns what is known of the keys of a rule behind one, in their order.
func (m *Machine) shown(name, after string) (all []shown) {
	for _, ks := range m.rules[name].sorted() {
		if (after == "" || ks.key > after) && !ks.placeholder {
			all = append(all, m.showKey(ks))
		}
	}
	return all
}

func (m *Machine) showKey(ks *keyState) shown {
	s := shown{Seen: m.clock.time(ks.last)}
	switch v := ks.was; {
	case ks.absent:
		s.Now = "no data"
	case v == nil:
	case v.state != "":
		s.Now = v.state
	default:
		s.Now = (&rule.Facts{Text: v.text, Value: v.number}).Seen()
	}
	if ks.holds {
		s.Holds = m.clock.time(ks.since)
	}
	if ks.cooldown > m.clock.at {
		s.Cooldown = m.clock.time(ks.cooldown)
	}
	return s
}
