package clickhouse

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/download"
	"holdfast/base/fault"
	"holdfast/connector"
)

// Every row stands between two marks. Neither a row that was cut off nor the words of an error, which
// ClickHouse puts behind the rows of an answer that began well, can have both.
const (
	rowBegin = "<"
	rowEnd   = ">"
)

const (
	// mostBytes is about the most that the rows of a page hold: behind it the page ends, and the next
	// one goes on there.
	mostBytes = 32 << 20
	// mostRow bounds one row.
	mostRow = 64 << 20
	// rawLimit is how much of a row that is refused is kept.
	rawLimit = 64 << 10
)

// lastRow is where a page ends.
type lastRow struct{ cursor, key []byte }

// rows makes a page of lines.
type rows struct {
	d        *description
	b        *array.RecordBuilder
	cells    []cell
	fields   [][]byte
	rejected []connector.Reject
	last     *lastRow
	n        int
}

func newRows(d *description) *rows {
	return &rows{d: d, b: array.NewRecordBuilder(memory.DefaultAllocator, d.schema.Schema),
		cells: make([]cell, len(d.columns)), fields: make([][]byte, len(d.columns))}
}

// errNoRow says that a line is none of the rows that were asked for.
var errNoRow = errors.New("a line that is no row")

// add takes a line, without its end.
func (r *rows) add(line []byte) error {
	inner, ok := bytes.CutPrefix(line, []byte(rowBegin+"\t"))
	inner, ok2 := bytes.CutSuffix(inner, []byte("\t"+rowEnd))
	if !ok || !ok2 || bytes.Count(inner, []byte{'\t'}) != len(r.fields)-1 {
		return errNoRow
	}
	for i := range r.fields {
		r.fields[i], inner, _ = bytes.Cut(inner, []byte{'\t'})
	}
	r.n++
	r.take()
	if r.last == nil {
		r.last = new(lastRow)
	}
	r.last.cursor = append(r.last.cursor[:0], r.fields[r.d.cursorAt]...)
	r.last.key = append(r.last.key[:0], r.fields[r.d.keyAt]...)
	return nil
}

// take makes a row or a reject of the fields.
func (r *rows) take() {
	var bad []string
	key := ""
	for i := range r.cells {
		c := &r.d.reading[i]
		var err error
		r.cells[i], err = c.read(r.fields[i])
		if i == r.d.keyAt && err == nil {
			if c.kind == asInt && int64(r.cells[i].bits) < 0 {
				err = errNegative
			} else if key = c.value(c.kept(r.fields[i])); key == "" {
				err = errors.New("is empty, which a key can't be")
			}
		}
		if err != nil {
			bad = append(bad, fmt.Sprintf("column %s: %v", c.Name, err))
		}
	}
	if len(bad) > 0 {
		r.rejected = append(r.rejected, connector.Reject{Raw: r.raw(), Key: key,
			Reason: strings.Join(bad, "; ")})
		return
	}
	for i, b := range r.b.Fields() {
		put(b, r.cells[i])
	}
}

// raw is the row with names and types, as TabSeparatedWithNamesAndTypes.
func (r *rows) raw() []byte {
	names, types := make([]string, len(r.d.columns)), make([]string, len(r.d.columns))
	for i, c := range r.d.columns {
		names[i], types[i] = tsvEscape.Replace(c.Name), tsvEscape.Replace(c.Type)
	}
	out := []byte(strings.Join(names, "\t") + "\n" + strings.Join(types, "\t") + "\n")
	out = append(out, bytes.Join(r.fields, []byte{'\t'})...)
	return out[:min(len(out), rawLimit)]
}

var tsvEscape = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`)

func (r *rows) batch() arrow.RecordBatch { return r.b.NewRecordBatch() }

// read takes the lines of an answer until it ends, or the page is full; cut says the latter.
func (r *rows) read(ans *reply) (cut bool, err error) {
	in := bufio.NewReaderSize(ans.body, 256<<10)
	var line []byte
	for {
		line = line[:0]
		for err = bufio.ErrBufferFull; errors.Is(err, bufio.ErrBufferFull); {
			var part []byte
			part, err = in.ReadSlice('\n')
			if line = append(line, part...); len(line) > mostRow {
				return false, fault.WithHint(fault.New(fault.Permanent, "a row has more than %d bytes", mostRow),
					"leave large columns out with columns, or cut them with query")
			}
		}
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return false, nil
		}
		if err == nil {
			err = r.add(bytes.TrimSuffix(line, []byte{'\n'}))
		}
		if err != nil {
			return false, refusal(ans.Response, in, line, err)
		}
		if ans.body.N >= mostBytes {
			return true, nil
		}
	}
}

// refusal is what ended an answer before its end. ClickHouse's own words, which may stand behind rows,
// say more than the end of the connection that follows.
func refusal(res *http.Response, in io.Reader, line []byte, err error) error {
	rest, _ := io.ReadAll(io.LimitReader(in, rawLimit))
	words := string(line[max(0, len(line)-rawLimit):]) + string(rest)
	said := words
	if at := codeBegin.FindStringIndex(words); at != nil {
		said = words[at[0]:]
	}
	// Without a code the words may be those of a row, of which a part was cut off.
	if e := judge(res, said); code(e) != 0 {
		return e
	}
	if errors.Is(err, errNoRow) || errors.Is(err, io.EOF) {
		return garbage("%w: %s", errNoRow, excerpt(words))
	}
	return err
}

// codeBegin finds ClickHouse's words where they follow a row that was begun.
var codeBegin = regexp.MustCompile(`Code: \d+[,.].*DB::`)

// reply is an answer that is being read.
type reply struct {
	*http.Response
	body  *download.Body // read this, not Response.Body
	watch *download.Watch
}

func (r *reply) close() {
	r.watch.Stop()
	_ = r.Body.Close()
}

// ask sends a question by GET, with which no server changes anything, and returns its answer once the
// status is a success.
func (s *Source) ask(ctx context.Context, sql string) (*reply, error) {
	w := download.NewWatch(ctx, "timeout", s.cfg.Timeout, s.cfg.PageTimeout)
	params := url.Values{"query": {sql}}
	if !s.readonly {
		params.Set("max_execution_time", strconv.Itoa(int(s.cfg.PageTimeout.Seconds())+1))
	}
	u := *s.client.base
	u.Path = "/" + strings.TrimPrefix(u.Path, "/")
	u.RawQuery = params.Encode()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, u.String(), nil)
	if err != nil {
		w.Stop()
		return nil, fault.New(fault.Permanent, "make request: %w", err)
	}
	s.client.identify(req)
	res, err := s.client.http.Do(req)
	if err != nil {
		w.Stop()
		return nil, s.client.unreachable(ctx, nil, w.Explain(ctx, err))
	}
	from := &explained{res.Body, func(err error) error {
		return s.client.unreachable(ctx, nil, fmt.Errorf("read answer: %w", w.Explain(ctx, err)))
	}}
	r := &reply{res, &download.Body{From: from, Limit: s.limit, Watch: w}, w}
	if res.StatusCode != http.StatusOK {
		defer r.close()
		words, _ := io.ReadAll(io.LimitReader(r.body, rawLimit))
		return nil, judge(res, string(words))
	}
	return r, nil
}

// explained gives the errors of a body their cause.
type explained struct {
	io.Reader
	why func(error) error
}

func (e *explained) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = e.why(err)
	}
	return n, err
}
