package postgres

import (
	"cmp"
	"context"
	"slices"

	"holdfast/base/record"
)

// tidy keeps the delivered set of the token's lineage small: at the first delivery of a session and
// then at every keep-th, the entries beyond the newest ones are merged.
func (s *Sink) tidy(ctx context.Context, t record.Token) error {
	n, looked := s.session.tidied[t.Lineage]
	s.session.tidied[t.Lineage] = n + 1
	if looked && n < s.keep {
		return nil
	}
	s.session.tidied[t.Lineage] = 1
	entries, err := s.entries(ctx, t)
	if err != nil {
		return err
	}
	for _, group := range mergeable(entries, s.keep) {
		for _, e := range group {
			_, err := s.session.conn.Exec(ctx, `DELETE FROM `+s.delivered()+` WHERE job = $1 AND
				lineage = $2 AND target = $3 AND first = $4 AND last = $5 AND row_from = $6 AND row_to = $7`,
				t.Job, t.Lineage.String(), s.cfg.Table, e.first, e.last, e.rowFrom, e.rowTo)
			if err != nil {
				return err
			}
		}
		if err := s.put(ctx, t, fold(group)); err != nil {
			return err
		}
	}
	return nil
}

// entries reads the delivered set of the token's lineage.
func (s *Sink) entries(ctx context.Context, t record.Token) ([]entry, error) {
	rows, err := s.session.conn.Query(ctx, `SELECT `+entryColumns+` FROM `+s.delivered()+`
		WHERE job = $1 AND lineage = $2 AND target = $3`, t.Job, t.Lineage.String(), s.cfg.Table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []entry
	for rows.Next() {
		var e entry
		if err := e.scan(rows); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, rows.Err()
}

// mergeable returns the groups of neighbours to merge: entries without refused rows, beyond the
// newest keep. There are none before twice as many have come together, so that the work is rare.
func mergeable(entries []entry, keep int) [][]entry {
	whole := 0
	for _, e := range entries {
		if e.hash != nil {
			whole++
		}
	}
	if whole <= 2*keep {
		return nil
	}
	slices.SortFunc(entries, func(a, b entry) int { // newest first, merged ones last
		return cmp.Or(-cmp.Compare(min(len(a.hash), 1), min(len(b.hash), 1)),
			-cmp.Compare(a.at, b.at), -cmp.Compare(a.first, b.first))
	})
	old := slices.DeleteFunc(slices.Clone(entries[keep:]), func(e entry) bool {
		return e.rejected != nil
	})
	slices.SortFunc(old, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.rowFrom, b.rowFrom))
	})
	var groups [][]entry
	for i, e := range old {
		if i > 0 && old[i-1].adjoins(e) {
			groups[len(groups)-1] = append(groups[len(groups)-1], e)
			continue
		}
		groups = append(groups, []entry{e})
	}
	return slices.DeleteFunc(groups, func(g []entry) bool { return len(g) == 1 && g[0].hash == nil })
}

// adjoins reports whether next follows e without a hole.
func (e entry) adjoins(next entry) bool {
	if e.rowTo == 0 && next.rowTo == 0 {
		return next.first == e.last+1
	}
	return e.first == next.first && e.last == next.last && e.rowTo != 0 && e.rowTo == next.rowFrom
}

// fold makes one entry of neighbours.
func fold(group []entry) entry {
	out := group[0]
	out.hash = nil
	for _, e := range group[1:] {
		out.last, out.rowTo = e.last, e.rowTo
		out.rows += e.rows
		out.present += e.present
		out.at = max(out.at, e.at)
	}
	return out
}
