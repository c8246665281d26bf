package decide

import (
	"fmt"
	"slices"
	"time"
)

// SilenceOf is what a person asks for: until then a rule, or one key of it, does nothing.
type SilenceOf struct {
	ID     uint64    `json:"id"`
	Rule   string    `json:"rule,omitempty"` // "" is all
	Key    string    `json:"key,omitempty"`  // "" is all
	Until  time.Time `json:"until"`
	Reason string    `json:"reason"`
}

// Silenced is what began under a silence.
type Silenced struct {
	Rule, Key   string
	Times       uint64
	First, Last time.Time
}

// SilenceEnd is what is told when a silence ends.
type SilenceEnd struct {
	SilenceOf
	Began []Silenced // in the order of their beginnings
	More  uint64     // times of further keys
}

// silence is a silence that holds.
type silence struct {
	SilenceOf
	until moment
	began []Silenced
	more  uint64
}

const (
	maxSilences = 1000
	maxSilenced = 100 // keys that a silence remembers
)

// Silence begins a silence, and returns its number.
func (m *Machine) Silence(s SilenceOf, now time.Time) (uint64, error) {
	m.begin(now)
	switch {
	case len(m.whole.silences) >= maxSilences:
		return 0, fmt.Errorf("there are %d silences already", maxSilences)
	case s.Rule != "" && m.rules[s.Rule] == nil:
		return 0, fmt.Errorf("there is no rule %s", s.Rule)
	case !s.Until.After(now):
		return 0, fmt.Errorf("its end is in the past")
	}
	m.whole.number++
	s.ID = m.whole.number
	m.whole.silences = append(m.whole.silences, &silence{SilenceOf: s, until: m.clock.at + moment(s.Until.Sub(now))})
	m.dirty.whole = true
	return s.ID, nil
}

// Unsilence ends a silence before its time, and tells what began under it.
func (m *Machine) Unsilence(id uint64, now time.Time) (Result, bool) {
	m.begin(now)
	for i, s := range m.whole.silences {
		if s.ID == id {
			m.endSilence(i)
			return m.give(), true
		}
	}
	return m.give(), false
}

// Silences returns the silences that hold.
func (m *Machine) Silences() (all []SilenceOf) {
	for _, s := range m.whole.silences {
		all = append(all, s.SilenceOf)
	}
	return all
}

// silenced reports whether a silence holds for a key, and notes in the silence what it suppressed.
func (m *Machine) silenced(ks *keyState, at seen, v *verdict) bool {
	for _, s := range m.whole.silences {
		if s.Rule != "" && s.Rule != ks.rs.rule.Name || s.Key != "" && s.Key != ks.key || at.at >= s.until {
			continue
		}
		v.outcome, v.reason = Silence, because(fmt.Sprintf("until %s: %s", s.Until.UTC().Format(time.RFC3339), s.Reason))
		s.add(ks.rs.rule.Name, ks.key, m.clock.time(at.at))
		m.dirty.whole = true
		return true
	}
	return false
}

func (s *silence) add(rule, key string, at time.Time) {
	i := slices.IndexFunc(s.began, func(b Silenced) bool { return b.Rule == rule && b.Key == key })
	switch {
	case i >= 0:
		s.began[i].Times++
		s.began[i].Last = at
	case len(s.began) < maxSilenced:
		s.began = append(s.began, Silenced{Rule: rule, Key: key, Times: 1, First: at, Last: at})
	default:
		s.more++
	}
}

func (m *Machine) endSilence(i int) {
	s := m.whole.silences[i]
	m.whole.silences = slices.Delete(m.whole.silences, i, i+1)
	m.dirty.whole = true
	m.out.Silences = append(m.out.Silences, SilenceEnd{s.SilenceOf, s.began, s.more})
}
