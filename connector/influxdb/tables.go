package influxdb

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/base/fault"
	"holdfast/connector"
)

// Tables reads the measurements of a database of 1.x back. A column is a tag or a field, whichever the
// measurement has; one that it has not is null in every row, because InfluxDB knows no columns that nothing
// was written to.
//
// InfluxDB knows no rows either: a question for fields is answered with the points that have one of them.
// So that a row of which all else is null is not left out, a question asks for all fields of the
// measurement, unless one of its own is told to be in every point. That counts: the server's work grows
// with series times fields.
type Tables struct {
	c      *Client
	always map[string]bool // fields that no point lacks
}

var _ connector.Tables = (*Tables)(nil)

// OpenTables returns a reader of the database that a configuration names; what it says of points is not
// looked at, but for Replace. always are names of fields that every point has, in each measurement that has
// the field at all: columns that can't be null. A point that lacks it nevertheless may not be found. It
// touches nothing.
func OpenTables(cfg Config, always ...string) (*Tables, error) {
	if cfg.Bucket != "" {
		return nil, fault.New(fault.Permanent, "open influxdb: a bucket can't be read back, because no server of 2.x "+
			"or 3.x was tried; a database can")
	}
	c, err := NewClient(cfg)
	if err != nil {
		return nil, err
	}
	t := &Tables{c: c, always: map[string]bool{}}
	for _, name := range append(always, cfg.Replace) {
		t.always[name] = name != ""
	}
	return t, nil
}

// Close gives up idle connections.
func (t *Tables) Close() error {
	t.c.Close()
	return nil
}

// Rows yields the points of a measurement. Texts that Equal wants are those of tags, or of fields that are
// strings; an empty text of a tag is that of the points without it.
func (t *Tables) Rows(ctx context.Context, q connector.TableQuery, yield func(values []any) error) error {
	a, err := t.question(ctx, q)
	if err != nil || a == nil {
		return err
	}
	for _, name := range q.Columns {
		a.add(name)
	}
	t.seeAll(a)
	text := a.text()
	if q.Limit > 0 {
		text += " LIMIT " + strconv.Itoa(q.Limit)
	}
	values := make([]any, len(q.Columns))
	return none(t.c.Query(ctx, text, a.params, func(r Row) error {
		for i, name := range q.Columns {
			v, err := a.value(r, name)
			if err != nil {
				return t.c.classify("read", err)
			}
			values[i] = v
		}
		return yield(values)
	}))
}

// recent is how far back from now, or from the end of the query, Newest looks first: the week that a server
// cuts its time into.
const recent = 7 * 24 * time.Hour

// Newest is the time of the newest point. It looks for a recent one first, for the server's work grows with
// the weeks too.
func (t *Tables) Newest(ctx context.Context, q connector.TableQuery) (at time.Time, ok bool, err error) {
	late, early := q, q
	late.From = time.Now().Add(-recent)
	if !q.To.IsZero() && q.To.Before(time.Now()) {
		late.From = q.To.Add(-recent)
	}
	if q.From.After(late.From) {
		return t.newest(ctx, q)
	}
	if at, ok, err = t.newest(ctx, late); ok || err != nil {
		return at, ok, err
	}
	early.To = late.From
	return t.newest(ctx, early)
}

func (t *Tables) newest(ctx context.Context, q connector.TableQuery) (at time.Time, ok bool, err error) {
	a, err := t.question(ctx, q)
	if err != nil || a == nil {
		return at, false, err
	}
	t.seeAll(a)
	err = none(t.c.Query(ctx, a.text()+" ORDER BY time DESC LIMIT 1", a.params, func(r Row) error {
		at, ok = r.Time()
		return nil
	}))
	return at, ok, err
}

// question is a query as it is asked.
type question struct {
	q      connector.TableQuery
	types  map[string][]string // of the fields
	asked  []string            // the tags and fields that are selected
	place  map[string]int      // of a column in a row of the answer; the time is the first
	where  []string
	params map[string]any
}

// question prepares to ask; it is nil if the server was asked and there can be no such rows.
func (t *Tables) question(ctx context.Context, q connector.TableQuery) (*question, error) {
	if badName(q.Table) != "" { // no point can have it, nor any query name it
		return nil, nil
	}
	a := &question{q: q, place: map[string]int{"time": 0, cmp.Or(q.Time, "time"): 0}, params: map[string]any{}}
	// Also for a time that it can't hold the server is asked: who hears that there is nothing may rely on that.
	var err error
	if a.types, err = t.c.fieldTypes(ctx, q.Table); err != nil || len(a.types) == 0 || !a.within() {
		return nil, none(err)
	}
	if some, err := a.equal(); err != nil || !some {
		return nil, err
	}
	return a, nil
}

// bind returns the parameter that a value is bound to.
func (a *question) bind(v any) string {
	name := "p" + strconv.Itoa(len(a.params))
	a.params[name] = v
	return "$" + name
}

// within bounds the time; false if nothing is within. A time that the server can't hold is no bound to it.
func (a *question) within() bool {
	from, to := a.q.From, a.q.To
	first, last := time.Unix(0, firstTime), time.Unix(0, lastTime)
	switch {
	case from.After(last) || !to.IsZero() && (!to.After(first) || !to.After(from)):
		return false
	case from.After(first):
		a.where = append(a.where, "time >= "+a.bind(from))
	}
	if !to.IsZero() && !to.After(last) {
		a.where = append(a.where, "time < "+a.bind(to))
	}
	return true
}

// equal adds the texts that are wanted; false if no row can have them.
func (a *question) equal() (bool, error) {
	for _, name := range slices.Sorted(maps.Keys(a.q.Equal)) {
		text, types := a.q.Equal[name], a.types[name]
		switch {
		case a.isTime(name) || len(types) > 0 && !slices.Contains(types, typeString):
			return false, fault.New(fault.Permanent, "read %s: column %s is no text", a.q.Table, name)
		case badColumn(name) != "" || !utf8.ValidString(text):
			return false, nil
		}
		a.where = append(a.where, a.column(name)+" = "+a.bind(text))
	}
	return true, nil
}

func (a *question) isTime(name string) bool { return name == "time" || name == a.q.Time }

// column is what a query calls a column.
func (a *question) column(name string) string {
	if len(a.types[name]) > 0 {
		return identifier(name) + "::field"
	}
	return identifier(name) + "::tag"
}

// add selects a column, if there can be such a one.
func (a *question) add(name string) {
	if _, ok := a.place[name]; ok || badColumn(name) != "" {
		return
	}
	a.asked = append(a.asked, a.column(name))
	a.place[name] = len(a.asked)
}

// seeAll selects what every point has: a field of which that is known, else all of them.
func (t *Tables) seeAll(a *question) {
	known := ""
	for _, name := range slices.Sorted(maps.Keys(a.types)) {
		if _, asked := a.place[name]; t.always[name] && (known == "" || asked) {
			known = name
		}
	}
	if known != "" {
		a.add(known)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(a.types)) {
		a.add(name)
	}
}

func (a *question) text() string {
	text := "SELECT " + strings.Join(a.asked, ", ") + " FROM " + identifier(a.q.Table)
	if len(a.where) > 0 {
		text += " WHERE " + strings.Join(a.where, " AND ")
	}
	return text
}

// value is the value of a column in a row. A number is what its field is: JSON has 3 for the float 3.0.
func (a *question) value(r Row, name string) (any, error) {
	place, ok := a.place[name]
	switch {
	case !ok:
		return nil, nil
	case place >= len(r.Values):
		return nil, fault.New(fault.Transient, "%w: a row of %d values", errNotInflux, len(r.Values))
	case place == 0:
		at, ok := r.Time()
		if !ok {
			return nil, fault.New(fault.Transient, "%w: a row without a time", errNotInflux)
		}
		return at, nil
	}
	n, ok := r.Values[place].(json.Number)
	if !ok {
		return r.Values[place], nil
	}
	var v any
	var err error
	if slices.Contains(a.types[name], typeFloat) {
		v, err = n.Float64()
	} else {
		v, err = n.Int64()
	}
	if err != nil {
		return nil, fault.New(fault.Permanent, "column %s: %w", name, err)
	}
	return v, nil
}
