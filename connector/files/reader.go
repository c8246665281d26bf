package files

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/apache/arrow-go/v18/parquet/file"

	"holdfast/base/fault"
	"holdfast/connector"
)

// reader asks the files of a sink about their keys.
type reader struct{ s *Sink }

// Reader returns the sink's reader. Before Prepare it knows no key column, and its methods fail.
func (s *Sink) Reader() connector.SinkReader { return reader{s} }

// column is the name of the key column.
func (r reader) column() (string, error) {
	r.s.mu.Lock()
	schema := r.s.schema
	r.s.mu.Unlock()
	if schema.Schema == nil {
		return "", fault.New(fault.Transient, "read directory %s: it is not prepared", r.s.dir)
	}
	if schema.Key < 0 || kindOfKeys(schema.Field(schema.Key).Type) != intKeys {
		return "", fault.New(fault.Permanent, "read directory %s: its rows have no integer key", r.s.dir)
	}
	return schema.Field(schema.Key).Name, nil
}

// Holds reports whether any file has a row.
func (r reader) Holds(ctx context.Context) (bool, error) {
	names, err := r.s.list()
	if err != nil {
		return false, err
	}
	for _, n := range names {
		if ctx.Err() != nil {
			return false, r.s.classify("read", ctx.Err())
		}
		some, err := r.s.hasRows(n)
		if some || err != nil {
			return some, err
		}
	}
	return false, nil
}

// hasRows reports whether a file has a row.
func (s *Sink) hasRows(n name) (some bool, err error) {
	path := filepath.Join(s.dir, n.text)
	if n.ext == extParquet {
		pf, err := file.OpenParquetFile(path, false)
		if err == nil {
			defer pf.Close()
			return pf.NumRows() > 0, nil
		}
		return false, s.unread(n, err)
	}
	in, done, err := openJSONL(path)
	if err != nil {
		return false, s.unread(n, err)
	}
	defer done()
	_, err = io.ReadFull(in, make([]byte, 1))
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, s.unread(n, err)
}

// unread says what an error of reading a file means; one that is gone has no rows.
func (s *Sink) unread(n name, err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return s.classify("read", err)
	}
	return s.damaged(n.text, err)
}

// within returns the files that may have integer keys of a range.
func (r reader) within(kr connector.KeyRange) ([]name, error) {
	names, err := r.s.list()
	return slices.DeleteFunc(names, func(n name) bool {
		return n.keys != intKeys || !overlap(n.span, kr)
	}), err
}

// Highest returns the highest key of all files. A name says the highest that a file may have; only
// files that could have a higher one than was found are read.
func (r reader) Highest(ctx context.Context) (highest uint64, ok bool, err error) {
	column, err := r.column()
	if err != nil {
		return 0, false, err
	}
	names, err := r.within(connector.KeyRange{To: 1<<64 - 1})
	if err != nil {
		return 0, false, err
	}
	slices.SortFunc(names, func(a, b name) int { return cmp.Compare(b.span.To, a.span.To) })
	for _, n := range names {
		if ok && n.span.To <= highest {
			break
		}
		err := r.s.eachKey(ctx, n, column, func(k key) error {
			highest, ok = max(highest, k.n), true
			return nil
		})
		if err != nil {
			return 0, false, err
		}
	}
	return highest, ok, nil
}

// Tally sums up the keys of a range.
func (r reader) Tally(ctx context.Context, kr connector.KeyRange) (connector.Tally, error) {
	return connector.TallyOf(func(yield func(key, rows uint64) error) error { return r.Keys(ctx, kr, yield) })
}

// Keys yields the keys of a range. Files are read in the order of their lowest keys, and a key is
// yielded when no file that is still to come can have it, so that memory holds overlapping files only.
func (r reader) Keys(ctx context.Context, kr connector.KeyRange,
	yield func(key, rows uint64) error) error {
	column, err := r.column()
	if err != nil {
		return err
	}
	names, err := r.within(kr)
	if err != nil {
		return err
	}
	slices.SortFunc(names, func(a, b name) int { return cmp.Compare(a.span.From, b.span.From) })
	var open []uint64 // sorted
	for _, n := range names {
		if open, err = flush(open, n.span.From, yield); err != nil {
			return err
		}
		err := r.s.eachKey(ctx, n, column, func(k key) error {
			if k.n >= kr.From && k.n <= kr.To {
				open = append(open, k.n)
			}
			return nil
		})
		if err != nil {
			return err
		}
		slices.Sort(open)
	}
	if open, err = flush(open, 1<<64-1, yield); err != nil || len(open) == 0 {
		return err
	}
	return yield(1<<64-1, uint64(len(open)))
}

// flush yields the keys below a bound, and returns the others.
func flush(keys []uint64, below uint64, yield func(key, rows uint64) error) ([]uint64, error) {
	for len(keys) > 0 && keys[0] < below {
		n := 1
		for n < len(keys) && keys[n] == keys[0] {
			n++
		}
		if err := yield(keys[0], uint64(n)); err != nil {
			return nil, err
		}
		keys = keys[n:]
	}
	return keys, nil
}
