package lines

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// joined collects texts as "stream first/lines: text".
type joined []string

func (j *joined) give(t Text[int]) {
	cut := ""
	if t.Cut {
		cut = " cut"
	}
	*j = append(*j, fmt.Sprintf("%s %d/%d%s: %q", t.Stream, t.First, t.Lines, cut, t.Text))
}

func (j *joined) is(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(*j, want) {
		t.Errorf("got %q\nwant %q", *j, want)
	}
	*j = nil
}

func TestJoinerByContinue(t *testing.T) {
	var got joined
	j := NewJoiner[int](Rule{Continue: regexp.MustCompile(`^\s`), Quiet: time.Second})
	for i, l := range []string{"panic", "\tat a", "\tat b", "next", " more"} {
		j.Add("s", i, []byte(l), false, noon, got.give)
	}
	got.is(t, `s 0/3: "panic\n\tat a\n\tat b"`)
	if due, open := j.Due(); !open || !due.Equal(noon.Add(time.Second)) {
		t.Errorf("due %v, %v", due, open)
	}
	j.Quiet(noon.Add(time.Second-1), got.give)
	got.is(t)
	j.Quiet(noon.Add(time.Second), got.give)
	got.is(t, `s 3/2: "next\n more"`)
	if _, open := j.Due(); open {
		t.Error("one is still open")
	}
}

// Streams do not mix, and go on behind a restart.
func TestJoinerByStart(t *testing.T) {
	var got joined
	rule := Rule{Start: regexp.MustCompile(`^\d`), Streams: 2}
	j := NewJoiner[int](rule)
	j.Add("a", 1, []byte("begun elsewhere"), false, noon, got.give)
	j.Add("b", 2, []byte("1 x"), false, noon, got.give)
	j.Add("a", 3, []byte("2 y"), true, noon, got.give)
	got.is(t, `a 1/1: "begun elsewhere"`)
	open := j.Open()
	j = NewJoiner[int](rule)
	j.Restore(open)
	j.Add("b", 4, []byte("z"), false, noon, got.give)
	j.Add("c", 5, []byte("3"), false, noon, got.give)
	got.is(t, `b 2/2: "1 x\nz"`)
	j.Flush(got.give)
	got.is(t, `a 3/1 cut: "2 y"`, `c 5/1: "3"`)
	if string(open[0].Text) != "1 x" {
		t.Errorf("what was saved has become %q", open[0].Text)
	}
}

func TestJoinerCaps(t *testing.T) {
	var got joined
	j := NewJoiner[int](Rule{Continue: regexp.MustCompile(`^ `), Lines: 3, Bytes: 12})
	add := func(all ...string) {
		for i, l := range all {
			j.Add("s", i, []byte(l), false, noon, got.give)
		}
		j.Flush(got.give)
	}
	add("a", " b", " c", " d")
	got.is(t, `s 0/3 cut: "a\n b\n c"`)
	add("0123456789", " 1234", " x")
	got.is(t, `s 0/2 cut: "0123456789\n "`)
	add("0123456789AB", " ")
	got.is(t, `s 0/1 cut: "0123456789AB"`)
	add("0123456789ABC")
	got.is(t, `s 0/1 cut: "0123456789AB"`)
}

// Whatever comes, each line is in one text, in its order.
func TestJoinerLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var got []string
		give := func(x Text[int]) {
			for l := range strings.SplitSeq(string(x.Text), "\n") {
				got = append(got, x.Stream+l)
			}
		}
		rule := Rule{Continue: regexp.MustCompile(`^ `), Streams: 2, Bytes: 1 << 20, Lines: 1 << 20}
		j := NewJoiner[int](rule)
		var want []string
		for i := range rapid.IntRange(0, 40).Draw(t, "lines") {
			stream := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "stream")
			line := rapid.SampledFrom([]string{"", " "}).Draw(t, "kind") + fmt.Sprint(i)
			want = append(want, stream+line)
			now := noon.Add(time.Duration(i) * 300 * time.Millisecond)
			j.Quiet(now, give)
			j.Add(stream, i, []byte(line), false, now, give)
			if rapid.Bool().Draw(t, "restart") {
				open := j.Open()
				j = NewJoiner[int](rule)
				j.Restore(open)
			}
		}
		j.Flush(give)
		for _, s := range []string{"a", "b", "c"} {
			of := func(all []string) []string {
				return slices.DeleteFunc(slices.Clone(all), func(l string) bool { return l[:1] != s })
			}
			if !slices.Equal(of(got), of(want)) {
				t.Fatalf("got %q\nwant %q", of(got), of(want))
			}
		}
	})
}

func TestConfig(t *testing.T) {
	if r := (Config{Continue: `^\s`, Lines: 3}).Rule(); r == nil || r.Lines != 3 || r.Start != nil || !r.Continue.MatchString(" x") {
		t.Errorf("got %+v", r)
	}
	for want, c := range map[string]Config{
		"start: want either start or continue": {},
		"start: want either":                   {Start: "a", Continue: "b"},
		"continue: error parsing regexp":       {Continue: "("},
		"lines: is -1":                         {Start: "a", Lines: -1},
		"bytes: is 2097152":                    {Start: "a", Bytes: 2 << 20},
		"quiet: is 2h0m0s":                     {Start: "a", Quiet: 2 * time.Hour},
	} {
		faults := c.Validate()
		if len(faults) != 1 || !strings.HasPrefix(faults[0].Error(), want) || c.Rule() != nil {
			t.Errorf("%+v: got %v, want %q", c, faults, want)
		}
	}
}
