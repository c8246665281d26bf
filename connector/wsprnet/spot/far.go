package spot

import (
	"fmt"
	"slices"
	"strconv"

	"holdfast/base/record"
	"holdfast/connector"
)

// Jump is how far an id may be from its neighbours: some months of the feed. One mistyped id beyond
// it would otherwise move the cursor past everything that the feed will ever send.
const Jump = 1_000_000_000

// RejectFar turns rows whose id is out of reach into Rejects: of at least three rows, those far from
// the median; of fewer, those far above after, unless that is 0.
func (r *Result) RejectFar(after uint64) error {
	ids, _ := record.Keys(schema, r.Rows)
	ref, lowToo := after, false
	if len(ids) >= 3 {
		order := slices.Clone(ids)
		slices.Sort(order)
		ref, lowToo = order[len(order)/2], true
	}
	if ref == 0 || r.Max <= ref+Jump && (!lowToo || r.Min+Jump >= ref) {
		return nil
	}
	far := func(id uint64) bool { return id > ref+Jump || lowToo && id+Jump < ref }
	keep := make([]bool, len(ids))
	again := parser{asc: true, desc: true}
	for i, id := range ids {
		if keep[i] = !far(id); keep[i] {
			again.seen(id)
		}
	}
	for _, rej := range r.Rejected {
		if id, err := strconv.ParseUint(rej.Key, 10, 63); err == nil && !far(id) {
			again.seen(id)
		}
	}
	if slices.Contains(keep, false) {
		i := 0
		Read(r.Rows, func(s *Spot) bool {
			if !keep[i] {
				raw := s.AppendObject(nil)
				r.Rejected = append(r.Rejected, connector.Reject{Raw: raw,
					Key: strconv.FormatUint(s.ID, 10),
					Reason: fmt.Sprintf("Spotnum is %d, out of reach of its neighbours at %d",
						s.ID, ref)})
			}
			i++
			return true
		})
		rows, err := record.Keep(r.Rows, keep)
		if err != nil {
			return fmt.Errorf("leave out far ids: %w", err)
		}
		r.Rows = rows
	}
	r.Min, r.Max = again.out.Min, again.out.Max
	r.Ascending, r.Descending = again.items > 1 && again.asc, again.items > 1 && again.desc
	return nil
}
