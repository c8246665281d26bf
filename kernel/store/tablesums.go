package store

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"
)

// TableSums remembers the checksums of a store's tables, so that a checkpoint need not read them.
// A table is immutable, so its checksum is for life; what a name stands for is told by the file's
// number, size, inode and time of writing together, and hard links of it share all four.
//
// They are kept in DIR/tables.sum, which nothing depends on: a sum that is not there is taken anew.
//
//	0   magic "HOLDSUMS"
//	8   format, 4 bytes (1)
//	12  number of records, 4 bytes
//	16  records of 48 bytes: table number, size, inode, time of writing in ns, XXH3 of 128 bits
//	    XXH3 of 128 bits over all before it
//
// Numbers are little-endian, the hashes as their canonical bytes.
type TableSums struct {
	fs   FS
	dir  string // the store's
	path string

	mu    sync.Mutex // guards sums; never held over I/O
	sums  map[tableID][16]byte
	dirty bool // guarded by mu
}

type tableID struct{ num, size, inode, mtime uint64 }

const (
	sumsMagic  = "HOLDSUMS"
	sumsFormat = 1
	sumsHeader = 16
	sumsRecord = 48
	sumPrefix  = "xxh3:"
)

// OpenTableSums reads the checksums that are known of the tables of the store in dir. A file that
// is missing, damaged or of another format is as good as an empty one.
func OpenTableSums(fs FS, dir string) *TableSums {
	t := &TableSums{fs: fs, dir: dir, path: fs.PathJoin(dir, "tables.sum")}
	t.sums = decodeSums(t.read())
	return t
}

// TableSums are the checksums that are known of the store's tables.
func (s *Store) TableSums() *TableSums {
	if t := tableFSOf(s.guard); t != nil {
		return t.sums
	}
	return OpenTableSums(s.FS(), s.dir)
}

func (t *TableSums) read() []byte {
	f, err := t.fs.Open(t.path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return nil
	}
	return b
}

// Get returns the checksum of the table at path, which may be any hard link of it, or "" when none
// is known.
func (t *TableSums) Get(fs FS, path string) string {
	info, err := fs.Stat(path)
	if err != nil {
		return ""
	}
	return t.get(fs.PathBase(path), info)
}

func (t *TableSums) get(name string, info vfs.FileInfo) string {
	id, ok := identify(name, info)
	if !ok {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if sum, ok := t.sums[id]; ok {
		return sumPrefix + hex.EncodeToString(sum[:])
	}
	return ""
}

// Put remembers the checksum of the table at path.
func (t *TableSums) Put(fs FS, path, sum string) {
	info, err := fs.Stat(path)
	if err != nil {
		return
	}
	id, ok := identify(fs.PathBase(path), info)
	raw, err := hex.DecodeString(strings.TrimPrefix(sum, sumPrefix))
	if !ok || err != nil || len(raw) != 16 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sums[id] = [16]byte(raw)
	t.dirty = true
}

// forget drops what is known of a table that was removed. Should hard links of it be left, as in a
// checkpoint, theirs is taken anew.
func (t *TableSums) forget(name string, info vfs.FileInfo) {
	id, ok := identify(name, info)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.sums[id]; known {
		delete(t.sums, id)
		t.dirty = true
	}
}

// Save writes the checksums of the tables that the store still has, if there is news.
func (t *TableSums) Save() error {
	// Only what is known now may turn out to be gone: a table that is written meanwhile is in
	// neither list.
	t.mu.Lock()
	old := maps.Clone(t.sums)
	t.mu.Unlock()
	names, err := t.fs.List(t.fs.PathJoin(t.dir, "db"))
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	live := map[uint64]bool{}
	for _, name := range names {
		if num, ok := tableNumber(name); ok {
			live[num] = true
		}
	}
	t.mu.Lock()
	dirty := t.dirty
	t.dirty = false
	maps.DeleteFunc(t.sums, func(id tableID, _ [16]byte) bool {
		_, known := old[id]
		return known && !live[id.num]
	})
	data := encodeSums(t.sums)
	t.mu.Unlock()
	if !dirty {
		return nil
	}
	if err := t.replace(data); err != nil {
		return fmt.Errorf("write %s: %w", t.path, err)
	}
	return nil
}

// replace writes the new file aside and renames it, so that a crash leaves the old or the new one.
func (t *TableSums) replace(data []byte) error {
	tmp := t.path + ".tmp"
	f, err := t.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = t.fs.Rename(tmp, t.path)
	}
	if err != nil {
		return errors.Join(err, t.fs.RemoveAll(tmp))
	}
	d, err := t.fs.OpenDir(t.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func tableNumber(name string) (uint64, bool) {
	text, ok := strings.CutSuffix(name, ".sst")
	num, err := strconv.ParseUint(text, 10, 64)
	return num, ok && err == nil
}

// identify tells one table from every other that bears or bore its number.
func identify(name string, info vfs.FileInfo) (tableID, bool) {
	num, ok := tableNumber(name)
	id := tableID{num: num, size: uint64(info.Size()), mtime: uint64(info.ModTime().UnixNano())}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.inode = st.Ino
	}
	return id, ok
}

func encodeSums(sums map[tableID][16]byte) []byte {
	b := append(make([]byte, 0, sumsHeader+sumsRecord*len(sums)+16), sumsMagic...)
	b = binary.LittleEndian.AppendUint32(b, sumsFormat)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(sums)))
	for id, sum := range sums {
		for _, v := range []uint64{id.num, id.size, id.inode, id.mtime} {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		b = append(b, sum[:]...)
	}
	own := xxh3.Hash128(b).Bytes()
	return append(b, own[:]...)
}

func decodeSums(b []byte) map[tableID][16]byte {
	sums := map[tableID][16]byte{}
	if len(b) < sumsHeader+16 || string(b[:8]) != sumsMagic ||
		binary.LittleEndian.Uint32(b[8:]) != sumsFormat {
		return sums
	}
	body, n := b[:len(b)-16], int(binary.LittleEndian.Uint32(b[12:]))
	own := xxh3.Hash128(body).Bytes()
	if !slices.Equal(own[:], b[len(b)-16:]) || len(body) != sumsHeader+n*sumsRecord {
		return sums
	}
	for r := range slices.Chunk(body[sumsHeader:], sumsRecord) {
		id := tableID{binary.LittleEndian.Uint64(r), binary.LittleEndian.Uint64(r[8:]),
			binary.LittleEndian.Uint64(r[16:]), binary.LittleEndian.Uint64(r[24:])}
		sums[id] = [16]byte(r[32:])
	}
	return sums
}
