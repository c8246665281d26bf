package tree

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// old sets a file's time back by three years.
func old(t testing.TB, path string) {
	t.Helper()
	check(t, os.Chtimes(path, time.Time{}, time.Now().AddDate(-3, 0, 0)))
}

func TestWindow(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	at := func(h float64) time.Time { return now.Add(time.Duration(h * float64(time.Hour))) }
	back := Back(now, 12*time.Hour, time.Hour)
	caught := Back(now, 12*time.Hour, 0)
	caught.Changed = at(-1)
	for _, c := range []struct {
		w            Window
		mtime, ctime float64 // hours from now
		want         bool
	}{
		{Window{}, -1e5, -1e5, true},
		{back, -12.01, 0, false},
		{back, -12, 0, true},
		{back, -1, 0, true},
		{back, -0.99, 0, false},
		{back, 1, 0, false},
		{Back(now, 0, time.Hour), -1e5, 0, true},
		{Back(now, 12*time.Hour, 0), 1, 0, true}, // the clock was set back
		{caught, -24, -0.5, true},
		{caught, -24, -2, false},
		{caught, -2, -2, true},
	} {
		st := unix.Stat_t{Mtim: unix.NsecToTimespec(at(c.mtime).UnixNano()),
			Ctim: unix.NsecToTimespec(at(c.ctime).UnixNano())}
		if got := c.w.contains(&st); got != c.want {
			t.Errorf("%+v, written %vh, changed %vh: %v, want %v", c.w, c.mtime, c.ctime, got, c.want)
		}
	}
}

func TestEarliestIsBeforeEitherClock(t *testing.T) {
	const slack = time.Minute
	then := time.Now()
	now := then.Add(time.Second)
	if got, want := earliest(then, now, slack), then.Round(0).Add(-slack); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	wall := then.Round(0) // a moment that knows the wall clock alone, which was set back meanwhile
	if got, want := earliest(wall, wall.Add(-time.Hour), slack), wall.Add(-slack); !got.Equal(want) {
		t.Errorf("set back: got %v, want %v", got, want)
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		patterns, ignore string
		wanted, not      string
	}{
		{"", "", "a d/b .h", ""},
		{"*.fits", "", "a.fits d/a.fits d/e/a.fits", "a.fit afits d.fits/x"},
		{"t?_r*_ut?.fits", "", "t1_r0000012_ut3.fits 2026/t1_r_ut4.fits", "t12_r1_ut3.fits t1_r1_ut3.fits.fz"},
		{"[!a]*", "", "b ba d/ba", "a ab"},
		{`\[!x]`, "", "[!x]", "b"},
		{"2026/*.fits", "", "2026/a.fits", "a.fits d/2026/a.fits 2026/d/a.fits"},
		{"/a.fits", "", "a.fits", "d/a.fits"},
		{"2026/**/*.fits", "", "2026/a.fits 2026/d/a.fits 2026/d/e/a.fits", "a.fits d/2026/a.fits"},
		{"**/raw/*", "", "raw/a d/raw/a d/raw/raw/a", "raw raw/d/a"},
		{"**/a/**/b", "", "a/b x/a/b a/x/y/b a/a/b/b", "a b a/b/c"},
		{"d/**", "", "d/a d/e/f", "a e/d/a"},
		{"*.fits *.fz", "*.bad d/x*", "a.fits a.fz", "a.bad d/x.fits"},
	} {
		p := newPicker(strings.Fields(c.patterns), strings.Fields(c.ignore))
		for _, at := range strings.Fields(c.wanted) {
			if !p.wanted(at) {
				t.Errorf("%q without %q: %q is not wanted", c.patterns, c.ignore, at)
			}
		}
		for _, at := range strings.Fields(c.not) {
			if p.wanted(at) {
				t.Errorf("%q without %q: %q is wanted", c.patterns, c.ignore, at)
			}
		}
	}
}

func TestDefaultIgnore(t *testing.T) {
	p := newPicker(nil, defaultIgnore)
	for _, at := range []string{".x", "d/.a.fits.Ab12Cd", "a.fits.tmp", "a.part", "a~", "d/.a.part",
		"a.filepart", "#a#"} {
		if !p.ignored(at) {
			t.Errorf("%q is not ignored", at)
		}
	}
	for _, at := range []string{"a", "a.fits", "d/tmp", "part", "a.tmp.fits", "~a"} {
		if p.ignored(at) {
			t.Errorf("%q is ignored", at)
		}
	}
}

// matchPath goes back to the last ** only; the plain recursion is what it must agree with.
func FuzzMatchPath(f *testing.F) {
	f.Add("**/a/**/b", "a/x/b")
	f.Add("a/**/**", "a")
	f.Add("*/**/?", "x/y/z")
	f.Fuzz(func(t *testing.T, pattern, at string) {
		if checkPattern(pattern) != nil || len(pattern) > 40 || len(at) > 40 {
			return
		}
		p, e := elements(pattern), strings.Split(at, "/")
		if got, want := matchPath(p, e), plainMatch(p, e); got != want {
			t.Errorf("%q of %q: %v, want %v", pattern, at, got, want)
		}
	})
}

func plainMatch(p, e []string) bool {
	switch {
	case len(p) == 0:
		return len(e) == 0
	case p[0] == "**":
		return plainMatch(p[1:], e) || len(e) > 0 && plainMatch(p, e[1:])
	}
	return len(e) > 0 && matchName(p[0], e[0]) && plainMatch(p[1:], e[1:])
}

func encode(e event, pad int) []byte {
	name := append([]byte(e.name), make([]byte, pad)...)
	b := make([]byte, unix.SizeofInotifyEvent, unix.SizeofInotifyEvent+len(name))
	put(b, uint32(e.wd))
	put(b[4:], e.mask)
	put(b[12:], uint32(len(name)))
	return append(b, name...)
}

func TestEventsAreCutWhole(t *testing.T) {
	want := []event{{1, unix.IN_CREATE, "a"}, {-1, unix.IN_Q_OVERFLOW, ""},
		{2, unix.IN_MOVED_TO, "new\nline\xff"}}
	var b []byte
	for i, e := range want {
		b = append(b, encode(e, i)...)
	}
	var got []event
	check(t, events(b, func(e event) { got = append(got, e) }))
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for cut := 1; cut < 16; cut++ {
		if err := events(b[:len(b)-cut], func(event) {}); err == nil {
			t.Errorf("%d bytes less are no error", cut)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add(encode(event{1, unix.IN_CREATE, "a"}, 15))
	f.Add(append(encode(event{1, 2, ""}, 0), 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		size := 0
		err := events(b, func(e event) {
			size += unix.SizeofInotifyEvent + len(e.name)
			if strings.ContainsRune(e.name, 0) {
				t.Errorf("the name %q holds a zero", e.name)
			}
		})
		if size > len(b) {
			t.Errorf("%d bytes were made of %d (%v)", size, len(b), err)
		}
	})
}

func TestRecentForgetsTheOldestHalf(t *testing.T) {
	r := newRecent(10)
	id := func(i int) Identity { return Identity{Path: "a", Size: int64(i)} }
	for i := range 100 {
		r.add(id(i))
		for j := max(0, i-4); j <= i; j++ {
			if !r.has(id(j)) {
				t.Fatalf("after %d: %d is forgotten", i, j)
			}
		}
		if n := len(r.young) + len(r.old); n > 10 {
			t.Fatalf("after %d it holds %d, want at most 10", i, n)
		}
	}
	if r.has(id(1)) || r.has(Identity{Path: "b", Size: 99}) {
		t.Error("it knows what it was not told, or told long ago")
	}
}

func put(b []byte, v uint32) { binary.NativeEndian.PutUint32(b, v) }
