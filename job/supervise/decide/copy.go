package decide

import (
	"maps"

	"holdfast/job/supervise/rule"
)

// With returns a machine for other rules that goes on from the state of this one. Its Changes must be committed too, because
// they remove what belonged to rules that are gone.
func (m *Machine) With(set *rule.Set) (*Machine, error) {
	c, err := m.copy(set)
	if err != nil {
		return nil, err
	}
	c.settled, c.unread, c.start, c.began, c.looks = m.settled, m.unread, m.start, m.began, m.looks
	c.loaded, c.clock.told = false, m.clock.told
	maps.Copy(c.whole.with, m.whole.with)
	for name, rs := range c.rules {
		for key, ks := range rs.keys {
			if old := m.rules[name].keys[key]; old != nil {
				ks.sure = !old.unsure
			}
		}
	}
	return c, nil
}

// Copy returns a machine with the same state, as a restart would make it.
func (m *Machine) Copy() (*Machine, error) { return m.copy(m.set) }

func (m *Machine) copy(set *rule.Set) (*Machine, error) {
	c := New(set)
	all := map[string][]byte{"c": m.clock.encode(), "g": m.whole.encode()}
	for _, rs := range m.order {
		all[ruleEntry(rs.rule.Name)] = rs.encode()
		for _, ks := range rs.keys {
			all[keyEntry(rs.rule.Name, ks.key)] = ks.encode()
		}
	}
	for entry, value := range all {
		if err := c.Load(entry, value); err != nil {
			return nil, err
		}
	}
	return c, nil
}
