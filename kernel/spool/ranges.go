package spool

import "slices"

// span is a closed range of sequences.
type span struct{ first, last uint64 }

// ranges is a set of sequences as ascending spans that do not touch. A sink has few: one for each
// lane, and one for each delivery that is out of order.
type ranges []span

// add joins [first, last] to the set.
func (r *ranges) add(first, last uint64) {
	whole := span{first, last}
	i, _ := slices.BinarySearchFunc(*r, first, func(s span, f uint64) int {
		if s.last+1 < f {
			return -1
		}
		return 1
	})
	j := i
	for j < len(*r) && (*r)[j].first <= last+1 {
		whole.first, whole.last = min(whole.first, (*r)[j].first), max(whole.last, (*r)[j].last)
		j++
	}
	*r = slices.Replace(*r, i, j, whole)
}

// remove takes [first, last] out of the set.
func (r *ranges) remove(first, last uint64) {
	var out ranges
	for _, s := range *r {
		if s.last < first || s.first > last {
			out = append(out, s)
			continue
		}
		if s.first < first {
			out = append(out, span{s.first, first - 1})
		}
		if s.last > last {
			out = append(out, span{last + 1, s.last})
		}
	}
	*r = out
}

// has reports whether seq is in the set.
func (r ranges) has(seq uint64) bool {
	_, ok := slices.BinarySearchFunc(r, seq, func(s span, q uint64) int {
		switch {
		case s.last < q:
			return -1
		case s.first > q:
			return 1
		}
		return 0
	})
	return ok
}

// nextGap returns the first sequence at or behind from that is not in the set.
func (r ranges) nextGap(from uint64) uint64 {
	for _, s := range r {
		if from < s.first {
			return from
		}
		if from <= s.last {
			from = s.last + 1
		}
	}
	return from
}

// gapEnd returns the last sequence of the gap that holds from, at most limit.
func (r ranges) gapEnd(from, limit uint64) uint64 {
	for _, s := range r {
		if s.first > from {
			return min(limit, s.first-1)
		}
	}
	return limit
}

// prevGap returns the last sequence at or before from that is not in the set; 0 if there is none.
func (r ranges) prevGap(from uint64) uint64 {
	for i := len(r) - 1; i >= 0 && from > 0; i-- {
		if from > r[i].last {
			return from
		}
		if from >= r[i].first {
			from = r[i].first - 1
		}
	}
	return from
}

// gapStart returns the first sequence of the gap that holds from, at least limit.
func (r ranges) gapStart(from, limit uint64) uint64 {
	for i := len(r) - 1; i >= 0; i-- {
		if r[i].last < from {
			return max(limit, r[i].last+1)
		}
	}
	return limit
}
