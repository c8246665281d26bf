package postgres

import (
	"context"
	"fmt"

	"holdfast/connector"
)

// replace writes down how rows replace others: of each time (at) only those with the highest revision stand,
// whether they are staged or in the table. The times are few, and the key begins with them: so the table is
// asked for each by itself, or for a list of them, and not as a whole.
func (t *table) replace(target, at, revision string) {
	const staged = "pg_temp." + staging
	t.late = fmt.Sprintf(`WITH highest AS (SELECT n.at, greatest(n.revision,
			(SELECT max(t.%[3]s) FROM %[1]s AS t WHERE t.%[2]s = n.at)) AS revision
			FROM (SELECT %[2]s AS at, max(%[3]s) AS revision FROM %[4]s GROUP BY 1) AS n)
		DELETE FROM %[4]s AS s USING highest AS h WHERE s.%[2]s = h.at AND s.%[3]s < h.revision`,
		target, at, revision, staged)
	t.older = fmt.Sprintf(`WITH highest AS (SELECT %[2]s AS at, max(%[3]s) AS revision FROM %[4]s GROUP BY 1)
		DELETE FROM %[1]s AS t USING highest AS h WHERE t.%[2]s = ANY (ARRAY(SELECT at FROM highest))
		AND t.%[2]s = h.at AND t.%[3]s < h.revision`, target, at, revision, staged)
}

// replaced is stored for rows that replace others. What the table alone refuses is known only after others
// have gone for it; so all is taken back then and done again without those rows, which replace nothing.
func (s *Sink) replaced(ctx context.Context, staged int64) (v connector.Verdict, err error) {
	c, t := s.session.conn, s.session.table
	// Of two that write revisions of one time at once neither would see the other's.
	if err := s.lock(ctx, s.cfg.Table, "replace"); err != nil {
		return v, err
	}
	var unfit []connector.RowFault
	for {
		if _, err := c.Exec(ctx, "SAVEPOINT replacing"); err != nil {
			return v, err
		}
		late, err := c.Exec(ctx, t.late)
		if err != nil {
			return v, err
		}
		if _, err := c.Exec(ctx, t.older); err != nil {
			return v, err
		}
		got, ignored, err := s.stored(ctx, staged-late.RowsAffected())
		if err != nil {
			return v, err
		}
		if len(ignored) == 0 {
			got.Present += late.RowsAffected()
			got.Rejected = append(got.Rejected, unfit...)
			return got, nil
		}
		if _, err := c.Exec(ctx, "ROLLBACK TO replacing"); err != nil {
			return v, err
		}
		rows := make([]int32, len(ignored))
		for i, r := range ignored {
			rows[i] = int32(r.Row)
		}
		_, err = c.Exec(ctx, "DELETE FROM pg_temp."+staging+" WHERE "+stageRow+" = ANY ($1)", rows)
		if err != nil {
			return v, err
		}
		staged -= int64(len(ignored))
		unfit = append(unfit, ignored...)
	}
}
