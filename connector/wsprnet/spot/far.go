package spot

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/record"
	"holdfast/connector"
)

// One mistyped id would otherwise move the cursor past everything that the feed sends until its
// numbers get there.
const (
	// Jump is how far an id may be from the middle of its page: some months of the feed.
	Jump = 1_000_000_000
	// near is how far a few ids may be above all others of their page, whatever their times are.
	near = 100_000
	// fastest is how many ids a second the feed may number: some three times what it does.
	fastest = 250
	// day is what the feed keeps, in seconds.
	day = 86_400
	// lone is how far a single id may be above the cursor, with no others to compare them with.
	// After a longer outage of ours there are more of them, unless a band is all but silent.
	lone = fastest * day
	// maxStrays bounds what is remembered.
	maxStrays = 10_000
)

// Strays are the ids that were out of reach of their neighbours. They come again with every page
// for as long as the feed keeps them, also when nothing else comes to compare them with.
type Strays map[uint64]bool

// at is an id with its time; rejects have none.
type at struct {
	id    uint64
	time  int64
	timed bool
}

// RejectFar turns rows whose id is out of reach into Rejects: those far from the median of the page,
// and the few at its upper end that no honest feed could have reached from the others by their time.
// A page that lies far above after as a whole is honest: we were away. A row that has no neighbours is
// compared with after, unless that is 0.
func (r *Result) RejectFar(after uint64, strays Strays) error {
	all := r.ids()
	lo, hi, ref := bounds(all, after)
	if ref == 0 || len(all) == 0 {
		return nil
	}
	var in []at
	for _, a := range all {
		if lo <= a.id && a.id <= hi {
			in = append(in, a)
		}
	}
	if n := len(in) - tail(in, after, strays); n < len(in) {
		hi = in[n].id - 1
		if n > 0 {
			ref = in[n-1].id
		}
	}
	if all[0].id >= lo && all[len(all)-1].id <= hi {
		return nil
	}
	for _, a := range all {
		if a.id > hi && len(strays) < maxStrays {
			strays[a.id] = true
		}
	}
	return r.keepWithin(lo, hi, ref)
}

// ids are the ids of rows and rejects, ascending.
func (r *Result) ids() (all []at) {
	ids, _ := record.Keys(schema, r.Rows)
	if len(ids) > 0 {
		times := r.Rows.Column(colTime).(*array.Timestamp).TimestampValues()
		for i, id := range ids {
			all = append(all, at{id, int64(times[i]), true})
		}
	}
	for _, rej := range r.Rejected {
		if id, err := strconv.ParseUint(rej.Key, 10, 63); err == nil {
			all = append(all, at{id: id})
		}
	}
	slices.SortFunc(all, func(a, b at) int { return cmp.Compare(a.id, b.id) })
	return all
}

// bounds are the ids within reach of ref, the median or what else there is to compare with; ref is
// 0 if there is nothing.
func bounds(all []at, after uint64) (lo, hi, ref uint64) {
	const top = 1<<63 - 1
	rows := slices.DeleteFunc(slices.Clone(all), func(a at) bool { return !a.timed })
	switch {
	case len(rows) >= 3:
		ref = rows[len(rows)/2].id
		return ref - min(ref, Jump), ref + Jump, ref
	case len(rows) == 2 && after > 0 && rows[1].id-rows[0].id <= near:
		return 0, after + Jump, after // they bear each other out
	case after > 0:
		return 0, after + lone, after
	case len(rows) == 2:
		return 0, top, rows[0].id
	}
	return 0, top, 0
}

// tail returns how many of the highest ids are out of reach of the ones below: those that were so
// before, and of the others at most one in a hundred, but one at least.
func tail(in []at, after uint64, strays Strays) int {
	old := 0
	for old < len(in) && strays[in[len(in)-1-old].id] {
		old++
	}
	below := after
	if old < len(in) {
		below = in[len(in)-1-old].id
	}
	if old > 0 && (below == 0 || in[len(in)-old].id <= below+near) {
		old = 0 // the feed got there
	}
	in = in[:len(in)-old]
	found := 0
	for n := 1; n <= max(1, len(in)/100) && n < len(in); n++ {
		if tooSoon(in[:len(in)-n], in[len(in)-n:], len(in) == 2 && after == 0) {
			found = n
		}
	}
	return old + found
}

// tooSoon reports whether the feed can't have numbered from the last of body to the first of few in
// the time between them. Of only two ids either may be the wrong one, so they may be further apart.
func tooSoon(body, few []at, onlyTwo bool) bool {
	gap := few[0].id - body[len(body)-1].id
	if onlyTwo || gap <= near {
		return gap > lone
	}
	newest := int64(0)
	for _, b := range body {
		newest = max(newest, b.time)
	}
	passed := int64(0)
	if few[0].timed && newest > 0 {
		passed = min(max(few[0].time-newest, 0), day)
	}
	return gap > max(near, uint64(passed)*fastest)
}

// keepWithin leaves only the rows from lo to hi; ref is what the others are out of reach of.
func (r *Result) keepWithin(lo, hi, ref uint64) error {
	again := parser{asc: true, desc: true}
	within := func(id uint64) bool { return lo <= id && id <= hi }
	ids, _ := record.Keys(schema, r.Rows)
	keep := make([]bool, len(ids))
	for i, id := range ids {
		if keep[i] = within(id); keep[i] {
			again.seen(id)
		}
	}
	for i, rej := range r.Rejected {
		id, err := strconv.ParseUint(rej.Key, 10, 63)
		if err == nil && within(id) {
			again.seen(id)
		}
		r.Rejected[i].Loose = rej.Loose || err == nil && !within(id)
	}
	if slices.Contains(keep, false) {
		i := 0
		Read(r.Rows, func(s *Spot) bool {
			if !keep[i] {
				r.Rejected = append(r.Rejected, connector.Reject{Raw: s.AppendObject(nil), Loose: true,
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
