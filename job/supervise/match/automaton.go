package match

// automaton is that of Aho and Corasick, as one table: for each state and class of bytes the next state. It has no difference
// of upper and lower case.
type automaton struct {
	class [256]uint8
	next  []uint32  // state<<shift | class -> the next state<<shift, with hit if texts end there
	out   [][]int32 // the texts that end in a state
	shift uint
	depth int // how many bytes of each text it knows
}

// hit marks a state in which texts end.
const hit = 1 << 31

// maxTable is the most bytes that the table may have: with more rules it knows less of each text, so that more are tried.
const maxTable = 16 << 20

// newAutomaton returns nil for no texts.
func newAutomaton(texts []literal) *automaton {
	if len(texts) == 0 {
		return nil
	}
	var a *automaton
	for _, depth := range []int{32, 16, 8, 4, 2} {
		if a = build(texts, depth); len(a.next)*4 <= maxTable {
			break
		}
	}
	return a
}

func build(texts []literal, depth int) *automaton {
	a := &automaton{depth: depth}
	classes := a.classes(texts)
	for 1<<a.shift < classes {
		a.shift++
	}
	t := a.trie(texts)
	a.link(t)
	return a
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// classes gives each byte that is in a text a class, and all others the class 0.
func (a *automaton) classes(texts []literal) int {
	n := 1
	for _, t := range texts {
		for i := range min(len(t.text), a.depth) {
			if c := lower(t.text[i]); a.class[c] == 0 {
				if n == 256 {
					n-- // 229 bytes at most are told apart, so this is never reached
				}
				a.class[c] = uint8(n)
				n++
			}
		}
	}
	for c := byte('A'); c <= 'Z'; c++ {
		a.class[c] = a.class[lower(c)]
	}
	return n
}

// trie adds the texts; its edges are states+1, so that 0 is none.
func (a *automaton) trie(texts []literal) []uint32 {
	stride := 1 << a.shift
	edges := make([]uint32, stride)
	a.out = [][]int32{nil}
	for i, t := range texts {
		state := 0
		for j := range min(len(t.text), a.depth) {
			at := state<<a.shift | int(a.class[t.text[j]])
			if edges[at] == 0 {
				a.out = append(a.out, nil)
				edges = append(edges, make([]uint32, stride)...)
				edges[at] = uint32(len(a.out))
			}
			state = int(edges[at] - 1)
		}
		a.out[state] = append(a.out[state], int32(i))
	}
	return edges
}

// link fills in where to go on when a text breaks off: at the state of the longest end of what was read that begins a text.
func (a *automaton) link(edges []uint32) {
	stride := 1 << a.shift
	fails := make([]uint32, len(a.out))
	step := make([]uint32, len(edges)) // as edges, but complete, and of states
	queue := []uint32{0}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		for class := range stride {
			at := int(state)<<a.shift | class
			back := uint32(0)
			if state != 0 {
				back = step[int(fails[state])<<a.shift|class]
			}
			if edges[at] == 0 {
				step[at] = back
				continue
			}
			child := edges[at] - 1
			step[at] = child
			fails[child] = back
			a.out[child] = append(a.out[child], a.out[back]...)
			queue = append(queue, child)
		}
	}
	a.next = make([]uint32, len(step))
	for i, state := range step {
		a.next[i] = state << a.shift
		if len(a.out[state]) > 0 {
			a.next[i] |= hit
		}
	}
}
