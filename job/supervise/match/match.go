// Package match finds which of many regular expressions match a line.
//
// Most expressions can't match where a certain text is not. Those texts (literal.go) are looked for all at once, in one pass
// over the line, by one automaton (automaton.go); an expression is tried only where one of its texts is, and one that is
// nothing but text is not tried at all. To try one is one step a byte, where it can be (states.go). Expressions that have no
// such text are tried on every line: Plain counts them, for whoever writes rules.
//
// What matches is what regexp says, byte for byte. A Set is never changed. Called by job/supervise/decide.
package match

import (
	"bytes"
	"regexp"
	"slices"
)

// Set are expressions that are looked for together.
type Set struct {
	all    []*regexp.Regexp
	always []int32 // those without a text that must be there
	auto   *automaton
	texts  []literal
}

// literal is a text without which an expression does not match.
type literal struct {
	text  string // in lower case if folded
	of    int32  // the expression
	fold  bool   // upper and lower case are the same
	whole bool   // the expression is this text alone: where it is, the expression matches
	begin bool   // every match begins with this text or with another text of its expression
}

// New prepares expressions. A nil one matches every line.
func New(all []*regexp.Regexp) *Set {
	s := &Set{all: all}
	for i, re := range all {
		texts := required(re)
		if len(texts) == 0 {
			s.always = append(s.always, int32(i))
			continue
		}
		for _, t := range texts {
			t.of = int32(i)
			s.texts = append(s.texts, t)
		}
	}
	s.auto = newAutomaton(s.texts)
	return s
}

// Plain is how many expressions are tried on every line.
func (s *Set) Plain() int {
	n := 0
	for _, i := range s.always {
		if s.all[i] != nil {
			n++
		}
	}
	return n
}

// Matcher looks for the expressions of a Set; for one goroutine at a time.
type Matcher struct {
	set   *Set
	found []int32
	seen  []uint32  // for each expression the number of the line for which it was decided last
	line  uint32    // the number of the line at hand
	each  []*states // of the expressions, as far as they were tried
	left  int       // how many states may still be made
}

// Matcher returns a new one.
func (s *Set) Matcher() *Matcher {
	return &Matcher{set: s, seen: make([]uint32, len(s.all)), each: make([]*states, len(s.all)), left: maxAll}
}

// Line returns the numbers of the expressions that match a line, in their order; they are good until the next call.
func (m *Matcher) Line(line []byte) []int32 {
	if m.line++; m.line == 0 { // after 4 billion lines: no mark of an old one may be taken for a new one
		clear(m.seen)
		m.line = 1
	}
	m.found = m.found[:0]
	for _, i := range m.set.always {
		if re := m.set.all[i]; re == nil || m.match(i, line) {
			m.found = append(m.found, i)
		}
	}
	tried := len(m.found)
	m.scan(line)
	if tried > 0 && len(m.found) > tried || len(m.found) > 1 {
		slices.Sort(m.found)
	}
	return m.found
}

// match asks one expression.
func (m *Matcher) match(i int32, line []byte) bool { return m.states(i).match(line) }

func (m *Matcher) states(i int32) *states {
	x := m.each[i]
	if x == nil {
		x = newStates(m.set.all[i], &m.left)
		m.each[i] = x
	}
	return x
}

// scan goes through a line once, and tries each expression of which a text is there.
func (m *Matcher) scan(line []byte) {
	a := m.set.auto
	if a == nil {
		return
	}
	state := uint32(0)
	for i, c := range line {
		state = a.next[state&^hit|uint32(a.class[c])]
		if state&hit != 0 {
			m.tried(line, i+1, a.out[state&^hit>>a.shift])
		}
	}
}

// tried looks at the expressions of which a text ends at a place.
func (m *Matcher) tried(line []byte, end int, texts []int32) {
	for _, t := range texts {
		lit := &m.set.texts[t]
		if m.seen[lit.of] == m.line || !lit.at(line, end, m.set.auto.depth) {
			continue
		}
		if lit.whole {
			m.seen[lit.of] = m.line
			m.found = append(m.found, lit.of)
			continue
		}
		if lit.begin {
			if is, known := m.states(lit.of).matchAt(line, end-min(m.set.auto.depth, len(lit.text))); known {
				if is {
					m.seen[lit.of] = m.line
					m.found = append(m.found, lit.of)
				}
				continue
			}
		}
		m.seen[lit.of] = m.line // whether it matches or not: the rest of its texts can't change that
		if m.match(lit.of, line) {
			m.found = append(m.found, lit.of)
		}
	}
}

// at reports whether the text is there, of which the automaton has seen the first depth bytes, which end at end, without a
// difference of upper and lower case.
func (l *literal) at(line []byte, end, depth int) bool {
	from := end - min(depth, len(l.text))
	if from+len(l.text) > len(line) {
		return false
	}
	got := line[from : from+len(l.text)]
	if l.fold {
		return equalFold(got, l.text)
	}
	return string(got) == l.text
}

// equalFold compares with a text in lower case, of ASCII alone.
func equalFold(b []byte, lower string) bool {
	return bytes.EqualFold(b, []byte(lower))
}
