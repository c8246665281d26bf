package forensic

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The tags of Pebble's version edits, as v2.1.7 reads and writes them.
const (
	tagComparer       = 1
	tagLogNumber      = 2
	tagNextFile       = 3
	tagLastSeq        = 4
	tagCompactPointer = 5
	tagDeletedTable   = 6
	tagNewTable       = 7
	tagPrevLog        = 9
	tagNewTable2      = 100
	tagNewTable3      = 102
	tagNewTable4      = 103
	tagNewTable5      = 104
	tagNewBacking     = 105
	tagRemovedBacking = 106
	tagNewBlob        = 107
	tagDeletedBlob    = 108

	customEnd            = 1
	customNeedsCompact   = 2
	customCreated        = 6
	customVirtual        = 66
	customSynthPrefix    = 67
	customSynthSuffix    = 68
	customBlobReferences = 69
	customMustKnow       = 1 << 6

	levels = 7
)

var errEdit = errors.New("no version edit")

// levelFile is a table at a level: the same table may be deleted at one and new at another.
type levelFile struct {
	level int
	num   uint64
}

// edit is one record of the MANIFEST.
type edit struct {
	comparer        string
	minLog          uint64
	nextFile        uint64
	lastSeq         uint64
	deleted         []levelFile
	added           []Table
	backings        map[uint64]uint64 // file number -> size
	removedBackings []uint64
	blobs           map[uint64]uint64 // file number -> size
	deletedBlobs    []uint64
}

// editReader reads varints and strings off a record; the first failure sticks.
type editReader struct {
	b   []byte
	err error
}

func (r *editReader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("read %s: %w", what, errEdit)
	}
}

func (r *editReader) num(what string) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(what)
		r.b = nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *editReader) bytes(what string) []byte {
	s, rest, ok := cutString(r.b)
	if !ok {
		r.fail(what)
		rest = nil
	}
	r.b = rest
	return s
}

func (r *editReader) level() int {
	v := r.num("level")
	if v >= levels {
		r.fail("level")
		return 0
	}
	return int(v)
}

// readEdit decodes one version edit strictly: every byte must be accounted for.
func readEdit(b []byte) (edit, error) {
	e := edit{backings: map[uint64]uint64{}, blobs: map[uint64]uint64{}}
	r := &editReader{b: b}
	for len(r.b) > 0 && r.err == nil {
		e.field(r, r.num("tag"))
	}
	return e, r.err
}

func (e *edit) field(r *editReader, tag uint64) {
	switch tag {
	case tagComparer:
		e.comparer = string(r.bytes("comparer"))
	case tagLogNumber:
		e.minLog = r.num("log number")
	case tagNextFile:
		e.nextFile = r.num("next file number")
	case tagLastSeq:
		e.lastSeq = r.num("last sequence number")
	case tagPrevLog:
		r.num("previous log number")
	case tagCompactPointer:
		r.level()
		r.bytes("compaction pointer")
	case tagDeletedTable:
		e.deleted = append(e.deleted, levelFile{r.level(), r.num("deleted table")})
	case tagNewTable, tagNewTable2, tagNewTable3, tagNewTable4, tagNewTable5:
		e.added = append(e.added, r.table(tag))
	case tagNewBacking:
		num := r.num("backing")
		e.backings[num] = r.num("backing size")
	case tagRemovedBacking:
		e.removedBackings = append(e.removedBackings, r.num("removed backing"))
	case tagNewBlob:
		r.num("blob id")
		num := r.num("blob file")
		e.blobs[num] = r.num("blob size")
		r.num("blob values")
		r.num("blob time")
	case tagDeletedBlob:
		r.num("blob id")
		e.deletedBlobs = append(e.deletedBlobs, r.num("blob file"))
	default:
		r.fail(fmt.Sprintf("tag %d", tag))
	}
}

// table reads the entry of one new table.
func (r *editReader) table(tag uint64) Table {
	t := Table{Level: r.level(), Num: r.num("table")}
	t.File = t.Num
	if tag == tagNewTable3 {
		r.num("path")
	}
	t.Size = int64(r.num("table size"))
	points, ranges := true, false
	if tag == tagNewTable5 {
		if len(r.b) == 0 {
			r.fail("bounds")
			return t
		}
		points, ranges = r.b[0]&1 != 0, true
		r.b = r.b[1:]
	}
	if points {
		t.Smallest, t.Largest = r.userKey(), r.userKey()
	}
	if ranges {
		r.userKey()
		r.userKey()
	}
	if tag != tagNewTable {
		t.SmallestSeq, t.LargestSeq = r.num("smallest sequence number"), r.num("largest sequence number")
	}
	if tag == tagNewTable4 || tag == tagNewTable5 {
		r.custom(&t)
	}
	return t
}

// userKey reads an internal key and takes its eight bytes of trailer off.
func (r *editReader) userKey() []byte {
	k := r.bytes("key")
	if len(k) < 8 {
		r.fail("key")
		return nil
	}
	return k[:len(k)-8]
}

func (r *editReader) custom(t *Table) {
	for r.err == nil {
		switch tag := r.num("custom tag"); tag {
		case customEnd:
			return
		case customVirtual:
			t.Virtual, t.File = true, r.num("backing")
		case customBlobReferences:
			r.num("blob depth")
			for n := r.num("blob references"); n > 0 && r.err == nil; n-- {
				r.num("blob id")
				r.num("blob values")
			}
		case customNeedsCompact, customCreated, customSynthPrefix, customSynthSuffix:
			r.bytes("custom field")
		default:
			if tag&customMustKnow != 0 {
				r.fail(fmt.Sprintf("custom tag %d", tag))
			}
			r.bytes("custom field")
		}
	}
}
