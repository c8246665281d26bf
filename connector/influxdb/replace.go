package influxdb

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"holdfast/base/fault"
	"holdfast/connector"
)

// Points that supersede others: of each time only those of the highest revision stand. InfluxDB has no
// transactions, so the order keeps it whole. The new points are written first, many of them over old ones;
// then the old ones that nothing was written over are deleted. Who reads in between finds the highest
// revision, with remains of a lower one beside it; a crash in between leaves that, and the same delivery,
// which comes again, ends it.
//
// A request that was given up may be executed late, and a late deletion would take what was written since.
// So after an attempt whose end is not known nothing is done while a deletion runs, and what stands is read
// again when all is written.

// moment is one time: what the delivery and the measurement have of it.
type moment struct {
	at    int64
	rows  []candidate
	there []standing
}

// candidate is a row of the delivery that can be a point.
type candidate struct {
	row      int
	revision int64
	refused  bool // by the server
}

// standing is a point of the measurement.
type standing struct {
	tags     map[string]string // each that the measurement has, "" if the point has it not
	fields   []string          // that it has a value of
	revision int64
	without  bool // it has no revision, and is older than any
}

func (p standing) below(revision int64) bool { return p.without || p.revision < revision }

// highest is the highest revision of a time; ok is false if there is none.
func (m *moment) highest() (revision int64, ok bool) {
	see := func(n int64) {
		if !ok || n > revision {
			revision, ok = n, true
		}
	}
	for _, c := range m.rows {
		if !c.refused {
			see(c.revision)
		}
	}
	for _, p := range m.there {
		if !p.without {
			see(p.revision)
		}
	}
	return revision, ok
}

// replacing is one Write of points that replace others.
type replacing struct {
	*Sink
	lines   func() *writer // of the rows
	one     *writer        // to look at single rows
	rows    int
	wanted  []bool // by the caller; nil is all
	moments []*moment
}

// replace writes the wanted rows (nil for all), and counts those that it did not because they are superseded.
func (s *Sink) replace(ctx context.Context, lines func() *writer, d connector.Delivery, wanted []bool) (
	refused []connector.RowFault, superseded int64, err error) {
	r := &replacing{Sink: s, lines: lines, one: lines(), rows: int(d.Rows.NumRows()), wanted: wanted}
	r.gather()
	careful := s.begin() || d.Unknown
	if careful {
		err = s.quiet(ctx)
	}
	if err == nil {
		err = r.look(ctx, careful || d.ByKey)
	}
	if err == nil {
		refused, err = r.write(ctx)
	}
	if err == nil {
		err = r.remove(ctx, r.left)
	}
	if err == nil && careful {
		err = r.confirm(ctx)
	}
	if err != nil {
		return nil, 0, s.gone(err)
	}
	s.end()
	return refused, r.superseded(), nil
}

// begin says that something is under way, and reports whether something was before: an attempt that
// failed.
func (s *Sink) begin() (before bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.unsure = s.unsure, true
	return before
}

func (s *Sink) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsure = false
}

// gather finds the times of the rows, in order. A row that can't be a point supersedes
// nothing.
func (r *replacing) gather() {
	at := map[int64]*moment{}
	var text []byte
	for i := range r.rows {
		if r.wanted != nil && !r.wanted[i] {
			continue
		}
		p, reason := r.one.point(text[:0], i)
		text = p.text
		if reason != "" {
			continue
		}
		if at[p.at] == nil {
			at[p.at] = &moment{at: p.at}
		}
		at[p.at].rows = append(at[p.at].rows, candidate{row: i, revision: p.revision})
	}
	r.moments = slices.SortedFunc(maps.Values(at), func(a, b *moment) int { return cmp.Compare(a.at, b.at) })
}

// write puts in the rows of the highest revision of each time. What the server refuses supersedes nothing:
// where none of them is left, the next lower revision is the highest.
func (r *replacing) write(ctx context.Context) (refused []connector.RowFault, err error) {
	for first, more := true, true; more; first = false {
		want := r.plan(first)
		if err := r.remove(ctx, r.mixed); err != nil {
			return nil, err
		}
		w := &writing{Sink: r.Sink}
		faults, err := w.all(ctx, r.lines(), r.rows, want)
		if err != nil {
			return nil, err
		}
		refused = append(refused, faults...)
		more = r.withdraw(faults)
	}
	return refused, nil
}

// plan says which rows are written: of each time those of the highest revision, and the first time also those
// that can't be points, so that they are refused.
func (r *replacing) plan(first bool) []bool {
	want := make([]bool, r.rows)
	for i := range want {
		want[i] = first && (r.wanted == nil || r.wanted[i])
	}
	for _, m := range r.moments {
		highest, _ := m.highest()
		for _, c := range m.rows {
			want[c.row] = !c.refused && c.revision == highest
		}
	}
	return want
}

// withdraw takes rows out that were refused, and reports whether a time has another highest revision now.
func (r *replacing) withdraw(faults []connector.RowFault) (lowered bool) {
	refused := make(map[int]bool, len(faults))
	for _, f := range faults {
		refused[f.Row] = true
	}
	for _, m := range r.moments {
		before, _ := m.highest()
		for i, c := range m.rows {
			m.rows[i].refused = c.refused || refused[c.row]
		}
		after, ok := m.highest()
		lowered = lowered || ok && after != before
	}
	return lowered
}

// superseded counts the rows that are lower than the highest revision of their time.
func (r *replacing) superseded() (n int64) {
	for _, m := range r.moments {
		highest, _ := m.highest()
		for _, c := range m.rows {
			if !c.refused && c.revision < highest {
				n++
			}
		}
	}
	return n
}

// series are the rows of the highest revision of a time, by what tells them apart.
func (r *replacing) series(m *moment, highest int64) map[string]int {
	out := make(map[string]int, len(m.rows))
	for _, c := range m.rows {
		if !c.refused && c.revision == highest {
			out[seriesOf(r.one.tagsOf(c.row))] = c.row
		}
	}
	return out
}

// seriesOf is a text that is the same for the same tags.
func seriesOf(tags map[string]string) string {
	var out []byte
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		if tags[name] != "" {
			out = strconv.AppendQuote(strconv.AppendQuote(out, name), tags[name])
		}
	}
	return string(out)
}

// left are the points of lower revisions that nothing was written over.
func (r *replacing) left(p standing, over map[string]int) bool {
	_, ok := over[seriesOf(p.tags)]
	return !ok
}

// mixed are the points of lower revisions that would be seen through what is written over them: they have a
// field that the new point has no value of.
func (r *replacing) mixed(p standing, over map[string]int) bool {
	row, ok := over[seriesOf(p.tags)]
	if !ok {
		return false
	}
	has := r.one.valuesOf(row)
	return slices.ContainsFunc(p.fields, func(name string) bool { return !has[name] })
}

// remove deletes those points of lower revisions that are picked.
func (r *replacing) remove(ctx context.Context, picked func(p standing, over map[string]int) bool) error {
	for _, m := range r.moments {
		highest, _ := m.highest()
		if !slices.ContainsFunc(m.there, func(p standing) bool { return p.below(highest) }) {
			continue
		}
		over := r.series(m, highest)
		var doomed, rest []standing
		for _, p := range m.there {
			if p.below(highest) && picked(p, over) {
				doomed = append(doomed, p)
			} else {
				rest = append(rest, p)
			}
		}
		if err := r.delete(ctx, m.at, doomed); err != nil {
			return err
		}
		m.there = rest
	}
	return nil
}

// delete deletes points of one time.
func (s *Sink) delete(ctx context.Context, at int64, points []standing) error {
	if len(points) == 0 {
		return nil
	}
	if err := s.hold(ctx, at); err != nil {
		return err
	}
	for some := range slices.Chunk(points, atOnce) {
		text, params := deletion(s.cfg.Measurement, at, some)
		if err := s.Query(ctx, text, params, func(Row) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// hold puts a series into the server's index that is never deleted. 1.6.7 with its default index (inmem)
// loses sight of a measurement, though all is on disk, until it is started again: once all those series are
// gone that it had at some earlier deletion. So one stays, that without tags, which no row has. Its point
// is refused, because no field can be called time, but only after the series was made: nobody sees it, it
// is not on disk, and so it is made anew each time.
func (s *Sink) hold(ctx context.Context, at int64) error {
	var e lineprotocol.Encoder
	e.SetPrecision(precisions[s.precision()].unit)
	e.StartLine(s.cfg.Measurement)
	e.AddField("time", lineprotocol.BoolValue(true))
	e.EndLine(time.Unix(0, at))
	return s.touch(ctx, e.Bytes())
}

// atOnce is how many points one statement deletes. Each walks over all that the server has in memory, so
// few are better.
const atOnce = 500

// deletion is the statement that deletes points of one time. What they have in common stands first, and
// leaves the server little to look at.
func deletion(measurement string, at int64, points []standing) (text string, params map[string]any) {
	params = map[string]any{"t": time.Unix(0, at)}
	is := func(name, value string) string {
		bound := fmt.Sprintf("p%d", len(params))
		params[bound] = value
		return identifier(name) + " = $" + bound
	}
	where := []string{"time = $t"}
	var apart []string
	for _, name := range slices.Sorted(maps.Keys(points[0].tags)) {
		value := points[0].tags[name]
		if slices.ContainsFunc(points, func(p standing) bool { return p.tags[name] != value }) {
			apart = append(apart, name)
		} else {
			where = append(where, is(name, value))
		}
	}
	var each []string
	for _, p := range points {
		terms := make([]string, len(apart))
		for i, name := range apart {
			terms[i] = is(name, p.tags[name])
		}
		each = append(each, "("+strings.Join(terms, " AND ")+")")
	}
	if len(apart) > 0 {
		where = append(where, "("+strings.Join(each, " OR ")+")")
	}
	return "DELETE FROM " + identifier(measurement) + " WHERE " + strings.Join(where, " AND "), params
}

// quiet is an outage while a deletion runs in the database: it may be ours, of an attempt that was given up.
func (s *Sink) quiet(ctx context.Context) error {
	return s.Query(ctx, "SHOW QUERIES", nil, func(row Row) error {
		text, _ := row.Value("query").(string)
		if row.Value("database") == s.cfg.Database && strings.HasPrefix(text, "DELETE") {
			return fault.New(fault.Transient, "a deletion of an earlier attempt still runs")
		}
		return nil
	})
}

// confirm is an outage if what stands is not what was written: something of an attempt that was given up came
// in between.
func (r *replacing) confirm(ctx context.Context) error {
	if err := r.quiet(ctx); err != nil {
		return err
	}
	highest, over := make([]int64, len(r.moments)), make([]map[string]int, len(r.moments))
	for i, m := range r.moments {
		highest[i], _ = m.highest()
		over[i] = r.series(m, highest[i])
	}
	if err := r.look(ctx, true); err != nil {
		return err
	}
	for i, m := range r.moments {
		at := time.Unix(0, m.at).UTC().Format(time.RFC3339Nano)
		for _, p := range m.there {
			if p.without || p.revision != highest[i] {
				return fault.New(fault.Transient, "a point of another revision than %d stands at %s",
					highest[i], at)
			}
			delete(over[i], seriesOf(p.tags))
		}
		if len(over[i]) > 0 {
			return fault.New(fault.Transient, "%d points of %s are gone again", len(over[i]), at)
		}
	}
	return nil
}

// look reads what stands at the times of the delivery. Behind the latest time of the measurement nothing
// does, so that what comes in the order of time asks nothing; all is for when that is not to be relied on.
func (r *replacing) look(ctx context.Context, all bool) error {
	if len(r.moments) == 0 {
		return nil
	}
	last := r.moments[len(r.moments)-1].at
	r.mu.Lock()
	latest, known := r.latest, r.knowsLatest
	r.mu.Unlock()
	if !known {
		var err error
		if latest, err = r.latestAfter(ctx, last); err != nil {
			return err
		}
	}
	ask := r.moments
	if !all {
		ask = slices.DeleteFunc(slices.Clone(ask), func(m *moment) bool { return m.at > latest })
	}
	for len(ask) > 0 {
		n := 1
		for n < len(ask) && ask[n].at-ask[n-1].at <= int64(together) {
			n++
		}
		if err := r.lookAt(ctx, ask[:n]); err != nil {
			return err
		}
		ask = ask[n:]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest, r.knowsLatest = max(latest, last), true
	return nil
}

// together is how far apart times may be that one question asks for: to the server the series of a question
// are much more work than the points of a day.
const together = 24 * time.Hour

// latestAfter is the time of the latest point after a time, or that time.
func (s *Sink) latestAfter(ctx context.Context, after int64) (int64, error) {
	text := "SELECT * FROM " + identifier(s.cfg.Measurement) + " WHERE time > $t ORDER BY time DESC LIMIT 1"
	params := map[string]any{"t": time.Unix(0, after)}
	err := s.Query(ctx, text, params, func(row Row) error {
		if at, ok := row.Time(); ok {
			after = at.UnixNano()
		}
		return nil
	})
	return after, err
}

// lookAt reads what stands at times that are in order.
func (r *replacing) lookAt(ctx context.Context, moments []*moment) error {
	at := make(map[int64]*moment, len(moments))
	for _, m := range moments {
		m.there = nil
		at[m.at] = m
	}
	text := "SELECT * FROM " + identifier(r.cfg.Measurement) +
		" WHERE time >= $first AND time <= $last GROUP BY *"
	params := map[string]any{"first": time.Unix(0, moments[0].at),
		"last": time.Unix(0, moments[len(moments)-1].at)}
	return r.Query(ctx, text, params, func(row Row) error {
		when, ok := row.Time()
		m := at[when.UnixNano()]
		if !ok || m == nil {
			return nil
		}
		p, err := r.standing(row)
		m.there = append(m.there, p)
		return err
	})
}

// standing is a row of an answer that is grouped by all tags.
func (s *Sink) standing(row Row) (standing, error) {
	p := standing{tags: row.Tags, without: true}
	for i, name := range row.Columns {
		if name == "time" || i >= len(row.Values) || row.Values[i] == nil {
			continue
		}
		p.fields = append(p.fields, name)
		if name != s.cfg.Replace {
			continue
		}
		n, ok := row.Values[i].(json.Number)
		revision, err := n.Int64()
		if !ok || err != nil {
			return p, fault.New(fault.Permanent, "%s of a point is %v, want an integer", name, row.Values[i])
		}
		p.revision, p.without = revision, false
	}
	return p, nil
}

// alone refuses to delete points where that would take those of other retention policies with them: InfluxDB
// deletes in all.
func (s *Sink) alone(ctx context.Context) error {
	var others []string
	err := s.Query(ctx, "SHOW RETENTION POLICIES", nil, func(row Row) error {
		name, _ := row.Value("name").(string)
		own := name == s.cfg.RetentionPolicy || s.cfg.RetentionPolicy == "" && row.Value("default") == true
		if !own {
			others = append(others, name)
		}
		return nil
	})
	for _, name := range others {
		if err != nil {
			break
		}
		text := "SHOW FIELD KEYS FROM " + identifier(name) + "." + identifier(s.cfg.Measurement)
		err = s.Query(ctx, text, nil, func(Row) error {
			return fault.WithHint(fault.New(fault.Permanent, "the retention policy %s has points of %s too, and "+
				"InfluxDB deletes a time in all policies", name, s.cfg.Measurement),
				"write into a measurement, or a database, that nothing else is in")
		})
	}
	return err
}
