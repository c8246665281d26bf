package fits

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"holdfast/tests/testenv"
)

// anyUnit draws an HDU of a few KB.
func anyUnit(t *rapid.T, first bool) unit {
	u := unit{bits: rapid.SampledFrom([]int{8, 16, 32, 64, -32, -64}).Draw(t, "BITPIX"), sums: true}
	if !first {
		u.kind = rapid.SampledFrom([]string{"IMAGE", "TABLE", "BINTABLE", "FOREIGN"}).Draw(t, "XTENSION")
		u.cards = append(u.cards, card("EXTNAME", text(anyName(t)), ""))
	}
	u.axes = rapid.SliceOfN(rapid.IntRange(0, 20), 0, 3).Draw(t, "axes")
	if strings.HasSuffix(u.kind, "TABLE") {
		u.bits, u.axes = 8, []int{rapid.IntRange(0, 90).Draw(t, "width"), rapid.IntRange(0, 90).Draw(t, "rows")}
	}
	n := max(u.bits, -u.bits) / 8
	for _, v := range u.axes {
		n *= v
	}
	if len(u.axes) == 0 {
		n = 0
	}
	u.data = rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "data")
	for i := range rapid.IntRange(0, 50).Draw(t, "cards") {
		u.cards = append(u.cards, card("KEY"+string(rune('A'+i%26)), "1", "one of many"))
	}
	return u
}

func anyName(t *rapid.T) string {
	return rapid.StringMatching(`[A-Z][A-Z0-9_]{0,7}`).Draw(t, "EXTNAME")
}

func anyUnits(t *rapid.T) []unit {
	units := []unit{anyUnit(t, true)}
	for range rapid.IntRange(0, 3).Draw(t, "extensions") {
		units = append(units, anyUnit(t, false))
	}
	return units
}

// mustCheck checks b, read as it comes by rd.
func mustCheck(t rapid.TB, b []byte, rd func(io.Reader) io.Reader) Report {
	t.Helper()
	r, err := Check(rd(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func asIs(r io.Reader) io.Reader { return r }

// TestWrittenFilesAreGood: whatever they hold, every byte is read, and each HDU is found where it was put.
func TestWrittenFilesAreGood(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		units := anyUnits(rt)
		b := file(units...)
		var hashed bytes.Buffer
		r := mustCheck(rt, b, func(r io.Reader) io.Reader { return io.TeeReader(r, &hashed) })
		if r.Verdict != Good || len(r.Findings) > 0 || r.Want != int64(len(b)) || len(r.HDUs) != len(units) {
			rt.Fatalf("got %+v, want it good", r)
		}
		if !bytes.Equal(hashed.Bytes(), b) {
			rt.Fatal("another reader of the same pass has not got every byte")
		}
		skimmed(t, b, r)
		at := int64(0)
		for i, h := range r.HDUs {
			if h.Offset != at || h.Data != int64(len(units[i].data)) || i > 0 && h.Kind != units[i].kind ||
				h.Checksum != SumGood || h.Datasum != SumGood {
				rt.Fatalf("HDU %d: got %+v, want it at %d with %d bytes", i, h, at, len(units[i].data))
			}
			at = h.End()
		}
	})
}

// TestPiecesDoNotMatter: a reader may give one byte at a time.
func TestPiecesDoNotMatter(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := file(anyUnits(rt)...)
		b = b[:rapid.IntRange(0, len(b)).Draw(rt, "cut")]
		want := mustCheck(rt, b, asIs)
		for _, rd := range []func(io.Reader) io.Reader{iotest.HalfReader, iotest.DataErrReader,
			iotest.OneByteReader} {
			if got := mustCheck(rt, b, rd); !reflect.DeepEqual(got, want) {
				rt.Fatalf("got %+v, want %+v", got, want)
			}
		}
	})
}

// TestAFlippedBitIsFound: anywhere in a file in which every HDU has its sums, it is an error and never only an
// absent sum.
func TestAFlippedBitIsFound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := file(anyUnits(rt)...)
		at, bit := rapid.IntRange(0, len(b)-1).Draw(rt, "byte"), rapid.UintRange(0, 7).Draw(rt, "bit")
		r := mustCheck(rt, flip(b, at, bit), asIs)
		if r.Verdict != Bad && r.Verdict != Truncated && r.Verdict != NotFITS {
			rt.Fatalf("bit %d of byte %d: got %s %v", bit, at, r.Verdict, r.Findings)
		}
	})
}

// TestEveryFlippedBitOfCards: the same for each bit of the cards of one file, where the dangerous ones are; each
// fourth of them in the short form.
func TestEveryFlippedBitOfCards(t *testing.T) {
	b := file(unit{bits: 8, sums: true}, image("SCI"))
	step, from := uint64(4), testenv.Seed(t)
	if testenv.Torture() {
		step = 1
	}
	for at := range 2 * BlockSize {
		if at%BlockSize > 12*recordSize { // blank to the end of the header
			continue
		}
		for bit := range uint(8) {
			if (uint64(at)*8+uint64(bit)+uint64(at)/recordSize+from)%step != 0 {
				continue
			}
			r := mustCheck(t, flip(b, at, bit), asIs)
			if r.Verdict != Bad && r.Verdict != Truncated && r.Verdict != NotFITS {
				t.Fatalf("bit %d of byte %d: got %s %v", bit, at, r.Verdict, r.Findings)
			}
		}
	}
}

// TestACutIsFound: a file that ends anywhere but behind an HDU is truncated, and once the header is whole the
// number of missing bytes is right to the end of that HDU.
func TestACutIsFound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := file(anyUnits(rt)...)
		whole := mustCheck(rt, b, asIs)
		cut := rapid.IntRange(0, len(b)-1).Draw(rt, "cut")
		r := mustCheck(rt, b[:cut], asIs)
		skimmed(t, b[:cut], r)
		for _, h := range whole.HDUs {
			if int64(cut) == h.End() {
				if r.Verdict != Good {
					rt.Fatalf("cut behind an HDU: got %v", r)
				}
				return
			}
			if int64(cut) > h.End() {
				continue
			}
			if r.Verdict != Truncated || !r.InHeader && r.Missing() != h.End()-int64(cut) || r.Missing() <= 0 {
				rt.Fatalf("cut at %d of %+v: got %+v", cut, h, r)
			}
			if fill := int64(cut) >= h.Offset+h.Header+h.Data; fill && h.Data > 0 && !r.OnlyFill {
				rt.Fatalf("cut at %d of %+v: got %+v, want only fill missing", cut, h, r)
			}
			return
		}
	})
}

func TestTheSumIsThatOfTheStandard(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		words := rapid.SampledFrom([][]byte{{0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0x80, 0, 0, 1}, {1, 2, 3, 4}})
		b := bytes.Join(rapid.SliceOfN(words, 0, 300).Draw(rt, "words"), nil)
		if rapid.Bool().Draw(rt, "random") {
			b = rapid.SliceOfN(rapid.Byte(), len(b), len(b)).Draw(rt, "bytes")
		}
		cut := rapid.IntRange(0, len(b)/8).Draw(rt, "cut") * 8
		got := sum(0).add(b[:cut]).add(b[cut:])
		if got.value() != plainSum(b) {
			rt.Fatalf("got %d, want %d", got.value(), plainSum(b))
		}
		if parts := sum(0).add(b[:cut]).plus(sum(0).add(b[cut:])); parts.value() != plainSum(b) {
			rt.Fatalf("in parts: got %d, want %d", parts.value(), plainSum(b))
		}
	})
}

// repeated gives the same bytes n times.
type repeated struct {
	b    []byte
	n    int
	rest []byte
}

func (r *repeated) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.n == 0 {
			return 0, io.EOF
		}
		r.n, r.rest = r.n-1, r.b
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// held is how many bytes of memory more are in use while f runs than before, looked at when peek is called.
func held(f func(peek func())) uint64 {
	var m runtime.MemStats
	use := func() uint64 {
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most := use(), uint64(0)
	f(func() { most = max(most, use()) })
	return max(most, before) - before
}

// TestMemoryIsBounded: a long header, many HDUs, much data and many findings are read on the memory of few.
func TestMemoryIsBounded(t *testing.T) {
	const most = 3 << 20
	end := record("END") + strings.Repeat(" ", 32*recordSize)
	start := strings.TrimSuffix(unit{bits: 8}.header(), end)
	comments := []byte(strings.Repeat(record("COMMENT a line of text"), 36) + strings.Repeat(record("bad "), 36))
	ext := file(unit{kind: "IMAGE", bits: 8, cards: []string{record("lower = 1")}})
	for _, c := range []struct {
		name string
		file io.Reader
		want Verdict
		hdus int
	}{
		{"a header of 6 MB", io.MultiReader(strings.NewReader(start), &repeated{b: comments, n: 1000},
			strings.NewReader(end)), Absent, 1},
		{"12,000 HDUs", io.MultiReader(bytes.NewReader(unit{bits: 8}.bytes()), &repeated{b: ext, n: 12000}),
			Absent, 12001},
		{"86 MB of data", io.MultiReader(strings.NewReader(unit{bits: 8, axes: []int{BlockSize, 30000}}.header()),
			&repeated{b: make([]byte, 100*BlockSize), n: 300}), Absent, 1},
	} {
		var r Report
		use := held(func(peek func()) {
			var err error
			if r, err = Check(c.file); err != nil {
				t.Fatal(err)
			}
			peek()
		})
		if use > most {
			t.Errorf("%s: got %d bytes of memory, want at most %d", c.name, use, most)
		}
		if r.Count != c.hdus || len(r.HDUs) > MaxHDUs || len(r.Findings) > MaxFindings || r.Verdict != c.want {
			t.Errorf("%s: got %s, %d HDUs, %d of them listed, %d findings", c.name, r.Verdict, r.Count, len(r.HDUs),
				len(r.Findings))
		}
	}
}

// TestAFaultIsNotLostAmongRemarks: the verdict and its reason stay when there is no room for more findings.
func TestAFaultIsNotLostAmongRemarks(t *testing.T) {
	remarks := unit{kind: "IMAGE", bits: 8, cards: []string{record("lower = 1")}}
	b := bytes.Repeat(file(remarks), MaxFindings+10)
	b = append(file(unit{bits: 8}), b...)
	r := mustCheck(t, then(b, "garbage"), asIs)
	if r.Verdict != Bad || !strings.Contains(r.String(), "7 bytes that are no FITS") || r.Unsaid != 11 {
		t.Errorf("got %v, want the garbage told and 11 findings unsaid", r)
	}
}

// counted counts what is read of a file.
type counted struct {
	io.ReaderAt
	bytes int
}

func (c *counted) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, at)
	c.bytes += n
	return n, err
}

// TestSkimReadsNoData: asking whether a file is complete costs its headers, and no more while it grows.
func TestSkimReadsNoData(t *testing.T) {
	b := file(unit{bits: 8, axes: []int{BlockSize, 100}, data: make([]byte, 100*BlockSize)}, image("SCI"))
	for _, c := range []struct {
		size, want int
		verdict    Verdict
	}{{len(b), 2 * BlockSize, Whole}, {len(b) / 2, BlockSize, Truncated}, {100 * BlockSize, BlockSize, Truncated},
		{101*BlockSize + 100, BlockSize + 100, Truncated}, {101*BlockSize + 3, BlockSize + 3, Truncated}} {
		f := &counted{ReaderAt: bytes.NewReader(b)}
		r, err := Skim(f, int64(c.size))
		if err != nil || r.Verdict != c.verdict || f.bytes != c.want {
			t.Errorf("%d bytes: got %v, %v and %d bytes read, want %s and %d", c.size, r, err, f.bytes, c.verdict,
				c.want)
		}
	}
	// The file has become shorter since its size was asked for.
	if r, err := Skim(bytes.NewReader(b[:100]), int64(len(b))); err != nil || r.Verdict != Truncated {
		t.Errorf("got %v, %v, want it truncated", r, err)
	}
}

// TestAReadErrorIsNoVerdict: the disk's error is not a fault of the file.
func TestAReadErrorIsNoVerdict(t *testing.T) {
	broken := errors.New("the disk is gone")
	for _, n := range []int{0, 100, 3000, len(sound)} {
		r, err := Check(io.MultiReader(bytes.NewReader(sound[:n]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) || r.Verdict != "" {
			t.Errorf("after %d bytes: got %v, %v, want the disk's error and no verdict", n, r, err)
		}
	}
}
