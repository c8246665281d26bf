package journal

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

var noon = time.Date(2011, 6, 23, 12, 0, 0, 0, time.UTC)

// lines are one of each kind, with and without what may lack.
var lines = []Line{
	{Kind: Queued, URL: "http://a.example/"},
	{Kind: Queued, URL: "http://a.example/x?y=1", Hops: "L", Via: "http://a.example/"},
	{Kind: Queued, URL: "http://a.example/deep", Hops: "7+LLRE", Via: "http://a.example/x"},
	{Kind: Queued, URL: "http://b.example/", Via: "http://a.example/"},
	{Kind: Taken, URL: "http://a.example/"},
	{Kind: Fetched, URL: "http://a.example/"},
	{Kind: Fetched, URL: "http://a.example/x?y=1", Hops: "L", Via: "http://a.example/"},
	{Kind: Failed, URL: "http://b.example/", Hops: "X", Via: "http://a.example/"},
	{Kind: Disregarded, URL: "http://b.example/private"},
	{Kind: PutBack, URL: "http://b.example/slow"},
	{Kind: Included, URL: "http://b.example/old"},
	{Kind: Time, At: noon},
	{Kind: Trouble, At: noon, Text: "java.io.IOException: no room"},
}

func TestLinesThereAndBack(t *testing.T) {
	for _, l := range lines {
		text := string(l.Append(nil))
		if l.Kind == Trouble {
			text = strings.TrimSuffix(text, "\n")
		}
		got, err := Parse(strings.TrimSuffix(text, "\n"))
		if err != nil || !reflect.DeepEqual(got, l) {
			t.Errorf("%q: got %+v (%v), want %+v", text, got, err, l)
		}
	}
}

// TestBytes: what is written is what Heritrix writes.
func TestBytes(t *testing.T) {
	want := "F+ http://a.example/  \n" +
		"F+ http://a.example/x?y=1 L http://a.example/\n" +
		"F+ http://a.example/deep 7+LLRE http://a.example/x\n" +
		"F+ http://b.example/  http://a.example/\n" +
		"Fe http://a.example/\n" +
		"Fs http://a.example/  \n" +
		"Fs http://a.example/x?y=1 L http://a.example/\n" +
		"Ff http://b.example/ X http://a.example/\n" +
		"Fd http://b.example/private\n" +
		"Fr http://b.example/slow\n" +
		"Fi http://b.example/old\n" +
		"T 20110623120000\n" +
		"E 20110623120000 java.io.IOException: no room\n\n"
	var got []byte
	for _, l := range lines {
		got = l.Append(got)
	}
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	evil := Line{Kind: Queued, URL: "http://a.example/a b\nFs http://c.example/", Hops: "L L\n", Via: "http://x\t/"}
	if got, want := string(evil.Append(nil)), "F+ http://a.example/a%20b%0AFs%20http://c.example/ LL http://x%09/\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestForeignLines: lines of other versions of Heritrix, and those that say nothing.
func TestForeignLines(t *testing.T) {
	for text, want := range map[string]Line{
		"Fs http://a.example/":         {Kind: Fetched, URL: "http://a.example/"}, // Heritrix 1
		"Ff http://a.example/\r":       {Kind: Failed, URL: "http://a.example/"},
		"F+ http://a.example/":         {Kind: Queued, URL: "http://a.example/"},
		"F+ http://a.example/ LL -":    {Kind: Queued, URL: "http://a.example/", Hops: "LL"},
		"F+ http://a.example/ - -":     {Kind: Queued, URL: "http://a.example/"},
		"F+ dns:a.example P http://a/": {Kind: Queued, URL: "dns:a.example", Hops: "P", Via: "http://a/"},
		"F+ http://a.example/i E http://a.example/ img/@src extra": {Kind: Queued, URL: "http://a.example/i", Hops: "E",
			Via: "http://a.example/"},
		"F+ http://a.example/x http://a.example/ LLX": {Kind: Queued, URL: "http://a.example/x", Hops: "LLX",
			Via: "http://a.example/"},
		"F+ http://a.example/x  http://a.example/ a/@href": {Kind: Queued, URL: "http://a.example/x", Via: "http://a.example/"},
		"T 20110623120000":    {Kind: Time, At: noon},
		"T 20110623120000000": {Kind: Time, At: noon},
		"E 20110623120000":    {Kind: Trouble, At: noon},
	} {
		if got, err := Parse(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v (%v), want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]error{
		"": errEmpty, "\r": errEmpty, "F": errKind, "F+": errKind, "F+http://a/": errKind, "Fx http://a/": errKind,
		"G+ http://a/": errKind,
		"F- http://a/": errKind, "F+ ": errNoURL, "Fs    ": errNoURL, "Fe http://a/ L": errFields,
		"Fd http://a/ L http://b/":  errFields,
		"F+ http://a/ 12 http://b/": errHops, "F+ http://a/ <> x": errHops, "T yesterday": errTime, "E ": errTime, "T 2011": errTime,
		"F+ http://a/\x00 L": errByte, "Fs http://a/\x1f\x8b": errByte,
	} {
		if got, err := Parse(text); !errors.Is(err, want) {
			t.Errorf("%q: got %+v, %v, want %v", text, got, err, want)
		}
	}
}

// pack packs texts, each a member.
func pack(t testing.TB, texts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, text := range texts {
		z := gzip.NewWriter(&b)
		if _, err := io.WriteString(z, text); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// readAll reads a journal to its end.
func readAll(t testing.TB, b []byte) (all []string, bad []error, r *Reader) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(b), "j")
	if err != nil {
		t.Fatal(err)
	}
	for {
		line, err := r.Next()
		var is *BadLine
		switch {
		case errors.As(err, &is):
			bad = append(bad, err)
		case err == io.EOF:
			return all, bad, r
		case err != nil:
			t.Fatal(err)
		default:
			all = append(all, string(line))
		}
	}
}

// TestCutAnywhere: of a journal that was cut off, each line counts that is whole, and no other; that it was cut is told.
func TestCutAnywhere(t *testing.T) {
	var text []string
	for n := range 300 {
		text = append(text, strings.TrimSuffix(string(Line{Kind: Queued, URL: "http://a.example/" + strings.Repeat("ab", n%40),
			Hops: "LL", Via: "http://a.example/"}.Append(nil)), "\n"))
	}
	half := strings.Join(text[:150], "\n") + "\n"
	rest := strings.Join(text[150:], "\n") + "\n"
	journals := map[string][]byte{"plain": []byte(half + rest), "packed": pack(t, half+rest), "two": pack(t, half, rest)}
	for name, whole := range journals {
		border := len(whole)
		if name == "two" {
			border = len(pack(t, half))
		}
		last := 0
		for n := 0; n <= len(whole); n += 1 + n/200 {
			all, bad, r := readAll(t, whole[:n])
			if len(bad) > 0 || len(all) < last || len(all) > 300 {
				t.Fatalf("%s: %d bytes: %d lines after %d (%v)", name, n, len(all), last, bad)
			}
			last = len(all)
			for i, l := range all {
				if l != text[i] {
					t.Fatalf("%s: %d bytes: line %d is %q, want %q", name, n, i, l, text[i])
				}
			}
			end := n == 0 || n == len(whole) || n == border || name == "plain" && whole[n-1] == '\n'
			if name != "plain" && n < 2 {
				continue // no one can tell
			}
			if cut := r.Cut(); (cut == nil) != end {
				t.Fatalf("%s: %d bytes of %d: cut is told as %v", name, n, len(whole), cut)
			}
			if r.Position().Line != int64(len(all)) {
				t.Fatalf("%s: %d bytes: at %+v behind %d lines", name, n, r.Position(), len(all))
			}
		}
		if all, _, _ := readAll(t, whole); len(all) != 300 {
			t.Errorf("%s: %d lines of the whole", name, len(all))
		}
	}
}

// TestDamage: what is in front of a flipped bit counts as far as it can be read; the damage is told.
func TestDamage(t *testing.T) {
	b := pack(t, strings.Repeat("Fe http://a.example/\n", 10_000))
	b[len(b)-6] ^= 1 // the checksum
	all, _, r := readAll(t, b)
	if r.Cut() == nil || !strings.Contains(r.Cut().Error(), "behind line") {
		t.Errorf("%d lines, cut %v", len(all), r.Cut())
	}
}

// TestLongLine: it is told, costs no memory, and the next one counts.
func TestLongLine(t *testing.T) {
	long := "F+ http://a.example/" + strings.Repeat("x", 3*longestLine)
	fits := "Fe http://a.example/" + strings.Repeat("y", longestLine-100)
	all, bad, r := readAll(t, pack(t, "Fe a:\n"+long+"\n"+fits+"\nFe b:\n"+long))
	if len(all) != 3 || all[1] != fits || all[2] != "Fe b:" {
		t.Errorf("%d lines", len(all))
	}
	if len(bad) != 2 || !strings.HasPrefix(bad[0].Error(), "j, line 2: it has more than") {
		t.Errorf("bad lines: %.200v", bad)
	}
	if want := int64(len("Fe a:\n"+long+"\n"+fits+"\nFe b:\n") + len(long)); r.Position() != (Position{5, want}) {
		t.Errorf("at %+v", r.Position())
	}
}

// TestOldest: a journal of 2004 has the ends of its lines in front.
func TestOldest(t *testing.T) {
	all, _, r := readAll(t, pack(t, "\nF+ http://a/  \nFe http://a/\nFs http://a/"))
	if len(all) != 4 || all[0] != "" || all[3] != "Fs http://a/" || r.Cut() != nil {
		t.Errorf("%q, %v", all, r.Cut())
	}
}

// failing fails in the middle.
type failing struct{ r io.Reader }

var errDisk = errors.New("the disk is gone")

func (f failing) Read(b []byte) (int, error) {
	n, err := f.r.Read(b)
	if err == io.EOF {
		err = errDisk
	}
	return n, err
}

// TestReadFails: a disk that can't be read is no end of a journal.
func TestReadFails(t *testing.T) {
	for _, b := range [][]byte{[]byte("Fe a:\nFe b"), pack(t, "Fe a:\nFe b:\n")[:30], {0x1f, 0x8b, 8}, {0x1f}} {
		r, err := NewReader(failing{bytes.NewReader(b)}, "j")
		for err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, l := range lines {
		f.Add(strings.TrimRight(string(l.Append(nil)), "\n"))
	}
	f.Add("F+ http://a.example/x http://a.example/ LLX")
	f.Add("F+ http://a/ 3+L http://b/ c d")
	f.Add("F+ 0 - 00")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := Parse(s)
		if err != nil {
			return
		}
		text := string(l.Append(nil))
		if n := strings.Count(text, "\n"); n != 1 && l.Kind != Trouble {
			t.Fatalf("%q is written as %q", s, text)
		}
		got, err := Parse(strings.TrimRight(text, "\n"))
		if l.Kind == Trouble {
			return
		}
		if err != nil || got.Kind != l.Kind || got.Hops != l.Hops || got.Via != l.Via || !got.At.Equal(l.At) || got.URL != l.URL {
			t.Fatalf("%q is %+v, and written %q, which is %+v (%v)", s, l, text, got, err)
		}
	})
}

func FuzzReader(f *testing.F) {
	text := "F+ http://a.example/  \n\nFs http://a.example/\nnonsense\nT 20110623120000\nFe x"
	f.Add([]byte(text), uint8(1))
	f.Add(pack(f, text), uint8(2))
	f.Add(pack(f, text, text)[:60], uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, at uint8) {
		all, _, r := readAll(t, b)
		end := r.Position()
		if end.Line < int64(len(all)) {
			t.Fatalf("%d lines, at %+v", len(all), end)
		}
		again, err := NewReader(bytes.NewReader(b), "j")
		if err != nil {
			t.Fatal(err)
		}
		for range at { // the same from any position on
			if _, err := again.Next(); err == io.EOF {
				break
			}
		}
		third, err := NewReader(bytes.NewReader(b), "j")
		if err != nil {
			t.Fatal(err)
		}
		if err := third.Skip(again.Position()); err != nil {
			t.Fatal(err)
		}
		for {
			x, err := again.Next()
			x = bytes.Clone(x)
			y, err2 := third.Next()
			if !bytes.Equal(x, y) || (err == nil) != (err2 == nil) || again.Position() != third.Position() {
				t.Fatalf("%q %v, skipped to: %q %v", x, err, y, err2)
			}
			if err == io.EOF {
				return
			}
		}
	})
}
