package forensic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// footerLen is at least the length of the footer of any table format.
const footerLen = 64

var errBlock = errors.New("block's checksum does not match")

// tableFile gives a table to Pebble's reader and mends blocks on the way: each read is one whole
// block with its trailer (a type byte and a CRC-32C of both), or the footer, which ends the file.
// A block that can't be mended is an error at once; Pebble itself would first try each of its bits,
// which takes seconds for a large one.
type tableFile struct {
	f      vfs.File
	size   int64
	footer int64           // a bit to turn within the footer, or -1
	mended map[int64]int64 // block offset -> the bit that was turned
}

var _ objstorage.Readable = (*tableFile)(nil)

func openTable(fsys vfs.FS, path string) (*tableFile, error) {
	f, err := fsys.Open(path, vfs.RandomReadsOption)
	if err != nil {
		return nil, fmt.Errorf("open table: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("stat table: %w", err), f.Close())
	}
	return &tableFile{f: f, size: info.Size(), footer: -1, mended: map[int64]int64{}}, nil
}

// ReadAt reads a block or the footer.
func (t *tableFile) ReadAt(_ context.Context, p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > t.size {
		return fmt.Errorf("read %d bytes at %d of %d: %w", len(p), off, t.size, errBlock)
	}
	if _, err := t.f.ReadAt(p, off); err != nil {
		return fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
	}
	if off+int64(len(p)) == t.size {
		if i := t.footer/8 - off; t.footer >= 0 && i >= 0 {
			p[i] ^= 1 << (t.footer % 8)
		}
		return nil
	}
	bit, ok := mendBlock(p)
	if !ok {
		return fmt.Errorf("read block of %d bytes at %d: %w", len(p), off, errBlock)
	}
	if bit >= 0 {
		t.mended[off] = off*8 + int64(bit)
	}
	return nil
}

// mendBlock checks a block with its trailer and turns one flipped bit back; bit is -1 when there
// was none.
func mendBlock(p []byte) (bit int, ok bool) {
	n := len(p) - 4
	if n < 1 {
		return -1, false
	}
	stored, actual := binary.LittleEndian.Uint32(p[n:]), crc32.Checksum(p[:n], castagnoli)
	if seal(actual) == stored {
		return -1, true
	}
	for i := range 32 {
		if seal(actual)^stored == 1<<i {
			p[n+i/8] ^= 1 << (i % 8)
			return n*8 + i, true
		}
	}
	if bit, ok = syndromeBit(p[:n], unseal(stored)); ok {
		p[bit/8] ^= 1 << (bit % 8)
	}
	return bit, ok
}

// Close closes the file.
func (t *tableFile) Close() error { return t.f.Close() }

// Size is the file's size.
func (t *tableFile) Size() int64 { return t.size }

// NewReadHandle gives a handle without read-ahead.
func (t *tableFile) NewReadHandle(objstorage.ReadBeforeSize) objstorage.ReadHandle {
	h := objstorage.MakeNoopReadHandle(t)
	return &h
}

// open makes a reader and the layout of the table. A footer has no trailer: when it, or what it
// points to, can't be read, each of its bits is tried.
func (t *tableFile) open() (*sstable.Reader, *sstable.Layout, error) {
	r, l, err := t.tryOpen()
	if err == nil {
		return r, l, nil
	}
	first := max(0, t.size-footerLen) * 8
	for t.footer = first; t.footer < t.size*8; t.footer++ {
		if r, l, again := t.tryOpen(); again == nil {
			return r, l, nil
		}
	}
	t.footer = -1
	return nil, nil, err
}

func (t *tableFile) tryOpen() (r *sstable.Reader, l *sstable.Layout, err error) {
	defer caught(&err)
	if t.size < footerLen {
		return nil, nil, fmt.Errorf("read table of %d bytes: %w", t.size, errBlock)
	}
	if err := t.checkFooter(); err != nil {
		return nil, nil, err
	}
	var opts pebble.Options
	opts.EnsureDefaults()
	if r, err = sstable.NewReader(context.Background(), t, opts.MakeReaderOptions()); err != nil {
		return nil, nil, err
	}
	if l, err = r.Layout(); err != nil {
		return nil, nil, err
	}
	// An index that is read wrong without an error shows in the count of its blocks.
	props, err := r.ReadPropertiesBlock(context.Background(), nil)
	if err == nil && props.NumDataBlocks != uint64(len(l.Data)) {
		err = fmt.Errorf("read index: %d data blocks of %d: %w", len(l.Data), props.NumDataBlocks, errBlock)
	}
	return r, l, err
}

// checkFooter holds the format that the footer names against the index it points to. Pebble reads
// blocks without bounds, so one of another format must not come before it; with a footer that has
// no checksum one bit is enough for that.
func (t *tableFile) checkFooter() error {
	const magic, rows, longest = "\xf0\x9f\xaa\xb3\xf0\x9f\xaa\xb3", 4, 61
	lengths := map[uint32]int{1: 53, 2: 53, 3: 53, 4: 53, 5: 53, 6: 57, 7: longest}
	buf := make([]byte, longest)
	if err := t.ReadAt(context.Background(), buf, t.size-longest); err != nil {
		return err
	}
	version := binary.LittleEndian.Uint32(buf[longest-len(magic)-4:])
	n, known := lengths[version]
	if !known || string(buf[longest-len(magic):]) != magic {
		return fmt.Errorf("read footer: no known format: %w", errBlock)
	}
	handles := buf[longest-n+1:]
	_, meta := block.DecodeHandle(handles)
	index, width := block.DecodeHandle(handles[meta:])
	if meta == 0 || width == 0 {
		return fmt.Errorf("read footer: no handles: %w", errBlock)
	}
	data, err := t.block(index)
	if err != nil {
		return err
	}
	// Blocks of columns begin with the version of their layout, blocks of rows with a zero.
	if len(data) == 0 || (data[0] == 1) != (version > rows) {
		return fmt.Errorf("read footer: its index is not of format %d: %w", version, errBlock)
	}
	return nil
}

// caught makes an error of a panic: Pebble's table reader panics on some content, and content is
// what is in doubt here.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("read table: %v: %w", p, errBlock)
	}
}

// VerifyTable reads every block of a table and checks its checksum, value blocks included (which Pebble's own check leaves out).
func VerifyTable(fsys vfs.FS, path string) []Finding {
	name := fsys.PathBase(path)
	t, err := openTable(fsys, path)
	if err != nil {
		return []Finding{{File: name, Kind: Missing, Why: err.Error()}}
	}
	defer t.Close()
	_, l, err := t.open()
	if err != nil {
		return append(t.findings(name), Finding{File: name, Kind: Damage, End: t.size,
			Why: fmt.Sprintf("its index can't be read (%v)", err)})
	}
	var found []Finding
	for _, b := range blocks(l) {
		if _, err := t.readBlock(b.Handle); err != nil {
			found = append(found, Finding{File: name, Kind: Damage, Offset: int64(b.Offset),
				End: int64(b.Offset + b.Length), Why: fmt.Sprintf("a %s block can't be read", b.Name)})
		}
	}
	return append(found, t.findings(name)...)
}

// findings tells of the mended bits.
func (t *tableFile) findings(name string) []Finding {
	var found []Finding
	for off, bit := range t.mended {
		found = append(found, Finding{File: name, Kind: Damage, Offset: off, End: bit/8 + 1,
			FlippedBit: true, Bit: bit, Why: "one bit of a block is turned"})
	}
	if t.footer >= 0 {
		found = append(found, Finding{File: name, Kind: Damage, Offset: t.footer / 8, End: t.size,
			FlippedBit: true, Bit: t.footer, Why: "one bit of the footer is turned"})
	}
	slices.SortFunc(found, func(a, b Finding) int { return int(a.Offset - b.Offset) })
	return found
}

// readBlock reads and mends one block; the type byte and the checksum stand behind it.
func (t *tableFile) readBlock(h block.Handle) ([]byte, error) {
	size := uint64(t.size)
	if h.Length > size || h.Offset > size || h.Offset+h.Length+block.TrailerLen > size {
		return nil, errBlock
	}
	p := make([]byte, h.Length+block.TrailerLen)
	return p, t.ReadAt(context.Background(), p, int64(h.Offset))
}

// blocks lists every block of a table, by its kind.
func blocks(l *sstable.Layout) []sstable.NamedBlockHandle {
	var all []sstable.NamedBlockHandle
	add := func(name string, hs ...block.Handle) {
		for _, h := range hs {
			if h.Length > 0 {
				all = append(all, sstable.NamedBlockHandle{Name: name, Handle: h})
			}
		}
	}
	for _, d := range l.Data {
		add("data", d.Handle)
	}
	add("index", l.Index...)
	add("value", l.ValueBlock...)
	for _, f := range l.Filter {
		add("filter", f.Handle)
	}
	add("top index", l.TopIndex)
	add("range deletion", l.RangeDel)
	add("range key", l.RangeKey)
	add("value index", l.ValueIndex)
	add("properties", l.Properties)
	add("meta index", l.MetaIndex)
	add("blob index", l.BlobReferenceIndex)
	return all
}
