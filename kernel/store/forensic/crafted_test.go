package forensic_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/kernel/store/forensic"
)

// craftedNum is behind the number of any log that a store of these tests makes.
const (
	craftedNum  = 900020
	craftedName = "900020.log"
)

// batchOf is a batch of one set whose whole length is n.
func batchOf(seq uint64, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, seq)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = append(b, byte(pebble.InternalKeyKindSet), 3, 'k', 'e', 'y')
	for w := 1; ; w++ {
		if size := n - len(b) - w; len(binary.AppendUvarint(nil, uint64(size))) == w {
			b = binary.AppendUvarint(b, uint64(size))
			return append(b, bytes.Repeat([]byte{'v'}, size)...)
		}
	}
}

// logOf writes batches of the given lengths with Pebble's own writer, in the newest chunk format,
// as log craftedNum.
func logOf(t *testing.T, lengths ...int) []byte {
	t.Helper()
	var out bytes.Buffer
	w := record.NewLogWriter(&out, craftedNum, record.LogWriterConfig{WriteWALSyncOffsets: func() bool { return true }})
	for i, n := range lengths {
		_, err := w.WriteRecord(batchOf(uint64(100+i), n))
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

func salvageLog(t *testing.T, data []byte) (batches int, s forensic.WALSalvage) {
	t.Helper()
	mem := vfs.NewMem()
	write(t, mem, craftedName, data)
	s, err := forensic.SalvageWAL(mem, craftedName, func(repr []byte) error {
		batches++
		return forensic.ReadBatch(repr, func(forensic.Op) error { return nil })
	})
	must(t, err)
	return batches, s
}

// TestBlockPadding turns each bit of the unused end of a block, where Pebble looks for a header: the
// batches on both sides of it are whole, also the one that goes across.
func TestBlockPadding(t *testing.T) {
	const block, header = 32 << 10, 19
	for _, unused := range []int{1, 6, 7, 10, 11, 18} {
		for _, last := range []int{100, 50000} { // of its own, or across the blocks
			data := logOf(t, block-2*header-unused-5000, 5000, last)
			if n, s := salvageLog(t, data); n != 3 || len(s.Findings) > 0 {
				t.Fatalf("%d bytes unused: %d batches, %v", unused, n, s.Findings)
			}
			for bit := range unused * 8 {
				turned := slices.Clone(data)
				turned[block-unused+bit/8] ^= 1 << (bit % 8)
				n, s := salvageLog(t, turned)
				exact := len(s.Findings) == 0 || s.Findings[0].Bit == int64(block-unused)*8+int64(bit)
				if n != 3 || !exact || unused >= 11 && len(s.Findings) != 1 {
					t.Errorf("bit %d of %d unused bytes: %d batches, %v", bit, unused, n, s.Findings)
				}
			}
		}
	}
}

// TestEveryBitOfALog turns every bit of a small log: no batch is ever lost.
func TestEveryBitOfALog(t *testing.T) {
	data := logOf(t, 30, 200, 64)
	for bit := range len(data) * 8 {
		turned := slices.Clone(data)
		turned[bit/8] ^= 1 << (bit % 8)
		if n, s := salvageLog(t, turned); n != 3 {
			t.Errorf("bit %d of byte %d of %d: %d batches, %v", bit%8, bit/8, len(data), n, s.Findings)
		}
	}
}

// TestIntactWithinARecord: chunks that are sound count as durable although their record is not whole;
// the writer may have synced them before it wrote the rest.
func TestIntactWithinARecord(t *testing.T) {
	img := build(t, "closed", pebble.FormatNewest)
	const cut = 64 << 10
	fs := img.copyOf(t)
	data := logOf(t, 100, 200000)
	write(t, fs, dbDir+"/"+craftedName, data[:cut])
	r := inspect(t, fs)
	if w := r.WALs[len(r.WALs)-1]; w.Num != craftedNum || w.Intact != cut || w.Served >= 200 {
		t.Errorf("log %d: intact up to %d, want %d; served up to %d", w.Num, w.Intact, cut, w.Served)
	}
	n, s := salvageLog(t, data[:cut])
	if n != 1 || len(s.Findings) != 1 || s.Findings[0].Kind != forensic.TornTail {
		t.Errorf("%d batches, %v", n, s.Findings)
	}
}

// TestBitsOfAFooter turns the bits of a table's footer: all entries are salvaged, and it is
// told, unless the bit means nothing. Pebble alone reads a table of an older format as empty after
// some of them, without an error; from TableFormatPebblev6 on the footer has a checksum.
func TestBitsOfAFooter(t *testing.T) {
	for _, format := range []pebble.FormatMajorVersion{pebble.FormatNewest, pebble.FormatWALSyncChunks} {
		img := build(t, "young", format)
		fs := img.copyOf(t)
		db, err := pebble.Open(dbDir, options(fs)) // the log becomes a table
		must(t, err)
		must(t, db.Close())
		path := dbDir + "/" + tables(t, fs, dbDir)[0]
		want, _ := tableEntries(t, fs, path)
		whole := read(t, fs, path)
		content, err := served(fs)
		must(t, err)
		untold, silent := 0, 0
		for bit := (len(whole) - 61) * 8; bit < len(whole)*8; bit++ {
			if bit < (len(whole)-12)*8 && bit%29 != 0 || bit < (len(whole)-8)*8 && bit%4 == 3 {
				continue // handles and padding: a sample will do
			}
			turned := slices.Clone(whole)
			turned[bit/8] ^= 1 << (bit % 8)
			write(t, fs, path, turned)
			got, s := tableEntries(t, fs, path)
			if !slices.Equal(got, want) || !s.Whole {
				t.Errorf("format %d, bit %d: %d of %d entries, %+v", format, bit, len(got), len(want), s)
			}
			if len(s.Findings) == 0 {
				untold++
			}
			if alone, err := served(fs); err == nil && !maps.Equal(alone, content) {
				silent++
			}
		}
		// Without a checksum of its own, the older footer has unused bytes.
		if format == pebble.FormatNewest && untold+silent > 0 {
			t.Errorf("a footer with a checksum: %d bits are not told, Pebble is silent at %d", untold, silent)
		}
		if format == pebble.FormatWALSyncChunks && silent == 0 {
			t.Error("Pebble reads a damaged footer without a checksum: the trap has changed")
		}
	}
}

// TestBitsOfAManifest turns bits all over a MANIFEST: what is live is still known exactly.
func TestBitsOfAManifest(t *testing.T) {
	img := build(t, "closed", pebble.FormatNewest)
	path := dbDir + "/" + inspect(t, img.fs).Manifest.File
	fs := img.copyOf(t)
	whole := read(t, fs, path)
	for at := 0; at < len(whole); at += 1 + len(whole)/60 {
		turned := slices.Clone(whole)
		turned[at] ^= 1 << (at % 8)
		write(t, fs, path, turned)
		r := inspect(t, fs)
		_, state := salvaged(t, fs, dbDir)
		if r.Sound() || !maps.Equal(state, img.want) {
			t.Errorf("byte %d of %d: sound %t, %d keys salvaged, want %d", at, len(whole), r.Sound(), len(state), len(img.want))
		}
	}
}
