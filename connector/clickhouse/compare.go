package clickhouse

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/fault"
	"holdfast/base/record"
)

func (p portion) row(i int) int32 {
	if p.rows == nil {
		return int32(i)
	}
	return p.rows[i]
}

func (p portion) all() []int32 {
	if p.rows != nil {
		return p.rows
	}
	out := make([]int32, p.n)
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

// missing returns the rows of a portion whose keys are not in the table.
func (w *writing) missing(ctx context.Context, p portion) (portion, error) {
	if w.m.text != nil {
		return w.missingTexts(ctx, p)
	}
	keys, ok := record.Keys(w.d.Schema, w.d.Rows)
	if !ok {
		return p, fault.New(fault.Permanent, "clickhouse: a key is not an integer of 0 or more")
	}
	if err := w.sync(ctx); err != nil {
		return p, err
	}
	rows := slices.Clone(p.all())
	slices.SortFunc(rows, func(a, b int32) int {
		switch x, y := keys[a], keys[b]; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return int(a) - int(b)
	})
	have := make([]bool, len(rows))
	if err := w.look(ctx, keys, rows, have); err != nil {
		return p, err
	}
	return p.without(rows, have), nil
}

// without returns the portion without those of its rows for which have is set.
func (p portion) without(rows []int32, have []bool) portion {
	var rest []int32
	for i, r := range rows {
		if !have[i] {
			rest = append(rest, r)
		}
	}
	if len(rest) == p.n {
		return p
	}
	slices.Sort(rest)
	return portion{mark: p.mark, rows: rest, n: len(rest), part: true}
}

// missingTexts is missing for keys of text: they are asked for one by one.
func (w *writing) missingTexts(ctx context.Context, p portion) (portion, error) {
	key, ok := record.TextKeys(w.d.Schema, w.d.Rows)
	if !ok {
		return p, fault.New(fault.Permanent, "clickhouse: a key is not a text")
	}
	if err := w.sync(ctx); err != nil {
		return p, err
	}
	rows := p.all()
	have := make([]bool, len(rows))
	for from := 0; from < len(rows); {
		to, list := from, make([]string, 0, listedKeys)
		for size := 0; to < len(rows) && len(list) < listedKeys; to++ {
			k := literal(string(key(int(rows[to]))))
			if size += len(k) + 1; size > listedBytes {
				break
			}
			list = append(list, k)
		}
		// One line in any case: an answer that is cut has no end of line.
		a, err := w.s.client.ask(ctx, "SELECT arrayStringConcat(groupUniqArray(concat('.', hex("+
			name(w.m.text.name)+"))), ',') FROM "+w.tab.name+" WHERE "+w.times(rows[from:to])+name(w.m.text.name)+" IN ("+
			strings.Join(list, ",")+")")
		if err != nil {
			return p, err
		}
		got, err := a.rows(1)
		if err == nil && len(got) != 1 {
			err = garbage("asked for keys: %s", excerpt(a.body))
		}
		if err != nil {
			return p, err
		}
		there := map[string]bool{}
		for _, h := range strings.Split(got[0][0], ",") {
			there[h] = true
		}
		for i := from; i < to; i++ {
			have[i] = there[fmt.Sprintf(".%X", key(int(rows[i])))]
		}
		from = to
	}
	return p.without(rows, have), nil
}

// sync makes a replica show what others have taken.
func (w *writing) sync(ctx context.Context) error {
	if !w.tab.replicated() {
		return nil
	}
	_, err := w.s.client.ask(ctx, "SYSTEM SYNC REPLICA "+w.tab.name)
	if err != nil {
		return fault.WithHint(fmt.Errorf("wait for replica: %w", err),
			"to compare keys with a replicated table the user needs the right SYSTEM SYNC REPLICA")
	}
	return nil
}

const (
	// keyRanges is how many ranges of keys one question names at most.
	keyRanges = 32
	// listedKeys is how many keys one question lists: 20 digits each, they stay below the server's
	// default limits of 256 KiB and 50,000 elements a query.
	listedKeys = 10_000
	// listedBytes is the same limit for keys of text, and maxKey the longest of them, in bytes: escaped it
	// is twice as long.
	listedBytes = 200_000
	maxKey      = 64 << 10
)

// look sets have for the rows, which are sorted by key, whose keys are in the table. Where the rows
// are most of what lies in their ranges of keys and times, it asks for all keys in the ranges, else
// for those of the rows.
func (w *writing) look(ctx context.Context, keys []uint64, rows []int32, have []bool) error {
	within := w.times(rows) + rangesOf(name(w.m.key.name), keys, rows)
	a, err := w.s.client.ask(ctx, "SELECT count() FROM "+w.tab.name+" WHERE "+within)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSpace(a.body))
	switch {
	case err != nil:
		return garbage("asked for a count: %s", excerpt(a.body))
	case n == 0:
		return nil
	case n <= 4*len(rows)+listedKeys:
		return w.s.keys(ctx, w.s.cfg.Timeout, w.keysQuery(within), w.mark(keys, rows, have))
	}
	for from := 0; from < len(rows); from += listedKeys {
		to := min(from+listedKeys, len(rows))
		part := rows[from:to]
		list := make([]string, len(part))
		for i, r := range part {
			list[i] = strconv.FormatUint(keys[r], 10)
		}
		within := w.times(part) + name(w.m.key.name) + " IN (" + strings.Join(list, ",") + ")"
		err := w.s.keys(ctx, w.s.cfg.Timeout, w.keysQuery(within), w.mark(keys, part, have[from:to]))
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writing) keysQuery(within string) string {
	k := name(w.m.key.name)
	return "SELECT " + k + ", count() FROM " + w.tab.name + " WHERE " + within + " GROUP BY " + k +
		" WITH TOTALS"
}

// mark returns a function that sets have for every row with a key.
func (w *writing) mark(keys []uint64, rows []int32, have []bool) func(key, n uint64) error {
	return func(key, _ uint64) error {
		i, _ := slices.BinarySearchFunc(rows, key, func(r int32, k uint64) int {
			switch {
			case keys[r] < k:
				return -1
			case keys[r] > k:
				return 1
			}
			return 0
		})
		for ; i < len(rows) && keys[rows[i]] == key; i++ {
			have[i] = true
		}
		return nil
	}
}

// times is a condition on the event time, so that the primary index serves; empty without one. To
// compare with rows that somebody else has written it is two days wider: a predecessor that wrote
// local times must not make its rows invisible.
func (w *writing) times(rows []int32) string {
	if w.m.time == nil || w.m.time.kind.nullable {
		return ""
	}
	v := w.d.Rows.Column(w.m.time.field).(*array.Timestamp).TimestampValues()
	lo := w.m.time.seconds(int64(v[rows[0]]))
	hi := lo
	for _, r := range rows {
		t := w.m.time.seconds(int64(v[r]))
		lo, hi = min(lo, t), max(hi, t)
	}
	if w.d.ByKey {
		const day = int64(24 * time.Hour / time.Second)
		lo, hi = lo-day, hi+day
	}
	return w.m.time.between(lo, hi) + " AND "
}

// between is the condition that a column of times lies in the seconds from lo to hi, both included.
func (c column) between(lo, hi int64) string {
	at := func(t int64) string { return fmt.Sprintf("toDateTime64(%d, %d)", t, c.kind.scale) }
	if c.kind.family == dateTime {
		at = func(t int64) string { return fmt.Sprintf("toDateTime(%d)", t) }
		if lo = min(max(lo, 0), 1<<32-1); hi >= 1<<32-1 {
			return name(c.name) + " >= " + at(lo) // the next second is none that the column can hold
		}
	}
	return fmt.Sprintf("%s >= %s AND %[1]s < %[3]s", name(c.name), at(lo), at(hi+1))
}

// rangesOf is the condition that a key is in one of the ranges that cover the rows' keys: few
// ranges, cut where the gaps are widest.
func rangesOf(column string, keys []uint64, rows []int32) string {
	type gap struct {
		at   int // between rows at-1 and at
		size uint64
	}
	var gaps []gap
	for i := 1; i < len(rows); i++ {
		if d := keys[rows[i]] - keys[rows[i-1]]; d > 1000 {
			gaps = append(gaps, gap{i, d})
		}
	}
	slices.SortFunc(gaps, func(a, b gap) int {
		switch {
		case a.size > b.size:
			return -1
		case a.size < b.size:
			return 1
		}
		return a.at - b.at
	})
	gaps = gaps[:min(len(gaps), keyRanges-1)]
	slices.SortFunc(gaps, func(a, b gap) int { return a.at - b.at })
	var out []string
	from := 0
	for _, g := range append(gaps, gap{at: len(rows)}) {
		out = append(out, fmt.Sprintf("%s BETWEEN %d AND %d", column, keys[rows[from]],
			keys[rows[g.at-1]]))
		from = g.at
	}
	return "(" + strings.Join(out, " OR ") + ")"
}

// keys runs a query for keys and their numbers of rows, WITH TOTALS, and calls yield for each. The
// totals come last: an answer without them, or with others, was cut.
func (s *Sink) keys(ctx context.Context, silent time.Duration, sql string,
	yield func(key, rows uint64) error,
) error {
	res, done, err := s.client.open(ctx, silent, sql)
	if err != nil {
		return err
	}
	defer done()
	in := bufio.NewReaderSize(res.Body, 64<<10)
	sum := uint64(0)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return s.client.unreachable(ctx, nil, fmt.Errorf("read keys: %w", noEOF(err)))
		}
		if len(line) == 1 {
			break
		}
		k, n, ok := twoNumbers(line)
		if !ok {
			return s.refusal(res.Header, line, in)
		}
		sum += n
		if err := yield(k, n); err != nil {
			return err
		}
	}
	last, err := in.ReadSlice('\n')
	if err != nil {
		return s.client.unreachable(ctx, nil, fmt.Errorf("read totals: %w", noEOF(err)))
	}
	if _, n, ok := twoNumbers(last); !ok || n != sum {
		return garbage("got keys of %d rows, and the total %s", sum, excerpt(string(last)))
	}
	return nil
}

// noEOF makes the end of an answer that should go on an error of its own.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// refusal is what a line that is not two numbers means: an exception that came after the status.
func (s *Sink) refusal(h http.Header, line []byte, in io.Reader) error {
	rest, _ := io.ReadAll(io.LimitReader(in, 16<<10))
	body := string(line) + string(rest)
	if err := judge(&http.Response{StatusCode: http.StatusOK, Header: h}, body); err != nil {
		return err
	}
	return garbage("asked for keys: %s", excerpt(body))
}

// twoNumbers reads "123\t45\n".
func twoNumbers(line []byte) (a, b uint64, ok bool) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	at := bytes.IndexByte(line, '\t')
	if at < 0 {
		return 0, 0, false
	}
	a, okA := number(line[:at])
	b, okB := number(line[at+1:])
	return a, b, okA && okB
}

// number is strconv.ParseUint for bytes, without an allocation.
func number(s []byte) (n uint64, ok bool) {
	if len(s) == 0 || len(s) > 20 {
		return 0, false
	}
	for _, c := range s {
		d := uint64(c - '0')
		if d > 9 || n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
