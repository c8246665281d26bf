package files

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"holdfast/connector"
)

// leaveOut takes the rows out of keep whose keys a file holds, and counts them.
func (s *Sink) leaveOut(ctx context.Context, d connector.Delivery, keys keyColumn, keep []bool) (
	present int64, err error) {
	rows := make(map[key][]int, keys.rows)
	for i := range keys.rows {
		if keep[i] {
			rows[keys.at(i)] = append(rows[keys.at(i)], i)
		}
	}
	names, err := s.list()
	if err != nil {
		return 0, err
	}
	span, column := keys.span(), d.Schema.Field(d.Schema.Key).Name
	for _, n := range names {
		if n.keys != keys.kind || !overlap(n.span, span) {
			continue
		}
		err := s.eachKey(ctx, n, column, func(k key) error {
			for _, i := range rows[k] {
				keep[i] = false
				present++
			}
			delete(rows, k)
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return present, nil
}

// eachKey calls yield for the key of every row of a file. A file that is gone has none.
func (s *Sink) eachKey(ctx context.Context, n name, column string, yield func(key) error) error {
	var stopped error
	once := func(k key) error {
		if stopped = ctx.Err(); stopped == nil {
			stopped = yield(k)
		}
		return stopped
	}
	path := filepath.Join(s.dir, n.text)
	var err error
	if n.ext == extParquet {
		err = parquetKeys(ctx, path, column, once)
	} else {
		err = jsonKeys(path, column, n.keys, once)
	}
	switch {
	case stopped != nil && ctx.Err() != nil:
		return s.classify("read", ctx.Err())
	case stopped != nil:
		return stopped
	case errors.Is(err, fs.ErrNotExist) || err == nil:
		return nil
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return s.classify("read", err)
	}
	return s.damaged(n.text, err)
}

// parquetKeys reads the column of the keys, and nothing else.
func parquetKeys(ctx context.Context, path, column string, yield func(key) error) error {
	pf, err := file.OpenParquetFile(path, false)
	if err != nil {
		return err
	}
	defer pf.Close()
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: chunk},
		memory.DefaultAllocator)
	if err != nil {
		return err
	}
	at := pf.MetaData().Schema.ColumnIndexByName(column)
	if at < 0 {
		return fmt.Errorf("there is no column %s", column)
	}
	if pf.NumRowGroups() == 0 {
		return nil
	}
	rr, err := fr.GetRecordReader(ctx, []int{at}, nil)
	if err != nil {
		return err
	}
	defer rr.Release()
	rows := int64(0)
	for rr.Next() {
		k := keysIn(rr.RecordBatch().Column(0))
		if k.at == nil {
			return fmt.Errorf("column %s holds no keys", column)
		}
		for i := range k.rows {
			if err := yield(k.at(i)); err != nil {
				return err
			}
		}
		rows += int64(k.rows)
	}
	if err := rr.Err(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if rows != pf.NumRows() {
		return fmt.Errorf("%d of its %d rows can be read", rows, pf.NumRows())
	}
	return nil
}

// openJSONL opens a JSONL file, unpacked as its name says.
func openJSONL(path string) (io.Reader, func(), error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	done := func() { f.Close() }
	n, _ := parseName(filepath.Base(path))
	switch n.ext {
	case extGzip:
		z, err := gzip.NewReader(f)
		if err != nil {
			done()
			return nil, nil, err
		}
		return z, done, nil
	case extZstd:
		z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
		if err != nil {
			done()
			return nil, nil, err
		}
		return z, func() { z.Close(); f.Close() }, nil
	}
	return f, done, nil
}

func jsonKeys(path, column string, kind keyKind, yield func(key) error) error {
	r, done, err := openJSONL(path)
	if err != nil {
		return err
	}
	defer done()
	dec := jsontext.NewDecoder(bufio.NewReaderSize(r, 256<<10), jsontext.AllowDuplicateNames(true))
	for {
		tok, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && tok.Kind() != '{' {
			err = fmt.Errorf("a line is %s, want an object", tok.Kind())
		}
		if err != nil {
			return err
		}
		k, err := keyOfLine(dec, column, kind)
		if err == nil {
			err = yield(k)
		}
		if err != nil {
			return err
		}
	}
}

// keyOfLine reads an object behind its opening brace.
func keyOfLine(dec *jsontext.Decoder, column string, kind keyKind) (k key, err error) {
	found := false
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return k, err
		}
		switch {
		case tok.Kind() == '}' && !found:
			return k, fmt.Errorf("a line has no %s", column)
		case tok.Kind() == '}':
			return k, nil
		case tok.String() != column:
			if err := dec.SkipValue(); err != nil {
				return k, err
			}
			continue
		}
		found = true
		if tok, err = dec.ReadToken(); err != nil {
			return k, err
		}
		if kind == textKeys {
			k.s = tok.String()
		} else if k.n, err = strconv.ParseUint(tok.String(), 10, 64); err != nil {
			return k, err
		}
	}
}
