package serve

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/stream/report"
)

const (
	usualRows = 10_000
	mostRows  = 1_000_000

	csvType = "text/csv; charset=utf-8"
	// moreHeader says in the trailer of an answer in CSV whether there are more rows than the limit.
	moreHeader = "Holdfast-More"
)

// reserved are parameters of /api/v1/reports that are no columns.
var reserved = []string{"table", "from", "to", "limit", "format"}

// ServeReports answers as /api/v1/reports does, to a request that another server has let in. When the job stops, its
// answer has the time of Grace as others have.
func (j *Job) ServeReports(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		select {
		case <-j.gaveUp:
			cancel()
		case <-ctx.Done():
		}
	})
	j.counted(http.HandlerFunc(j.reports)).ServeHTTP(w, r.WithContext(ctx))
}

// reports is /api/v1/reports: the rows of a table, or which tables there are.
func (j *Job) reports(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept")
	p := readParams(r)
	name, ok := p.text("table")
	if !ok {
		j.tables(w, p)
		return
	}
	at := slices.Index(j.names(), name)
	if at < 0 {
		refuse(w, fault.WithHint(fault.New(fault.NotFound, "there is no report %.100q", name), "reports are: %s",
			strings.Join(j.names(), ", ")))
		return
	}
	of := j.cfg.Reports[at]
	q := connector.TableQuery{Table: name, Time: report.Time, Columns: columnsOf(of), Equal: map[string]string{}}
	q.From, q.To = p.span()
	for _, name := range of.Tags() {
		if text, ok := p.text(name); ok {
			if name == report.Hour {
				text = p.hour(text)
			}
			q.Equal[name] = text
		}
	}
	limit := p.limit(usualRows, mostRows)
	q.Limit = limit + 1 // so that it is known whether there are more
	format := formatOf(p, r)
	if err := p.err(); err != nil {
		refuse(w, err)
		return
	}
	key := "reports?" + r.URL.Query().Encode()
	if format == "csv" {
		j.put(w, r, question{key: key + "#csv", kind: csvType, long: true, ask: j.inCSV(q, limit)})
		return
	}
	j.put(w, r, question{key: key, kind: jsonType, long: true, ask: j.inJSON(q, limit)})
}

// formatOf is json or csv.
func formatOf(p *params, r *http.Request) string {
	format, ok := p.text("format")
	switch {
	case !ok && strings.Contains(r.Header.Get("Accept"), "text/csv"):
		return "csv"
	case !ok:
		return "json"
	case format != "json" && format != "csv":
		p.bad("format: want json or csv, got %.50q", format)
	}
	return format
}

func (j *Job) names() []string {
	out := make([]string, len(j.cfg.Reports))
	for i, r := range j.cfg.Reports {
		out[i] = r.Table
	}
	return out
}

// columnsOf are all columns of a report.
func columnsOf(r report.Report) []string {
	out := append([]string{report.Time}, r.Tags()...)
	for _, v := range r.Values {
		out = append(out, v.Name())
	}
	return append(out, report.Complete, report.Lost, report.Revision)
}

// tables answers with the reports that there are.
func (j *Job) tables(w http.ResponseWriter, p *params) {
	if err := p.err(); err != nil {
		refuse(w, fault.WithHint(err, "without a table there are no other parameters; reports are: %s",
			strings.Join(j.names(), ", ")))
		return
	}
	type table struct {
		Table   string   `json:"table"`
		Columns []string `json:"columns"`
		Filters []string `json:"filters"`
	}
	out := make([]table, len(j.cfg.Reports))
	for i, r := range j.cfg.Reports {
		out[i] = table{r.Table, columnsOf(r), r.Tags()}
	}
	w.Header().Set("Content-Type", jsonType)
	_ = json.NewEncoder(w).Encode(map[string]any{"tables": out})
}

// errEnough ends the reading of rows at the limit.
var errEnough = errors.New("enough")

// rows calls row for at most limit rows, and says whether there are more.
func (j *Job) rows(ctx context.Context, q connector.TableQuery, limit int,
	row func(values []any) error) (more bool, err error) {
	n := 0
	err = j.cfg.Tables.Rows(ctx, q, func(values []any) error {
		if n++; n > limit {
			return errEnough
		}
		return row(values)
	})
	if errors.Is(err, errEnough) {
		return true, nil
	}
	return false, err
}

func (j *Job) inJSON(q connector.TableQuery, limit int) func(context.Context, *reply) error {
	return func(ctx context.Context, out *reply) error {
		b := append(appendText([]byte(`{"table":`), q.Table), `,"rows":[`...)
		out.buf = b
		before := "\n"
		more, err := j.rows(ctx, q, limit, func(values []any) error {
			b := append(out.buf, before...)
			before = ",\n"
			return out.wrote(appendObject(b, q.Columns, values))
		})
		if err != nil {
			return err
		}
		return out.wrote(append(strconv.AppendBool(append(out.buf, "\n],\"more\":"...), more), "}\n"...))
	}
}

func (j *Job) inCSV(q connector.TableQuery, limit int) func(context.Context, *reply) error {
	return func(ctx context.Context, out *reply) error {
		out.header.Set("Content-Disposition", mime.FormatMediaType("attachment",
			map[string]string{"filename": fileName(q.Table)}))
		out.header.Set("Trailer", moreHeader)
		names := make([]any, len(q.Columns))
		for i, name := range q.Columns {
			names[i] = name
		}
		out.buf = appendRecord(nil, names)
		more, err := j.rows(ctx, q, limit, func(values []any) error {
			return out.wrote(appendRecord(out.buf, values))
		})
		if err != nil {
			return err
		}
		if err := out.end(); err != nil {
			return err
		}
		out.w.Header().Set(moreHeader, strconv.FormatBool(more))
		return nil
	}
}

// fileName is how a browser is to call the rows of a table.
func fileName(table string) string {
	return strings.NewReplacer("/", "_", `\`, "_").Replace(table) + ".csv"
}
