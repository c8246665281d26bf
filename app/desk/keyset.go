package desk

import (
	"cmp"
	"slices"
	"sort"

	"holdfast/connector"
)

// keySet is a set of keys that costs little where they lie side by side, as those of most sources do: a backlog of weeks is a few
// ranges.
type keySet struct {
	parts  []connector.KeyRange
	merged int // so many of them are in order and do not touch each other; those behind came since
}

// unmerged is how many parts may come before they are merged, beside as many as there are.
const unmerged = 4096

func (s *keySet) add(keys ...uint64) {
	for _, k := range keys {
		s.addRange(connector.KeyRange{From: k, To: k})
	}
}

func (s *keySet) addRange(r connector.KeyRange) {
	if n := len(s.parts); n > s.merged && r.From > 0 && s.parts[n-1].To == r.From-1 {
		s.parts[n-1].To = r.To
		return
	}
	if s.parts = append(s.parts, r); len(s.parts) > 2*s.merged+unmerged {
		s.merge()
	}
}

func (s *keySet) merge() {
	if s.merged == len(s.parts) {
		return
	}
	slices.SortFunc(s.parts, func(a, b connector.KeyRange) int { return cmp.Compare(a.From, b.From) })
	out := s.parts[:1]
	for _, r := range s.parts[1:] {
		if last := &out[len(out)-1]; r.From <= last.To || r.From-1 == last.To {
			last.To = max(last.To, r.To)
		} else {
			out = append(out, r)
		}
	}
	s.parts, s.merged = out, len(out)
}

func (s *keySet) has(key uint64) bool {
	s.merge()
	i := sort.Search(len(s.parts), func(i int) bool { return s.parts[i].To >= key })
	return i < len(s.parts) && s.parts[i].From <= key
}

// count is how many keys are in it.
func (s *keySet) count() (n int64) {
	s.merge()
	for _, r := range s.parts {
		n += int64(r.To - r.From + 1)
	}
	return n
}
