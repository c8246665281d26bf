package lines

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// kept is a Line whose bytes are its own.
type kept struct {
	text       string
	cut        bool
	begin, end int64
}

// split cuts a stream that comes in reads of the sizes that size returns.
func split(stream []byte, max int, at int64, size func() int) (all []kept, s *Splitter) {
	s = NewSplitter(max, at)
	for len(stream) > 0 {
		n := min(size(), len(stream))
		part := bytes.Clone(stream[:n])
		s.Push(part)
		clear(part) // it is not kept
		stream = stream[n:]
		for l, ok := s.Next(); ok; l, ok = s.Next() {
			all = append(all, kept{string(l.Text), l.Cut, l.Begin, l.End})
		}
	}
	return all, s
}

// plain is what lines are, said in another way.
func plain(stream []byte, max int, at int64) (all []kept, rest []byte) {
	for {
		line, more, found := bytes.Cut(stream, []byte("\n"))
		if !found {
			return all, stream
		}
		k := kept{begin: at, end: at + int64(len(line)) + 1}
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) > max {
			line, k.cut = line[:max], true
		}
		k.text = string(line)
		all, stream, at = append(all, k), more, k.end
	}
}

func check(t interface{ Fatalf(string, ...any) }, stream []byte, max int, at int64, size func() int) {
	got, s := split(stream, max, at, size)
	want, rest := plain(stream, max, at)
	if !slices.Equal(got, want) {
		t.Fatalf("%q, at most %d:\n got %+v\nwant %+v", stream, max, got, want)
	}
	if read := at + int64(len(stream)); s.Read() != read || s.At() != read-int64(len(rest)) {
		t.Fatalf("%q: read to %d, next line at %d", stream, s.Read(), s.At())
	}
	if len(s.buf)-s.used > max+1 {
		t.Fatalf("%d bytes are kept of a line of at most %d", len(s.buf)-s.used, max)
	}
	l, ok := s.Rest()
	if ok != (len(rest) > 0) || !bytes.Equal(l.Text, rest[:min(max, len(rest))]) || l.Cut != (len(rest) > max) {
		t.Fatalf("rest %q: got %+v, %v", rest, l, ok)
	}
	if _, again := s.Rest(); again || s.At() != s.Read() {
		t.Fatalf("%q: the rest is there twice", stream)
	}
}

func TestSplitter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stream := rapid.SliceOfN(rapid.SampledFrom([]byte("ab\n\n\r\x00\xff")), 0, 80).Draw(t, "stream")
		sizes := rapid.SliceOfN(rapid.IntRange(1, 20), 1, 10).Draw(t, "sizes")
		i := 0
		check(t, stream, rapid.IntRange(1, 10).Draw(t, "max"), rapid.Int64Range(0, 1<<40).Draw(t, "at"), func() int {
			i++
			return sizes[i%len(sizes)]
		})
	})
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("one\ntwo\r\n\nthree"), 4, uint64(1))
	f.Add([]byte("\r\n\r\r\n\n"), 1, uint64(2))
	f.Add(bytes.Repeat([]byte("x"), 300), 100, uint64(3))
	f.Fuzz(func(t *testing.T, stream []byte, max int, seed uint64) {
		if max < 1 || max > 1<<10 {
			return
		}
		r := rand.New(rand.NewPCG(seed, 0))
		check(t, stream, max, 0, func() int { return 1 + r.IntN(50) })
	})
}

// A line without an end is not kept.
func TestSplitterMemory(t *testing.T) {
	s := NewSplitter(1000, 0)
	part := bytes.Repeat([]byte("x"), 64<<10)
	for range 10_000 {
		s.Push(part)
		if l, ok := s.Next(); ok {
			t.Fatalf("got %d bytes", len(l.Text))
		}
	}
	if cap(s.buf) > 256<<10 {
		t.Errorf("%d bytes are kept", cap(s.buf))
	}
	s.Push([]byte("\nb\n"))
	l, _ := s.Next()
	if !l.Cut || len(l.Text) != 1000 || l.End != 10_000*64<<10+1 {
		t.Errorf("got %d bytes to %d, cut: %v", len(l.Text), l.End, l.Cut)
	}
	if l, _ := s.Next(); string(l.Text) != "b" || l.Cut {
		t.Errorf("got %q behind it", l.Text)
	}
}

func BenchmarkSplitter(b *testing.B) {
	var stream []byte
	for i := range 1000 {
		stream = fmt.Appendf(stream, "Jan 31 12:00:%02d host sshd[%d]: Failed password for root from 192.0.2.7 port %d ssh2\n", i%60, i, i)
	}
	b.SetBytes(int64(len(stream)))
	s := NewSplitter(0, 0)
	for b.Loop() {
		s.Push(stream)
		for _, ok := s.Next(); ok; _, ok = s.Next() {
		}
	}
}
