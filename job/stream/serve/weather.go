package serve

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/stream/report"
)

// The headers by which an answer about one window says which, and whether everything of the window was there.
// They are no part of the answer because that is WeatherVane's.
const (
	windowHeader   = "Holdfast-Window"
	revisionHeader = "Holdfast-Revision"
	completeHeader = "Holdfast-Complete"
	lostHeader     = "Holdfast-Lost"
)

// ofWindow are these headers.
var ofWindow = []string{windowHeader, revisionHeader, completeHeader, lostHeader}

// The reports of WeatherVane.
const (
	averagesTable = "weather_averages"
	extremesTable = "zip_code_extremes"
)

// route makes a question of the parameters of a request.
type route func(p *params) (question, error)

// weather makes the routes of WeatherVane of the reports that there are.
func (j *Job) weather() error {
	j.routes, j.probed = map[string]route{}, j.cfg.Reports[0].Table
	averages, err := j.find(j.cfg.Averages, averagesTable, false)
	if err != nil {
		return err
	}
	if averages != nil {
		j.probed = averages.Table
		columns, means := meansOf(averages)
		j.routes["/avg"] = j.averages(averages, columns)
		j.routes["/state_extremes"] = j.tops("/state_extremes", averages, "", averages.Group[0], columns, means)
	}
	extremes, err := j.find(j.cfg.Extremes, extremesTable, true)
	if err != nil || extremes == nil {
		return err
	}
	columns, metrics := extremesOf(extremes)
	j.routes["/extremes"] = j.tops("/extremes", extremes, extremes.Group[0], extremes.Member, columns, metrics)
	return nil
}

// find returns the report of a name, which must be one of groups, and of their members or not. Without a name
// it is the usual one, if that is such a report; else nil.
func (j *Job) find(name, usual string, members bool) (*report.Report, error) {
	at := slices.Index(j.names(), cmp.Or(name, usual))
	why := ""
	switch {
	case at < 0:
		why = "there is no such report"
	case len(j.cfg.Reports[at].Group) != 1:
		why = "want one column of groups to be asked by"
	case (j.cfg.Reports[at].Member != "") != members:
		why = "want averages of groups, and extremes of their members"
	default:
		return &j.cfg.Reports[at], nil
	}
	if name == "" {
		return nil, nil
	}
	return nil, fmt.Errorf("report %s: %s", name, why)
}

// metric is something that was measured: where its highest and its lowest value stand among columns, -1 for
// none.
type metric struct {
	name      string
	high, low int
}

// meansOf are the columns of a report's means, and the metrics that they are of.
func meansOf(r *report.Report) (columns []string, metrics []metric) {
	for _, v := range r.Values {
		if v.Mean != "" {
			metrics = append(metrics, metric{v.Mean, len(columns), len(columns)})
			columns = append(columns, v.Name())
		}
	}
	return columns, metrics
}

// extremesOf are the columns of a report's extremes, and the metrics that they are of.
func extremesOf(r *report.Report) (columns []string, metrics []metric) {
	for _, v := range r.Values {
		name := cmp.Or(v.Max, v.Min)
		if name == "" {
			continue
		}
		i := slices.IndexFunc(metrics, func(m metric) bool { return m.name == name })
		if i < 0 {
			i = len(metrics)
			metrics = append(metrics, metric{name, -1, -1})
		}
		if v.Max != "" {
			metrics[i].high = len(columns)
		} else {
			metrics[i].low = len(columns)
		}
		columns = append(columns, v.Name())
	}
	return columns, metrics
}

// about asks for the newest report of an hour of the day, of one group or, without its column, of all.
func about(p *params, path, table, group string) (connector.TableQuery, string, error) {
	q := connector.TableQuery{Table: table, Time: report.Time, Equal: map[string]string{}}
	key := url.Values{}
	if group != "" {
		q.Equal[group] = p.needed("state")
		key.Set("state", q.Equal[group])
	}
	if text := p.needed("hour"); text != "" {
		q.Equal[report.Hour] = p.hour(text)
		key.Set("hour", q.Equal[report.Hour])
	}
	var dated bool
	if q.From, q.To, dated = p.day(); dated {
		key.Set("date", q.From.Format(time.DateOnly))
	}
	return q, path + "?" + key.Encode(), p.err()
}

// averages is /avg: the averages of a group.
func (j *Job) averages(of *report.Report, means []string) route {
	head := []string{of.Group[0], report.Hour, report.Time, report.Complete, report.Lost, report.Revision}
	columns := append(head, means...)
	return func(p *params) (question, error) {
		q, key, err := about(p, "/avg", of.Table, of.Group[0])
		q.Columns = columns
		return question{key: key, kind: jsonType, ask: func(ctx context.Context, out *reply) error {
			var row []any
			var w window
			err := j.newest(ctx, q, func(at time.Time) { row, w = nil, window{at: at} }, func(values []any) error {
				if w.add(values[5], values[3], values[4]) || row == nil {
					row = append(row[:0], values...)
				}
				return nil
			})
			if err != nil {
				return err
			}
			w.say(out.header)
			return out.wrote(append(appendObject(nil, q.Columns, row), '\n'))
		}}, err
	}
}

// tops are /extremes, who of a group has the highest and the lowest value of each metric, and
// /state_extremes, which groups have.
func (j *Job) tops(path string, of *report.Report, group, who string, columns []string,
	metrics []metric) route {
	head := []string{who, report.Revision, report.Complete, report.Lost}
	all := append(head, columns...)
	return func(p *params) (question, error) {
		q, key, err := about(p, path, of.Table, group)
		q.Columns = all
		return question{key: key, kind: jsonType, ask: func(ctx context.Context, out *reply) error {
			var w window
			var high, low []top
			begin := func(at time.Time) {
				w, high, low = window{at: at}, make([]top, len(metrics)), make([]top, len(metrics))
			}
			err := j.newest(ctx, q, begin, func(values []any) error {
				w.add(values[1], values[2], values[3])
				name, _ := values[0].(string)
				var revision int64
				if group != "" { // else a row is a group's, and a younger one is written over it
					revision, _ = values[1].(int64)
				}
				for i, m := range metrics {
					high[i].meet(name, values[len(head):], m.high, revision, true)
					low[i].meet(name, values[len(head):], m.low, revision, false)
				}
				return nil
			})
			if err != nil {
				return err
			}
			w.say(out.header)
			b := appendTops([]byte(`{"max":`), who, metrics, high)
			b = appendTops(append(b, `,"min":`...), who, metrics, low)
			return out.wrote(append(b, "}\n"...))
		}}, err
	}
}

// top is who has the highest or the lowest value of a metric.
type top struct {
	who      string
	value    any // nil for nobody
	revision int64
}

// meet takes the value of a row in the column at, if that is further than t. A report that is being replaced may have
// rows of two revisions, of which the younger counts; of equal values the one whose name comes first.
func (t *top) meet(who string, values []any, at int, revision int64, high bool) {
	if at < 0 {
		return
	}
	theirs, ok := number(values[at])
	if !ok {
		return
	}
	ours, some := number(t.value)
	switch {
	case !some || revision > t.revision:
	case revision < t.revision:
		return
	case theirs == ours && who >= t.who, theirs != ours && theirs > ours != high:
		return
	}
	*t = top{who, values[at], revision}
}

// number is a value that can be compared; ok is false for what is none.
func number(v any) (f float64, ok bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	}
	return 0, false
}

// appendTops appends who is at the top of each metric, which is left out if nobody is.
func appendTops(b []byte, who string, metrics []metric, tops []top) []byte {
	b = append(b, '{')
	for i, t := range tops {
		if t.value == nil {
			continue
		}
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(appendText(b, metrics[i].name), ':')
		b = appendObject(b, []string{who, "value"}, []any{t.who, t.value})
	}
	return append(b, '}')
}

// window is what rows say of the window that they report.
type window struct {
	at                       time.Time
	revision, complete, lost any
}

// add takes what a row says; it reports whether that is a younger revision than any before.
func (w *window) add(revision, complete, lost any) bool {
	has, _ := w.revision.(int64)
	is, _ := revision.(int64)
	if w.revision != nil && is <= has {
		return false
	}
	w.revision, w.complete, w.lost = revision, complete, lost
	return true
}

// say puts it into the headers of an answer. What no row says is not there.
func (w *window) say(h http.Header) {
	h.Set(windowHeader, w.at.UTC().Format(time.RFC3339Nano))
	if n, ok := w.revision.(int64); ok {
		h.Set(revisionHeader, strconv.FormatInt(n, 10))
	}
	if b, ok := w.complete.(bool); ok {
		h.Set(completeHeader, strconv.FormatBool(b))
	}
	if n, ok := w.lost.(int64); ok {
		h.Set(lostHeader, strconv.FormatInt(n, 10))
	}
}

const (
	// tries is how often the rows of a report are asked for that Newest knew of, settle the pause between.
	tries  = 5
	settle = 50 * time.Millisecond
)

// newest gives the rows of the newest time that fits q. If there is none, the error is of the kind NotFound.
func (j *Job) newest(ctx context.Context, q connector.TableQuery, begin func(at time.Time),
	row func(values []any) error) error {
	for range tries {
		at, ok, err := j.cfg.Tables.Newest(ctx, q)
		if err != nil {
			return err
		}
		if !ok {
			return noReport(q)
		}
		one, rows := q, 0
		one.From, one.To = at, at.Add(1)
		begin(at)
		err = j.cfg.Tables.Rows(ctx, one, func(values []any) error {
			rows++
			return row(values)
		})
		if err != nil || rows > 0 {
			return err
		}
		// Between the two questions the report was deleted, to be replaced by a newer revision.
		select {
		case <-time.After(settle):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errReplaced
}

// errReplaced says nothing about the health of the database.
var errReplaced = fault.New(fault.Transient, "the report is being replaced")

func noReport(q connector.TableQuery) error {
	what := "there is no report of hour " + q.Equal[report.Hour]
	for name, text := range q.Equal {
		if name != report.Hour {
			what += " for the " + name + " " + strconv.Quote(text)
		}
	}
	if !q.To.IsZero() {
		what += " on " + q.From.Format(time.DateOnly)
	}
	return fault.WithHint(fault.New(fault.NotFound, "%s", what),
		"/api/v1/reports?table=%s shows those that there are", url.QueryEscape(q.Table))
}
