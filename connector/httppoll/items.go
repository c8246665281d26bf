package httppoll

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/itchyny/gojq"

	"holdfast/base/fault"
	"holdfast/connector/columns"
)

// decoder takes an answer apart. What is a stream is never whole in memory.
type decoder struct {
	format    string
	delimiter rune
	rows      *columns.Expr // nil: the only array, or path
	path      []string      // of a plain expression such as .data[]
	plain     bool
}

var streamPath = regexp.MustCompile(`^(\.[A-Za-z_][A-Za-z0-9_]*)*\.?\[\]$`)

func newDecoder(c Config) (decoder, error) {
	d := decoder{format: c.Format, delimiter: []rune(c.Delimiter)[0]}
	if streamPath.MatchString(c.Rows) {
		d.plain = true
		if p := strings.Trim(strings.TrimSuffix(c.Rows, "[]"), "."); p != "" {
			d.path = strings.Split(p, ".")
		}
		return d, nil
	}
	if c.Rows != "" {
		e, err := columns.ParseExpr(c.Rows)
		d.rows = &e
		return d, err
	}
	return d, nil
}

// cutShort tells that an answer ended before it was whole.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.New(fault.Transient, "the answer is cut short")
	}
	return err
}

// items calls yield for every item, and returns the answer without its rows. An error means that the
// answer is not to be used at all.
func (d decoder) items(ctx context.Context, r io.Reader, yield func(columns.Item) error) (rest any, err error) {
	switch {
	case d.format == formatCSV:
		return nil, d.csv(r, yield)
	case d.format == formatJSONL:
		return nil, d.lines(r, yield)
	case d.rows != nil:
		return d.whole(ctx, r, yield)
	}
	s := stream{Decoder: json.NewDecoder(r), yield: yield, path: d.path, any: !d.plain}
	s.UseNumber()
	rest, err = s.document()
	return rest, cutShort(err)
}

// whole reads the answer into memory, for an expression that may use all of it.
func (d decoder) whole(ctx context.Context, r io.Reader, yield func(columns.Item) error) (any, error) {
	dec := json.NewDecoder(r)
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return nil, cutShort(err)
	}
	if err := columns.AtEnd(dec); err != nil {
		return nil, err
	}
	one := func(v any) error {
		raw, err := gojq.Marshal(v)
		if err != nil {
			return err
		}
		return yield(columns.Item{Raw: raw, Value: v})
	}
	if d.rows.Plain() {
		v, err := d.rows.One(ctx, doc)
		if err == nil {
			err = one(v)
		}
		return doc, err
	}
	if err := d.rows.Each(ctx, doc, one); err != nil {
		return nil, fault.WithHint(fmt.Errorf("take the rows out of the answer: %w", err),
			"check rows against an answer of the feed")
	}
	return doc, nil
}

// stream walks a JSON document to its rows.
type stream struct {
	*json.Decoder
	yield func(columns.Item) error
	path  []string
	any   bool // the rows are the only array, wherever it is
	found bool
}

func (s *stream) document() (rest any, err error) {
	tok, err := s.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('['):
		if len(s.path) > 0 {
			return nil, fmt.Errorf("the answer is an array, and rows looks for %s in it", s.path[0])
		}
		rest, err = []any{}, s.elements()
	case json.Delim('{'):
		rest, err = s.object(s.path)
	default:
		return nil, fmt.Errorf("the answer is %s, want an array or an object", columns.KindOf(tok))
	}
	if err == nil {
		err = columns.AtEnd(s.Decoder)
	}
	if err == nil && !s.found {
		err = errors.New("the answer has no array of rows")
	}
	return rest, err
}

// elements reads the rows, behind their opening bracket.
func (s *stream) elements() error {
	if s.found {
		return errors.New("the answer has several arrays; say by rows which one")
	}
	s.found = true
	for s.More() {
		var raw json.RawMessage
		if err := s.Decode(&raw); err != nil {
			return err
		}
		it, err := columns.ReadItem(raw)
		if err != nil {
			return cutShort(err)
		}
		if err := s.yield(it); err != nil {
			return err
		}
	}
	_, err := s.Token()
	return err
}

// object reads an object behind its opening brace, and the rows at path within it.
func (s *stream) object(path []string) (map[string]any, error) {
	rest := map[string]any{}
	for s.More() {
		name, err := s.Token()
		if err != nil {
			return nil, err
		}
		key, _ := name.(string)
		if !s.any && (len(path) == 0 || key != path[0]) {
			var v any
			if err := s.Decode(&v); err != nil {
				return nil, err
			}
			rest[key] = v
			continue
		}
		if rest[key], err = s.value(key, path); err != nil {
			return nil, err
		}
	}
	_, err := s.Token()
	return rest, err
}

// value reads what stands at a key on the way to the rows.
func (s *stream) value(key string, path []string) (any, error) {
	tok, err := s.Token()
	if err != nil {
		return nil, err
	}
	switch {
	case tok == json.Delim('[') && len(path) <= 1:
		return []any{}, s.elements()
	case tok == json.Delim('{') && s.any:
		return s.skipped()
	case tok == json.Delim('{') && len(path) > 1:
		return s.object(path[1:])
	case tok == nil && len(path) == 1:
		s.found = true // null is how some feeds say that there are no rows
		return nil, nil
	case s.any:
		return tok, nil
	}
	return nil, fmt.Errorf("%s of the answer does not lead to an array", key)
}

// skipped reads an object that is not on the way to the rows, behind its opening brace.
func (s *stream) skipped() (map[string]any, error) {
	rest := map[string]any{}
	for s.More() {
		name, err := s.Token()
		if err != nil {
			return nil, err
		}
		var v any
		if err := s.Decode(&v); err != nil {
			return nil, err
		}
		rest[name.(string)] = v
	}
	_, err := s.Token()
	return rest, err
}

// lines reads one JSON value a line. A line that is none is a bad item, except at the end, where it
// may be half of one.
func (d decoder) lines(r io.Reader, yield func(columns.Item) error) error {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := br.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return cutShort(err)
		}
		last := err != nil
		if line = bytes.TrimSpace(line); len(line) > 0 {
			it, err := columns.ReadItem(line)
			if err != nil && last {
				return fault.New(fault.Transient, "the answer is cut short in its last line")
			}
			if err != nil {
				it = columns.Item{Raw: line, Err: fmt.Errorf("the line is no JSON: %w", err)}
			}
			if err := yield(it); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

// tap keeps the bytes that a csv reader has read and not yet told of.
type tap struct {
	io.Reader
	buf  []byte
	base int64
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	t.buf = append(t.buf, p[:n]...)
	return n, err
}

// upTo returns the bytes up to an offset, and lets go of them.
func (t *tap) upTo(offset int64) []byte {
	n := offset - t.base
	out := bytes.Clone(t.buf[:n])
	t.buf, t.base = t.buf[:copy(t.buf, t.buf[n:])], offset
	return out
}

// csv reads lines below a header line. The raw form of an item is the header and its line, so that it
// can be read by itself.
func (d decoder) csv(r io.Reader, yield func(columns.Item) error) error {
	t := &tap{Reader: r}
	cr := csv.NewReader(t)
	cr.Comma, cr.FieldsPerRecord, cr.ReuseRecord = d.delimiter, -1, true
	first, err := cr.Read()
	if err != nil {
		return fmt.Errorf("read the header line: %w", cutShort(err))
	}
	header := append([]string(nil), first...)
	header[0] = strings.TrimPrefix(header[0], "\uFEFF")
	if why := columns.Header(header); why != "" {
		return errors.New(why)
	}
	head := bytes.TrimPrefix(t.upTo(cr.InputOffset()), []byte("\uFEFF"))
	for {
		fields, err := cr.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		line := t.upTo(cr.InputOffset())
		bad, isLine := errors.AsType[*csv.ParseError](err)
		switch {
		case err != nil && !isLine:
			return cutShort(err)
		case !bytes.HasSuffix(line, []byte("\n")) && (err != nil || len(fields) < len(header)),
			err != nil && len(t.buf) == 0 && bytes.Count(line, []byte(`"`))%2 == 1:
			// An open quote takes all that follows, rows included, so it can't be one bad row.
			return fault.New(fault.Transient, "the answer is cut short in its last line, "+
				"or a quote is not closed")
		}
		it := columns.Item{Raw: append(bytes.Clone(head), line...)}
		switch {
		case err != nil:
			it.Err = fmt.Errorf("the line is no csv: %w", bad.Err)
		case len(fields) != len(header):
			it.Err = fmt.Errorf("the line has %d fields, want %d", len(fields), len(header))
		default:
			it.Value = columns.Named(header, fields)
		}
		if err := yield(it); err != nil {
			return err
		}
	}
}
