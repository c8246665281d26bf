package cdxj

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"holdfast/base/fault"
)

// bySort is what LC_ALL=C sort -u makes of a text.
func bySort(t testing.TB, text string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sort", "-u")
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// manyLines are n lines of random keys, some of which come twice; each is pad bytes longer than it need be.
func manyLines(seed uint64, n, pad int) string {
	r := rand.New(rand.NewPCG(seed, 2))
	var b []byte
	for range n {
		l := example
		l.Key = fmt.Sprintf("com,example)/%x", r.IntN(n))
		if r.IntN(3) == 0 {
			l.Key += string([]byte{0x21 + byte(r.IntN(0x5d)), 0xc3, 0xa9}) + strings.Repeat("y", r.IntN(90))
		}
		l.Offset, l.Filename = int64(r.IntN(2)), strings.Repeat("x", pad)
		b, _ = l.Append(b)
	}
	return string(b)
}

func sorted(t testing.TB, s *Sorter, text string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if err := s.Add([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	for level, files := range s.runs {
		if len(files) > maxRuns {
			t.Errorf("%d files of level %d are open", len(files), level)
		}
	}
	var out bytes.Buffer
	if err := s.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The order is that of sort, in memory and through files of two levels; and no file is left.
func TestSort(t *testing.T) {
	dir := t.TempDir()
	s := NewSorter(dir, 0)
	defer s.Close()
	for _, n := range []int{0, 1, 500, 5000} {
		pad := n / 5000 * 4000
		text := manyLines(uint64(n), n, pad)
		if got := sorted(t, s, text); got != bySort(t, text) {
			t.Errorf("%d lines: got another order than sort", n)
		}
		if pad > 0 && len(text) < MaxLine*(maxRuns+2) {
			t.Errorf("%d bytes are too few for two levels", len(text))
		}
	}
	odd := "a\n" + "a\tb\n" + "a b\n" + "a\xff\n" + "\x01\n"
	if got := sorted(t, s, odd); got != bySort(t, odd) {
		t.Errorf("got %q, want %q", got, bySort(t, odd))
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("got %v left and %v", left, err)
	}
}

// What a Sorter holds in memory does not grow with what is added.
func TestSortIsBounded(t *testing.T) {
	s := NewSorter(t.TempDir(), 1<<20)
	defer s.Close()
	for line := range strings.Lines(manyLines(7, 8_000, 1000)) {
		if err := s.Add([]byte(line)); err != nil {
			t.Fatal(err)
		}
		if len(s.text)+spanSize*len(s.lines) > 1<<20 {
			t.Fatalf("got %d bytes and %d lines", len(s.text), len(s.lines))
		}
	}
	if len(s.runs) == 0 || len(s.runs[0]) < 5 {
		t.Error("there are no files")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := sorted(t, s, "b\na\n"); got != "a\nb\n" {
		t.Errorf("after Close: got %q", got)
	}
}

func TestSortRefuses(t *testing.T) {
	s := NewSorter(t.TempDir(), 0)
	for _, line := range []string{"", "\n", "a\nb", strings.Repeat("x", MaxLine)} {
		if err := s.Add([]byte(line)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%.20q: got %v", line, err)
		}
	}
	gone := NewSorter(filepath.Join(t.TempDir(), "gone"), 0)
	var err error
	for line := range strings.Lines(manyLines(1, 2000, 0)) {
		if err = gone.Add([]byte(line)); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that there is no directory", err)
	}
	// When the directory is there again, nothing was lost.
	gone.dir = t.TempDir()
	text := manyLines(1, 2000, 0)
	if got := sorted(t, gone, text); got != bySort(t, text) {
		t.Error("a failure lost lines")
	}
}

// TestSortOnAFullDisk: lines of which the last bytes found no room are not lost.
func TestSortOnAFullDisk(t *testing.T) {
	text := manyLines(1, 2000, 0)
	fill := func(s *Sorter) (rest string, err error) { // until a file is made
		for rest = text; len(s.runs) == 0; {
			line, after, _ := strings.Cut(rest, "\n")
			if err := s.Add([]byte(line)); err != nil {
				return rest, err
			}
			rest = after
		}
		return rest, nil
	}
	first := NewSorter(t.TempDir(), 0)
	defer first.Close()
	if _, err := fill(first); err != nil {
		t.Fatal(err)
	}
	info, err := first.runs[0][0].Stat()
	if err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	setLimit := func(bytes uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
	}
	s := NewSorter(t.TempDir(), 0)
	setLimit(uint64(info.Size()) - 1)
	rest, err := fill(s)
	setLimit(limit.Cur)
	if !errors.Is(err, syscall.EFBIG) {
		t.Fatalf("got %v, want that there is no room", err)
	}
	if got := sorted(t, s, rest); got != bySort(t, text) {
		t.Error("a full disk lost lines")
	}
}

func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in []io.Reader
		var all []string
		for _, part := range rapid.SliceOfN(rapid.SliceOf(rapid.StringMatching(`[a-c !]{1,4}`)), 0, 6).Draw(t, "parts") {
			slices.Sort(part)
			all = append(all, part...)
			in = append(in, iotest.OneByteReader(strings.NewReader(strings.Join(part, "\n"))))
		}
		slices.Sort(all)
		want := strings.Join(slices.Compact(all), "\n")
		if want != "" {
			want += "\n"
		}
		var out strings.Builder
		if err := Merge(&out, in...); err != nil || out.String() != want {
			t.Errorf("got %q and %v, want %q", out.String(), err, want)
		}
	})
}

func TestMergeRefuses(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	for _, text := range []string{"b\na\n", "a\nb\na", long + "\n", "a\n" + long} {
		if err := Merge(io.Discard, strings.NewReader(text), strings.NewReader("a\nc\n")); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%.20q: got %v", text, err)
		}
	}
	broken := errors.New("broken")
	if err := Merge(io.Discard, io.MultiReader(strings.NewReader("a\n"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// found are the lines that Find gives, as a text.
func found(t testing.TB, f *File, prefix string) string {
	t.Helper()
	var b []byte
	for l, err := range f.Find(prefix) {
		if err != nil {
			t.Fatal(err)
		}
		if b, err = l.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	return string(b)
}

// grep is what Find should give.
func grep(text, prefix string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// counting counts the bytes that are read.
type counting struct {
	io.ReaderAt
	n int64
}

func (c *counting) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, at)
	c.n += int64(n)
	return n, err
}

func TestFind(t *testing.T) {
	text := bySort(t, manyLines(3, 300, 0))
	f := NewFile(strings.NewReader(text), int64(len(text)))
	for line := range strings.Lines(text) {
		key := line[:strings.IndexByte(line, ' ')+1]
		for _, prefix := range []string{key, key + "2017", key + "2018", key[:len(key)-2], line[:len(line)-1]} {
			if got, want := found(t, f, prefix), grep(text, prefix); got != want {
				t.Fatalf("%q: got %q, want %q", prefix, got, want)
			}
		}
	}
	for _, prefix := range []string{"", "a", "com,", "com,example)", "com,examplf", "\xff", "zz"} {
		if got, want := found(t, f, prefix), grep(text, prefix); got != want {
			t.Errorf("%q: got %d bytes, want %d", prefix, len(got), len(want))
		}
	}
	text = bySort(t, manyLines(4, 3000, 0))
	counter := &counting{ReaderAt: strings.NewReader(text)}
	found(t, NewFile(counter, int64(len(text))), "com,example)/55 ")
	if counter.n > 16*2*4096 || counter.n > int64(len(text))/4 {
		t.Errorf("a look-up reads %d bytes of %d", counter.n, len(text))
	}
}

// In every sorted text, with lines of any length, every prefix is found.
func TestFindAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text []byte
		var all []string
		for range rapid.IntRange(0, 12).Draw(t, "lines") {
			l := anyLine(t)
			l.Filename = strings.Repeat("x", rapid.SampledFrom([]int{0, 5, 5000}).Draw(t, "long"))
			b, err := l.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(b))
		}
		slices.Sort(all)
		for _, line := range all {
			text = append(text, line...)
		}
		if rapid.Bool().Draw(t, "no end") {
			text = bytes.TrimSuffix(text, []byte("\n"))
		}
		f := NewFile(bytes.NewReader(text), int64(len(text)))
		prefix := rapid.StringMatching(`(com|org)?,?[a-c]{0,2}(\)/)?[a-c]{0,2} ?2?`).Draw(t, "prefix")
		want := grep(strings.Join(all, ""), prefix)
		var got []byte
		for l, err := range f.Find(prefix) {
			if err != nil {
				t.Fatal(err)
			}
			got, _ = l.Append(got)
		}
		if string(got) != want {
			t.Errorf("%q: got %q, want %q", prefix, got, want)
		}
	})
}

func TestFindFails(t *testing.T) {
	long := strings.Repeat("x", MaxLine+1)
	for text, kind := range map[string]fault.Kind{"a b\n": fault.Invalid, long: fault.Corrupt,
		"a\n" + long + "\nz\n": fault.Corrupt} {
		var got error
		for _, err := range NewFile(strings.NewReader(text), int64(len(text))).Find("a") {
			got = err
		}
		if !fault.Is(got, kind) {
			t.Errorf("%.20q: got %v, want %v", text, got, kind)
		}
	}
	var got error
	for _, err := range NewFile(strings.NewReader("a"), 100).Find("x") {
		got = err
	}
	if !fault.Is(got, fault.Corrupt) {
		t.Errorf("an index that is shorter than it was: got %v", got)
	}
	text := bySort(t, manyLines(5, 3000, 0))
	half := strings.LastIndexByte(text[:len(text)/2], '\n') + 1
	for line, err := range NewFile(strings.NewReader(text[half:]+text[:half]), int64(len(text))).Find("com,example)/1") {
		if got = err; err == nil {
			t.Errorf("an index that is not sorted: got %v", line)
		}
	}
	if !fault.Is(got, fault.Corrupt) || fault.HintOf(got) == "" {
		t.Errorf("an index that is not sorted: got %v", got)
	}
	for range NewFile(strings.NewReader(exampleText+exampleText), int64(2*len(exampleText))).Find("com") {
		break // a caller that has enough
	}
}
