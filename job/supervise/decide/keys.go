package decide

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/job/supervise/rule"
)

// key returns the state of a key, which becomes the one that was seen last; or an error that says why there is no room for it.
func (m *Machine) key(rs *ruleState, key string) (*keyState, error) {
	if ks := rs.keys[key]; ks != nil {
		rs.bySeen.MoveToBack(ks.bySeen)
		return ks, nil
	}
	if len(rs.keys) >= maxKeys && !m.makeRoom(rs) {
		return nil, fmt.Errorf("there are %d keys, and each is waited for", len(rs.keys))
	}
	if m.keys >= maxAllKeys && !m.makeRoom(m.largest()) {
		return nil, fmt.Errorf("there are %d keys of all rules, and each is waited for", m.keys)
	}
	ks := m.newKey(rs, key)
	m.touch(ks) // that it was there at all is what its absence is told by
	return ks, nil
}

func (m *Machine) newKey(rs *ruleState, key string) *keyState {
	ks := &keyState{rs: rs, key: key, last: m.clock.at}
	rs.keys[key] = ks
	ks.bySeen = rs.bySeen.PushBack(ks)
	m.keys++
	return ks
}

// largest returns the rule that has the most keys.
func (m *Machine) largest() (most *ruleState) {
	for _, rs := range m.order {
		if most == nil || len(rs.keys) > len(most.keys) {
			most = rs
		}
	}
	return most
}

// looksBack is how many of the oldest keys are looked at to find one that can make room.
const looksBack = 16

// makeRoom forgets a key of a rule: among those that were not seen for longest, one of which nothing matters any more, else
// the oldest. A key that something is awaited for is never forgotten. It is moved to the new end instead, because otherwise
// the same keys would be looked at each time.
func (m *Machine) makeRoom(rs *ruleState) bool {
	var oldest *keyState
	for e, n := rs.bySeen.Front(), 0; e != nil && n < looksBack; n++ {
		ks, next := e.Value.(*keyState), e.Next()
		switch {
		case m.awaits(ks):
			rs.bySeen.MoveToBack(e)
		case ks.idle(m.clock.at):
			m.drop(ks)
			return true
		case oldest == nil:
			oldest = ks
		}
		e = next
	}
	if !rs.full {
		rs.full = true
		m.out.Full = append(m.out.Full, rs.rule.Name)
		m.dirty.rule(rs)
	}
	if oldest == nil {
		return false
	}
	rs.counts.Forgotten++
	m.dirty.rule(rs)
	m.drop(oldest)
	return true
}

// awaits reports whether something was begun for a key that has yet to come to an end, and that would be missed if the key
// were forgotten. A series of the present look is not forgotten either, because it would be new again with the next look.
func (m *Machine) awaits(ks *keyState) bool {
	r := ks.rs.rule
	if d, ok := noData(r); ok && d > 0 && !ks.silent {
		return true
	}
	return ks.waiting(m.clock.at) || ks.trailing != nil || ks.heal != nil || ks.holds && !ks.fired ||
		r.From.Looks() && ks.looked == m.looks && !ks.absent
}

// waiting reports whether what should follow may still come.
func (ks *keyState) waiting(at moment) bool {
	w := ks.rs.rule.When
	return ks.armed != nil && w != nil && (w.Then == nil || at <= ks.armed.at+moment(w.Within))
}

func (m *Machine) drop(ks *keyState) {
	rs := ks.rs
	if ks.index > 0 {
		heap.Remove(&m.heap, ks.index-1)
	}
	rs.bySeen.Remove(ks.bySeen)
	delete(rs.keys, ks.key)
	m.dirty.goneWith(keyEntry(rs.rule.Name, ks.key))
	m.keys--
	if rs.full && len(rs.keys) < maxKeys/2 {
		rs.full = false
		m.dirty.rule(rs)
	}
}

// idle reports whether nothing would change if the key had a new state instead.
func (ks *keyState) idle(at moment) bool {
	if ks.was != nil && at-ks.last < forget {
		return false
	}
	if w := ks.rs.rule.When; w != nil {
		ks.counts.trim(at, w.Within)
		if w.NoData != 0 && !ks.silent {
			return false
		}
	}
	if ks.early != nil && at <= ks.early.at+moment(ks.rs.rule.When.Within) {
		return false
	}
	return len(ks.counts) == 0 && !ks.waiting(at) && !ks.holds && ks.cooldown <= at && ks.trailing == nil && ks.heal == nil
}

// sorted returns the keys of a rule in the order of their names.
func (rs *ruleState) sorted() []*keyState {
	return slices.SortedFunc(maps.Values(rs.keys), func(a, b *keyState) int { return strings.Compare(a.key, b.key) })
}

// arrange puts the keys into the order in which they were seen last, as far as the store knows it.
func (rs *ruleState) arrange() {
	all := rs.sorted()
	slices.SortStableFunc(all, func(a, b *keyState) int { return cmp.Compare(a.last, b.last) })
	for _, ks := range all {
		rs.bySeen.MoveToBack(ks.bySeen)
	}
}

// aboutOf says what the states of a rule's keys are about: its source and the names that make up its key. If these change, the
// states mean nothing any more.
func aboutOf(r *rule.Rule) string { return r.From.Title + "\x00" + strings.Join(r.Key, ",") }

// sameRule drops what is known of the keys of a rule if the rule was about something else before.
func (m *Machine) sameRule(rs *ruleState) {
	about := aboutOf(rs.rule)
	if rs.about == about {
		return
	}
	if rs.about != "" {
		for _, ks := range rs.sorted() {
			m.drop(ks)
		}
	}
	rs.about = about
	m.dirty.rule(rs)
}
