package wsprnet

import (
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/wsprnet/spot"
)

const (
	// fullPage is a page so large that another one is likely behind it.
	fullPage = 1000
	// fresh is the age under which the newest spot of a page shows that we are up to date: a spot
	// is two minutes old at the least when it is uploaded.
	fresh = 10 * time.Minute
	// clearOrder is how many ascending ids show that a page was sorted and not so by chance.
	clearOrder = 100
)

func emptyRows() arrow.RecordBatch { return new(spot.Builder).Batch() }

// page says what an answer is worth: where the cursor may go, and for which ids it is complete.
//
//	whole                       cursor to the highest id, complete from the one asked for
//	whole, descending, huge     the same, but complete only from its lowest id: a limit on the
//	                            number of spots would have cut off the low ones
//	cut, ascending              cursor to the highest id; complete up to it if the order is clear
//	cut, any other order        the low ids may be in what was cut: the cursor stays and the page is
//	                            asked for once more; if that reaches no lower, the cursor passes and
//	                            nothing is claimed, so that the ids between are a gap
func (s *Source) page(r connector.Request, after uint64, ans answer) connector.Page {
	n := ans.Rows.NumRows() + int64(len(ans.Rejected))
	p := connector.Page{Rows: ans.Rows, Rejected: ans.Rejected, Notes: ans.Notes}
	highest := max(after, ans.Max)
	to := after
	switch {
	case ans.Whole:
		to = highest
		p.Complete = s.complete(r.Fill, after, n, ans)
		p.More = highest > after && (n >= fullPage || s.behind(ans))
		s.cut.open = false
	case ans.Ascending:
		to = highest
		p.More = to > after
		s.note("page_cut", 1)
		if n >= clearOrder && to > after {
			p.Complete = &connector.KeyRange{From: after + 1, To: to}
		}
	case s.cut.open && s.cut.after == after && ans.Min >= s.cut.lowest:
		to = highest
		p.More = to > after
		s.cut.open = false
		s.note("page_cut_twice", 1)
		s.log.Warn("the feed cuts its answer at the same place twice: the ids below are a gap",
			"after", after, "lowest", ans.Min, "highest", ans.Max)
	default:
		s.cut.open, s.cut.after, s.cut.lowest = true, after, ans.Min
		p.More = true
		s.note("page_cut", 1)
	}
	if r.Fill != nil {
		p.More = ans.Max > after && ans.Max < r.Fill.To
	}
	p.Cursor = s.Start(to)
	return p
}

// complete is what a whole page may claim.
func (s *Source) complete(fill *connector.KeyRange, after uint64, n int64,
	ans answer) *connector.KeyRange {
	limited := n >= fullPage && n >= s.largest && !ans.Ascending
	s.largest = max(s.largest, n)
	switch {
	case n == 0 && fill != nil:
		return fill
	case ans.Max <= after:
		return nil
	case limited:
		return &connector.KeyRange{From: max(after+1, ans.Min), To: ans.Max}
	}
	return &connector.KeyRange{From: after + 1, To: ans.Max}
}

// behind tells whether the newest spot is so old that newer ones must be there.
func (s *Source) behind(ans answer) bool {
	_, newest, ok := record.TimeRange(spot.Schema(), ans.Rows)
	return ok && ans.at.Sub(time.Unix(newest, 0)) > fresh
}
