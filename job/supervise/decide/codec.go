package decide

import (
	"iter"
	"maps"
	"math"
	"slices"
	"strings"

	"holdfast/base/fault"
)

// The entries of a state: what changes together stands in one. Numbers are varints, those of moments signed; n* is a length
// before bytes; every value begins with version(1)=1.
//
//	c                  at wall: the clock
//	g                  window limit, window loop, reached(1) twice, number, vars, causes, silences, then episode limit and
//	                   episode loop: beyond single rules
//	r rule             matched due outcomes(n) seen window limit reached(1), then episode, forgotten, full(1), n*about: of a rule
//	k rule 0 key       flags(2) last since cooldown window counts, then what the flags say, in the order of the flags: of a key
//
// A window is its length, the first moment, and the difference to the one before of each further one. What is held is a
// moment, the event, the cause, and the facts as JSON. An episode is there(1), and then since last held n*rule n*key n*event
// n*to. What stands behind a "then" is not there in entries of before 2026-12.
const version = 1

func ruleEntry(name string) string     { return "r" + name }
func keyEntry(name, key string) string { return "k" + name + "\x00" + key }

// KeyOf is the rule and the key that an entry is about; false if it is about no key.
func KeyOf(entry string) (rule, key string, ok bool) {
	if entry == "" || entry[0] != 'k' {
		return "", "", false
	}
	return strings.Cut(entry[1:], "\x00")
}

// Changes gives each entry that is other than at the last call; a nil value means that it is gone. All of them belong into one
// commit.
func (m *Machine) Changes() iter.Seq2[string, []byte] {
	d := m.dirty
	m.dirty = dirty{}
	for _, rs := range d.rules {
		rs.dirty = false
	}
	for _, ks := range d.keys {
		ks.dirty = false
	}
	return func(yield func(string, []byte) bool) {
		if d.clock && !yield("c", m.clock.encode()) || d.whole && !yield("g", m.whole.encode()) {
			return
		}
		for _, rs := range d.rules {
			if !yield(ruleEntry(rs.rule.Name), rs.encode()) {
				return
			}
		}
		for _, name := range slices.Sorted(maps.Keys(d.gone)) {
			if !yield(name, nil) {
				return
			}
		}
		for _, ks := range d.keys {
			if ks.rs.keys[ks.key] != ks {
				continue
			}
			if ks.kept = ks.last; !yield(keyEntry(ks.rs.rule.Name, ks.key), ks.encode()) {
				return
			}
		}
	}
}

// Load takes an entry back, before the first step. One of a rule that is no more is given up. fault.Corrupt if it is damaged.
func (m *Machine) Load(entry string, value []byte) error {
	if entry == "" || len(value) == 0 || value[0] != version {
		return fault.New(fault.Corrupt, "the state %.80q is damaged, or of a newer Holdfast", entry)
	}
	d := &decoder{b: value[1:]}
	name, key, _ := strings.Cut(entry[1:], "\x00")
	rs := m.rules[name]
	switch kind := entry[0]; {
	case kind == 'c':
		m.clock.at, m.clock.wall = d.moment(), d.int()
		m.loaded = true
	case kind == 'g':
		m.whole.decode(d)
	case rs == nil:
		m.dirty.goneWith(entry)
		return nil
	case kind == 'r':
		rs.decode(d)
	case kind == 'k':
		ks := m.newKey(rs, key)
		ks.decode(d)
		ks.adapt()
	default:
		d.fail = true
	}
	if d.fail || len(d.b) > 0 {
		return fault.New(fault.Corrupt, "the state %.80q is damaged", entry)
	}
	return nil
}

// adapt gives up what the rule, which may be another than when it was kept, has no use for.
func (ks *keyState) adapt() {
	r := ks.rs.rule
	w := r.When
	level := w != nil && (w.Above != nil || w.Below != nil || w.State != nil || w.For > 0)
	if !level || ks.holds && !ks.fired && ks.began == nil {
		ks.holds, ks.fired, ks.began, ks.since = false, false, nil, 0
	}
	if follow(r) == nil {
		ks.armed = nil
	}
	if !readByItself(r) {
		ks.early = nil
	}
	if _, ok := noData(r); !ok {
		ks.silent = false
	}
	if w == nil || w.Count <= 1 {
		ks.counts = nil
	} else if len(ks.counts) >= w.Count {
		ks.counts = ks.counts[len(ks.counts)-w.Count+1:]
	}
	if r.State != nil && ks.was != nil && ks.was.state == "" || r.State == nil && (w == nil || !w.Change) {
		ks.was = nil
	}
	if r.Heal == nil {
		ks.heal = nil
	}
	if !r.Cooldown.Trailing {
		ks.trailing = nil
	}
}

// Counts are those of a rule.
func (m *Machine) Counts(name string) (Counts, bool) {
	rs := m.rules[name]
	if rs == nil {
		return Counts{}, false
	}
	return rs.counts, true
}

func (c *clock) encode() []byte {
	e := encoder{version}
	e.int(int64(c.at))
	e.int(c.wall)
	return e
}

func (rs *ruleState) encode() []byte {
	e := encoder{version}
	e.uint(rs.counts.Matched)
	e.uint(rs.counts.Due)
	e.uint(uint64(len(rs.counts.Outcomes)))
	for _, n := range rs.counts.Outcomes {
		e.uint(n)
	}
	e.time(rs.counts.Seen)
	e.window(rs.limit)
	e.bool(rs.over != nil)
	e.episode(rs.over)
	e.uint(rs.counts.Forgotten)
	e.bool(rs.full)
	e.text(rs.about)
	return e
}

func (rs *ruleState) decode(d *decoder) {
	rs.counts.Matched, rs.counts.Due = d.uint(), d.uint()
	n := d.uint()
	for i := range n {
		if v := d.uint(); i < uint64(outcomes) {
			rs.counts.Outcomes[i] = v
		}
		if d.fail {
			return
		}
	}
	rs.counts.Seen = d.time()
	rs.limit = d.window()
	if d.bool(); len(d.b) > 0 {
		rs.over, rs.counts.Forgotten, rs.full, rs.about = d.episode(), d.uint(), d.bool(), d.text()
	}
}

// The flags of a key.
const (
	flagHolds = 1 << iota
	flagFired
	flagAbsent
	flagSilent
	flagPlaceholder
	flagArmed
	flagBegan
	flagWas
	flagTrailing
	flagHeal
	flagEarly
)

func (ks *keyState) encode() []byte {
	e := encoder{version}
	flags := uint64(0)
	for i, set := range [...]bool{ks.holds, ks.fired, ks.absent, ks.silent, ks.placeholder, ks.armed != nil, ks.began != nil,
		ks.was != nil, ks.trailing != nil, ks.heal != nil, ks.early != nil} { // in the order of the flags
		if set {
			flags |= 1 << i
		}
	}
	e.uint(flags)
	e.int(int64(ks.last))
	e.int(int64(ks.since))
	e.int(int64(ks.cooldown))
	e.window(ks.counts)
	for _, h := range []*held{ks.armed, ks.began} {
		if h != nil {
			e.held(h)
		}
	}
	if ks.was != nil {
		e.value(ks.was)
	}
	if ks.trailing != nil {
		e.held(ks.trailing)
	}
	if ks.heal != nil {
		e.held(&ks.heal.held)
		e.uint(uint64(ks.heal.rung))
		e.int(int64(ks.heal.until))
	}
	if ks.early != nil {
		e.held(ks.early)
	}
	return e
}

func (ks *keyState) decode(d *decoder) {
	flags := d.uint()
	has := func(flag uint64) bool { return flags&flag != 0 }
	ks.holds, ks.fired, ks.absent, ks.silent = has(flagHolds), has(flagFired), has(flagAbsent), has(flagSilent)
	ks.placeholder = has(flagPlaceholder)
	ks.last, ks.since, ks.cooldown, ks.counts = d.moment(), d.moment(), d.moment(), d.window()
	ks.kept = ks.last
	if has(flagArmed) {
		ks.armed = d.held()
	}
	if has(flagBegan) {
		ks.began = d.held()
	}
	if has(flagWas) {
		ks.was = d.value()
	}
	if has(flagTrailing) {
		ks.trailing = d.held()
	}
	if has(flagHeal) {
		ks.heal = &healing{held: *d.held(), rung: int(d.uint() & math.MaxInt16), until: d.moment()}
	}
	if has(flagEarly) {
		ks.early = d.held()
	}
}

func (w *whole) encode() []byte {
	e := encoder{version}
	e.window(w.limit)
	e.window(w.loop)
	e.bool(w.limitOver != nil)
	e.bool(w.loopOver != nil)
	e.uint(w.number)
	e.uint(uint64(len(w.vars)))
	for _, name := range slices.Sorted(maps.Keys(w.vars)) {
		e.text(name)
		e.text(w.vars[name])
	}
	e.uint(uint64(len(w.causes)))
	for _, unit := range slices.Sorted(maps.Keys(w.causes)) {
		e.text(unit)
		e.text(w.causes[unit].call)
		e.int(int64(w.causes[unit].until))
	}
	e.uint(uint64(len(w.silences)))
	for _, s := range w.silences {
		e.json(kept{s.SilenceOf, s.began, s.more})
		e.int(int64(s.until))
	}
	e.episode(w.limitOver)
	e.episode(w.loopOver)
	return e
}

// kept is a silence as it is kept.
type kept struct {
	Of    SilenceOf
	Began []Silenced
	More  uint64
}

func (w *whole) decode(d *decoder) {
	w.limit, w.loop = d.window(), d.window()
	_, _, w.number = d.bool(), d.bool(), d.uint()
	for range d.length() {
		name := d.text()
		w.vars[name] = d.text()
	}
	for range d.length() {
		unit := d.text()
		w.causes[unit] = cause{d.text(), d.moment()}
	}
	for range d.length() {
		var k kept
		d.json(&k)
		w.silences = append(w.silences, &silence{k.Of, d.moment(), k.Began, k.More})
	}
	if len(d.b) > 0 {
		w.limitOver, w.loopOver = d.episode(), d.episode()
	}
}
