package tree

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// deed is a thing done to a tree. All that it is given is below the root; that it fails is no matter.
type deed struct {
	name string
	do   func(a, b string)
}

var deeds = []deed{
	{"write", func(a, _ string) { _ = os.WriteFile(a, []byte("abc"), 0o644) }},
	{"append", func(a, _ string) {
		if f, err := os.OpenFile(a, os.O_APPEND|os.O_WRONLY, 0); err == nil {
			_, _ = f.WriteString("x")
			_ = f.Close()
		}
	}},
	{"temporary", func(a, _ string) {
		_ = os.WriteFile(a+".tmp", []byte("abcd"), 0o644)
		_ = os.Rename(a+".tmp", a)
	}},
	{"mkdir", func(a, _ string) { _ = os.MkdirAll(a, 0o755) }},
	{"rename", func(a, b string) { _ = os.Rename(a, b) }},
	{"exchange", func(a, b string) {
		_ = os.Rename(a, a+"'")
		_ = os.Rename(b, a)
		_ = os.Rename(a+"'", b)
	}},
	{"remove", func(a, _ string) { _ = os.RemoveAll(a) }},
	{"symlink", func(a, b string) { _ = os.Symlink(a, b) }},
	{"hide", func(a, _ string) { _ = os.Rename(a, filepath.Join(filepath.Dir(a), "."+filepath.Base(a))) }},
	{"touch", func(a, _ string) { _ = os.Chtimes(a, time.Time{}, time.Unix(1e9, 5)) }},
	{"truncate", func(a, _ string) { _ = os.Truncate(a, 1) }},
	{"fresh", func(a, _ string) { // a directory that is full when it comes
		_ = os.MkdirAll(a+".tmp/d", 0o755)
		_ = os.WriteFile(a+".tmp/d/x", []byte("abc"), 0o644)
		_ = os.Rename(a+".tmp", a)
	}},
}

// Whatever is done, in the end each file that stands was given with the identity that it has.
func TestWhateverIsDoneTheFilesThatStandAreGiven(t *testing.T) {
	names := []string{"a", "b", "c d", "e\n", "\xff"}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		check(t, err)
		path := rapid.Custom(func(rt *rapid.T) string {
			at := dir
			for range rapid.IntRange(1, 3).Draw(rt, "depth") {
				at += "/" + rapid.SampledFrom(names).Draw(rt, "name")
			}
			return at
		})
		c := config(dir)
		c.Patience = 5 * time.Millisecond
		c.Poll = rapid.Bool().Draw(rt, "poll")
		c.PollEvery = 5 * time.Millisecond
		// A write by one name of a file is no event of its other names: a check finds it.
		todo := slices.Clone(deeds)
		if rapid.Bool().Draw(rt, "check") {
			c.CheckEvery = 10 * time.Millisecond
			todo = append(todo, deed{"link", func(a, b string) { _ = os.Link(a, b) }})
		}
		limit := rapid.SampledFrom([]int{2, 8, 1000}).Draw(rt, "limit")
		drop := rapid.Bool().Draw(rt, "overflow")
		var heard atomic.Int64
		g := begin(t, c, func(o *own) {
			o.limit, o.batch, o.pause, o.after = limit, 3, 5*time.Millisecond, 5*time.Millisecond
			if drop { // what an overflow of the kernel's queue does
				o.heard = func(b []byte) []byte {
					if heard.Add(1)%4 == 0 {
						return encode(event{wd: -1, mask: unix.IN_Q_OVERFLOW}, 0)
					}
					return b
				}
			}
		})
		var open func()
		for range rapid.IntRange(1, 40).Draw(rt, "deeds") {
			d := rapid.SampledFrom(todo).Draw(rt, "deed")
			if rapid.IntRange(0, 5).Draw(rt, "stall") == 0 {
				if open == nil {
					open = g.block()
				} else {
					open()
					open = nil
				}
			}
			a, b := path.Draw(rt, "a"), path.Draw(rt, "b")
			rt.Logf("%s %q %q", d.name, a[len(dir):], b[len(dir):])
			d.do(a, b)
			if rapid.IntRange(0, 3).Draw(rt, "rest") == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		if open != nil {
			open()
		}
		want := standing(t, dir)
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			missing := ""
			for p, id := range want {
				if !given(g.got(), id) {
					missing = fmt.Sprintf("%q", p)
				}
			}
			if missing == "" {
				break
			}
			if time.Now().After(end) {
				rt.Fatalf("%s was not given: %+v", missing, g.tree.Status())
			}
		}
		_ = g.stop()
	})
}

func given(fs []File, id Identity) bool {
	for _, f := range fs {
		if f.Identity == id {
			return true
		}
	}
	return false
}
