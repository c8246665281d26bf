package match

import (
	"encoding/binary"
	"regexp"
	"regexp/syntax"
	"slices"
	"unicode/utf8"
)

// states is an expression as states that are made when they are first needed: one step a byte, where regexp has one for each
// way in which the expression could go on. It only says whether there is a match, and only of ASCII; else, and where there are
// too many states, regexp is asked.
type states struct {
	re    *regexp.Regexp
	prog  *syntax.Prog // nil: regexp is asked always
	begin []uint32     // the instructions at the beginning of a line
	again []uint32     // those with which a match may begin at any later byte
	all   []state
	known map[string]int32 // numbers of states, by what they are made of
	here  [2]int32         // the first states of matchAt: inside a line, and at its beginning; 0 is not made yet
	left  *int             // how many states all expressions together may still make
}

// state are the instructions that may come next.
type state struct {
	next  [utf8.RuneSelf]int32 // the state behind a byte; 0 is not made yet
	at    []uint32
	only  bool // for matchAt: no match begins at a later byte
	match bool // the line matches, whatever follows
	last  bool // the line matches if it ends here
}

// Limits of memory: a state has about half a kilobyte.
const (
	maxStates = 200
	maxAll    = 20_000
)

func newStates(re *regexp.Regexp, left *int) *states {
	x := &states{re: re, known: map[string]int32{}, left: left}
	tree, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return x
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil || !simple(prog) {
		return x
	}
	x.prog = prog
	x.begin = x.reach([]uint32{uint32(prog.Start)}, syntax.EmptyBeginText)
	x.again = x.reach([]uint32{uint32(prog.Start)}, 0)
	x.all = []state{{}} // the state 0 is none
	if x.state(x.begin, false) == 0 {
		x.prog = nil
	}
	return x
}

// matchAt reports whether there is a match that begins at a place of the line; known is false if that can't be told.
func (x *states) matchAt(line []byte, from int) (is, known bool) {
	if x.prog == nil {
		return false, false
	}
	begin, flags := 0, syntax.EmptyOp(0)
	if from == 0 {
		begin, flags = 1, syntax.EmptyBeginText
	}
	now := x.here[begin]
	if now == 0 {
		if now = x.state(x.reach([]uint32{uint32(x.prog.Start)}, flags), true); now == 0 {
			return false, false
		}
		x.here[begin] = now
	}
	for _, c := range line[from:] {
		if c >= utf8.RuneSelf {
			return false, false
		}
		next := x.all[now].next[c]
		if next == 0 {
			if next = x.step(now, c); next == 0 {
				return false, false
			}
		}
		now = next
		if s := &x.all[now]; s.match || len(s.at) == 0 {
			return s.match, true
		}
	}
	return x.all[now].last, true
}

// simple reports whether an expression asks for nothing around a byte but the beginning and the end of the line.
func simple(prog *syntax.Prog) bool {
	return !slices.ContainsFunc(prog.Inst, func(i syntax.Inst) bool {
		return i.Op == syntax.InstEmptyWidth && syntax.EmptyOp(i.Arg)&^(syntax.EmptyBeginText|syntax.EmptyEndText) != 0
	})
}

// match reports whether the expression matches.
func (x *states) match(line []byte) bool {
	if x.prog == nil || len(line) == 0 {
		return x.re.Match(line)
	}
	now := int32(1)
	if x.all[now].match {
		return true
	}
	for _, c := range line {
		if c >= utf8.RuneSelf {
			return x.re.Match(line)
		}
		next := x.all[now].next[c]
		if next == 0 {
			if next = x.step(now, c); next == 0 {
				return x.re.Match(line)
			}
		}
		if now = next; x.all[now].match {
			return true
		}
	}
	return x.all[now].last
}

// step makes the state behind a byte; 0 if there would be too many.
func (x *states) step(now int32, c byte) int32 {
	var at []uint32
	only := x.all[now].only
	if !only {
		at = slices.Clip(x.again)
	}
	for _, pc := range x.all[now].at {
		if i := &x.prog.Inst[pc]; consumes(i.Op) && i.MatchRune(rune(c)) {
			at = append(at, i.Out)
		}
	}
	next := x.state(x.reach(at, 0), only)
	x.all[now].next[c] = next
	return next
}

func consumes(op syntax.InstOp) bool {
	return op == syntax.InstRune || op == syntax.InstRune1 || op == syntax.InstRuneAny || op == syntax.InstRuneAnyNotNL
}

// state is the number of a state.
func (x *states) state(at []uint32, only bool) int32 {
	key := make([]byte, 0, 4*len(at)+1)
	if only {
		key = append(key, 1)
	}
	for _, pc := range at {
		key = binary.LittleEndian.AppendUint32(key, pc)
	}
	if n := x.known[string(key)]; n != 0 {
		return n
	}
	if len(x.all) > maxStates || *x.left <= 0 {
		return 0
	}
	*x.left--
	s := state{at: at, match: x.has(at), only: only}
	s.last = s.match || x.has(x.reach(at, syntax.EmptyEndText))
	x.all = append(x.all, s)
	n := int32(len(x.all) - 1)
	x.known[string(key)] = n
	return n
}

func (x *states) has(at []uint32) bool {
	return slices.ContainsFunc(at, func(pc uint32) bool { return x.prog.Inst[pc].Op == syntax.InstMatch })
}

// reach are all instructions that are reached without a byte, in their order; those that wait for the end of the line stay.
func (x *states) reach(from []uint32, here syntax.EmptyOp) (all []uint32) {
	from = slices.Clone(from)
	seen := make([]bool, len(x.prog.Inst))
	for len(from) > 0 {
		pc := from[len(from)-1]
		from = from[:len(from)-1]
		if seen[pc] {
			continue
		}
		seen[pc] = true
		switch i := &x.prog.Inst[pc]; i.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			from = append(from, i.Out, i.Arg)
		case syntax.InstCapture, syntax.InstNop:
			from = append(from, i.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(i.Arg)&^here == 0 {
				from = append(from, i.Out)
			} else {
				all = append(all, pc)
			}
		case syntax.InstFail:
		default:
			all = append(all, pc)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
