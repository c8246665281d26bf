package forensic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/sstable/rowblk"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// KeyRange is a range of user keys; a nil end is not known.
type KeyRange struct {
	After []byte // the keys lie behind this one
	UpTo  []byte // and not behind this one
}

// TableSalvage tells what SalvageTable got out of a table.
type TableSalvage struct {
	Entries int // operations handed out
	// Lost holds the key ranges of data blocks that can't be read, Values the count of entries whose
	// value alone can't be read.
	Lost   []KeyRange
	Values int
	// Carved says that the table's index was unreadable and the data blocks were found by their
	// checksums; range deletions are then not known.
	Carved bool
	// Whole is false when anything may be missing.
	Whole    bool
	Findings []Finding // what was wrong, mended bits included
}

// TableVisit receives one operation of a table: a point, or a range whose end is the value. The
// slices are valid until it returns.
type TableVisit func(key, value []byte, seq uint64, kind pebble.InternalKeyKind) error

// SalvageTable hands out every readable operation of a table in key order, whether or not the
// MANIFEST knows of the table: those of a block that one bit had spoilt, those around blocks that
// can't be read, and, when even the index can't, those of the data blocks that are found without
// it. The error is visit's, or that the file can't be opened.
func SalvageTable(fsys vfs.FS, path string, visit TableVisit) (TableSalvage, error) {
	t, err := openTable(fsys, path)
	if err != nil {
		return TableSalvage{}, err
	}
	defer t.Close()
	s := &tableSalvager{t: t, name: fsys.PathBase(path), visit: visit}
	s.out.Whole = true
	if s.r, s.l, err = t.open(); err != nil {
		s.damage(Finding{End: t.size, Why: fmt.Sprintf("its index can't be read (%v)", err)})
		err = s.carve()
	} else {
		err = s.points()
		if err == nil {
			err = s.ranges()
		}
	}
	s.out.Findings = append(s.out.Findings, t.findings(s.name)...)
	if s.visitErr != nil {
		err = s.visitErr
	}
	return s.out, err
}

type tableSalvager struct {
	t        *tableFile
	r        *sstable.Reader
	l        *sstable.Layout
	name     string
	visit    TableVisit
	visitErr error // what visit returned; it ends the salvage
	visiting bool
	out      TableSalvage
}

// caught makes an error of a panic in Pebble's table reader; one in visit is not ours to hide.
func (s *tableSalvager) caught(err *error) {
	if s.visiting {
		return
	}
	if p := recover(); p != nil {
		*err = fmt.Errorf("read table: %v: %w", p, errBlock)
	}
}

func (s *tableSalvager) damage(f Finding) {
	f.File, f.Kind = s.name, Damage
	s.out.Findings, s.out.Whole = append(s.out.Findings, f), false
}

func (s *tableSalvager) emit(key, value []byte, seq uint64, kind pebble.InternalKeyKind) error {
	s.visiting = true
	s.visitErr = s.visit(key, value, seq, kind)
	s.visiting = false
	if s.visitErr == nil {
		s.out.Entries++
	}
	return s.visitErr
}

// points reads each run of readable data blocks.
func (s *tableSalvager) points() error {
	ends, err := s.separators()
	if err != nil || len(ends) != len(s.l.Data) {
		s.damage(Finding{End: s.t.size, Why: fmt.Sprintf("its index can't be decoded (%v)", err)})
		return s.carve()
	}
	bad := make([]bool, len(s.l.Data))
	for i, d := range s.l.Data {
		if _, err := s.t.readBlock(d.Handle); err == nil {
			continue
		}
		bad[i] = true
		lost := KeyRange{UpTo: ends[i]}
		if i > 0 {
			lost.After = ends[i-1]
		}
		s.out.Lost = append(s.out.Lost, lost)
		s.damage(Finding{Offset: int64(d.Offset), End: int64(d.Offset + d.Length),
			Why: fmt.Sprintf("a data block with keys from %q to %q can't be read", lost.After, lost.UpTo)})
	}
	for i := range bad {
		if !bad[i] && (i == 0 || bad[i-1]) {
			var from []byte // the first key of all
			if i > 0 {
				from = append(slices.Clone(ends[i-1]), 0)
			}
			if err := s.run(from); err != nil {
				return err
			}
		}
	}
	return nil
}

// run iterates from a key up to the next unreadable block or the end.
func (s *tableSalvager) run(from []byte) (err error) {
	defer s.caught(&err)
	iter, err := s.r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return fmt.Errorf("iterate table: %w", err)
	}
	defer iter.Close()
	for kv := iter.SeekGE(from, 0); kv != nil; kv = iter.Next() {
		value, _, err := kv.Value(nil)
		if err != nil {
			s.out.Values++
			s.damage(Finding{Why: fmt.Sprintf("the value of %q can't be read", kv.K.UserKey)})
			continue
		}
		if err := s.emit(kv.K.UserKey, value, uint64(kv.SeqNum()), kv.Kind()); err != nil {
			return err
		}
	}
	return nil // an unreadable block ended it; points has told of it
}

// separators gives, for each data block, a key that is not below any of its keys and below all of
// the next block's.
func (s *tableSalvager) separators() (ends [][]byte, err error) {
	defer s.caught(&err)
	for _, h := range s.l.Index {
		data, err := s.t.block(h)
		if err != nil {
			return nil, err
		}
		iter := s.indexIter()
		if err := iter.Init(s.r.Comparer, data, sstable.NoTransforms); err != nil {
			return nil, fmt.Errorf("read index: %w", err)
		}
		for ok := iter.First(); ok; ok = iter.Next() {
			ends = append(ends, slices.Clone(iter.Separator()))
		}
	}
	return ends, nil
}

func (s *tableSalvager) indexIter() block.IndexBlockIterator {
	if s.l.Format.BlockColumnar() {
		return &colblk.IndexIter{}
	}
	return &rowblk.IndexIter{}
}

// block reads, mends and decompresses one block.
func (t *tableFile) block(h block.Handle) ([]byte, error) {
	p, err := t.readBlock(h)
	if err != nil {
		return nil, err
	}
	return decompress(p[:h.Length], block.CompressionIndicator(p[h.Length]))
}

func decompress(p []byte, how block.CompressionIndicator) ([]byte, error) {
	if how == block.NoCompressionIndicator {
		return p, nil
	}
	n, err := block.DecompressedLen(how, p)
	if err != nil {
		return nil, fmt.Errorf("decompress block: %w", err)
	}
	const most = 1 << 30
	if n < 0 || n > most {
		return nil, fmt.Errorf("decompress block to %d bytes: %w", n, errBlock)
	}
	out := make([]byte, n)
	if err := block.DecompressInto(how, p, out); err != nil {
		return nil, fmt.Errorf("decompress block: %w", err)
	}
	return out, nil
}

// ranges hands out range deletions and range keys.
func (s *tableSalvager) ranges() (err error) {
	defer s.caught(&err)
	dels, err := s.r.NewRawRangeDelIter(context.Background(), sstable.NoFragmentTransforms,
		sstable.NoReadEnv)
	if err != nil {
		s.damage(Finding{Why: fmt.Sprintf("its range deletions can't be read (%v)", err)})
	} else if dels != nil {
		defer dels.Close()
		for span, err := dels.First(); span != nil; span, err = dels.Next() {
			if err != nil {
				s.damage(Finding{Why: fmt.Sprintf("its range deletions can't be read (%v)", err)})
				break
			}
			for _, k := range span.Keys {
				if err := s.emit(span.Start, span.End, uint64(k.SeqNum()), k.Kind()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// carve finds data blocks without an index. They stand one behind the other from the file's start,
// each closed by the checksum of all its bytes, so one pass of a running checksum finds their ends.
func (s *tableSalvager) carve() (err error) {
	defer s.caught(&err)
	s.out.Carved = true
	data := make([]byte, s.t.size)
	if _, err := s.t.f.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		readPages(s.t.f, data)
	}
	for start := 0; start < len(data); {
		end := blockEnd(data[start:])
		if end < 0 {
			return nil
		}
		body := data[start : start+end]
		// What can't be decompressed or is no block of entries holds none: the search goes on behind it.
		if plain, err := decompress(body[:end-1], block.CompressionIndicator(body[end-1])); err == nil {
			_ = s.carved(slices.Clone(plain))
		}
		if s.visitErr != nil {
			return s.visitErr
		}
		start += end + 4
	}
	return nil
}

// blockEnd gives the length of the block (its type byte included) at the start of b, or -1.
func blockEnd(b []byte) int {
	crc := ^uint32(0)
	for i := 0; i+5 <= len(b); i++ {
		crc = castagnoli[byte(crc)^b[i]] ^ crc>>8
		if seal(^crc) == binary.LittleEndian.Uint32(b[i+1:]) {
			return i + 1
		}
	}
	return -1
}

// carved hands out one block if it is a data block: the blocks of other kinds behind the data do
// not pass the validation.
func (s *tableSalvager) carved(data []byte) (err error) {
	defer s.caught(&err)
	var opts pebble.Options
	opts.EnsureDefaults()
	schema := opts.KeySchemas[opts.KeySchema]
	if !dataBlock(data, schema) {
		return nil
	}
	var check colblk.DataBlockValidator
	if err := check.Validate(data, opts.Comparer, schema); err != nil {
		return fmt.Errorf("validate data block: %w", err)
	}
	var dec colblk.DataBlockDecoder
	dec.Init(schema, data)
	var iter colblk.DataBlockIter
	iter.InitOnce(schema, opts.Comparer, nil)
	if err := iter.Init(&dec, sstable.NoTransforms); err != nil {
		return fmt.Errorf("read data block: %w", err)
	}
	kv, ok := orPanic(iter.First)
	for rows := 0; (kv != nil || !ok) && rows < len(data); rows++ {
		if !ok {
			s.out.Values++
		} else {
			value := kv.InPlaceValue()
			if err := s.emit(kv.K.UserKey, value, uint64(kv.SeqNum()), kv.Kind()); err != nil {
				return err
			}
		}
		kv, ok = orPanic(iter.Next)
	}
	return nil
}

// dataBlock reports whether a sound block is laid out as a data block: Pebble reads blocks without
// bounds, and other kinds stand behind the data.
func dataBlock(data []byte, schema *colblk.KeySchema) bool {
	const own, base, perColumn = 4, 7, 5 // bytes: longest key; version, columns, rows; type, offset
	types := append(slices.Clone(schema.ColumnTypes), colblk.DataTypeUint, colblk.DataTypeBool,
		colblk.DataTypeBytes, colblk.DataTypeBool, colblk.DataTypeBool)
	head := int(schema.HeaderSize) + own
	at := head + base
	end := at + perColumn*len(types)
	if len(data) <= end || data[head] != 1 ||
		int(binary.LittleEndian.Uint16(data[head+1:])) != len(types) {
		return false
	}
	last := uint32(end)
	for _, typ := range types {
		offset := binary.LittleEndian.Uint32(data[at+1:])
		if colblk.DataType(data[at]) != typ || offset < last || offset >= uint32(len(data)) {
			return false
		}
		last, at = offset, at+perColumn
	}
	return true
}

// orPanic steps a block iterator that has no access to value blocks: it panics on a row whose value
// stands in one (an older version of the key before it), and can go on behind it.
func orPanic[T any](step func() T) (v T, ok bool) {
	defer func() { _ = recover() }()
	return step(), true
}
