package shipment

import (
	"strings"
	"testing"
	"unicode/utf8"

	"holdfast/base/fault"
	"holdfast/connector"
)

func TestText(t *testing.T) {
	for path, want := range map[string]string{
		"/data/a b%20": "/data/a b%20", "/data/é�": "/data/é�", "": "",
		"/data/\xe9%": "%/data/%E9%25", "%20": "%%2520", "\xff\xfe": "%%FF%FE", "/\xed\xa0\x80": "%/%ED%A0%80",
	} {
		if got := Text(path); got != want || Path(got) != path {
			t.Errorf("%q: got %q, which is %q; want %q", path, got, Path(got), want)
		}
	}
	for _, text := range []string{"%", "%x%", "%x%4", "%x%zz"} { // nobody wrote them
		if got := Path(text); text != "%" && got != text {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("/data/\xe9%41")
	f.Fuzz(func(t *testing.T, path string) {
		text := Text(path)
		if !utf8.ValidString(text) || Path(text) != path {
			t.Errorf("%q became %q, and that %q", path, text, Path(text))
		}
		if utf8.ValidString(path) && strings.HasPrefix(path, "/") && text != path {
			t.Errorf("%q became %q, want it as it is", path, text)
		}
	})
}

func TestCheckMeta(t *testing.T) {
	for _, columns := range [][]string{{""}, {"SHA1_hash"}, {"a", "a"}, {"\xff"}, {"a\x00"}} {
		if err := CheckMeta(columns); !fault.Is(err, fault.Permanent) {
			t.Errorf("%q: got %v", columns, err)
		}
	}
	if err := CheckMeta([]string{"tel", "Run", "x y"}); err != nil {
		t.Error(err)
	}
	if _, err := Meta(map[string]string{"tel": "\xe9"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("bytes that are no text: got %v", err)
	}
}

// TestDecide are the cases that databases can hardly be brought to.
func TestDecide(t *testing.T) {
	ask := Ask{Original: connector.Original{Source: "/a", SHA1: [20]byte{1}}, Owner: "me", Extra: true}
	entry := func(source string, hash byte) connector.Entry {
		return connector.Entry{Original: connector.Original{Source: source, SHA1: [20]byte{hash}},
			Of: connector.ByHoldfast}
	}
	for name, c := range map[string]struct {
		found Found
		want  string // who has it, "done", or "" for held
		step  Step
	}{
		"nothing":                   {Found{}, "", Insert},
		"ours, and the row is gone": {Found{Locks: []Lock{{Source: "/a", Owner: "me"}}}, "", Insert},
		"dead, of another": {Found{Locks: []Lock{{Source: "/a", Owner: "he"}},
			Rows: []Main{{Same: true, Source: "/a", Ours: true}}}, "", Update},
		"dead, shipped to one of two": {Found{Locks: []Lock{{Source: "/a", Owner: "he"}},
			Entries: []connector.Entry{entry("/a", 1)}, Rows: []Main{{Same: true, Transferred: true}}}, "", Leave},
		"done, and other bytes too": {Found{Entries: []connector.Entry{entry("/a", 2), entry("/a", 1)}},
			"done", Leave},
		"dead, and done with other bytes": {Found{Locks: []Lock{{Source: "/a", Owner: "he"}},
			Entries: []connector.Entry{entry("/a", 2)}}, "done", Leave},
		"same bytes, alive": {Found{Locks: []Lock{{Source: "/b", Owner: "he", Alive: true}}},
			"he", Leave},
		"same bytes, alive and shipped": {Found{Locks: []Lock{{Source: "/b", Owner: "he", Alive: true}},
			Entries: []connector.Entry{entry("/b", 1)},
			Rows:    []Main{{Same: true, Source: "/b", Ours: true}}}, "", Leave},
		"same bytes, dead": {Found{Locks: []Lock{{Source: "/b", Owner: "he"}},
			Rows: []Main{{Same: true, Source: "/b", Ours: true}}}, "", Update},
		"rawtransfer's, fresh": {Found{Rows: []Main{{Same: true, Source: "/a"}}}, other, Leave},
		"rawtransfer's, from tomorrow": {Found{Rows: []Main{{Source: "/a", Age: -24 * connector.StaleOfOld}}},
			other, Leave},
		"rawtransfer's, an hour old": {Found{Rows: []Main{{Same: true, Source: "/a",
			Age: connector.StaleOfOld}}}, "", Update},
		"rawtransfer's and ours": {Found{Locks: []Lock{{Source: "/a", Owner: "me"}},
			Rows: []Main{{Same: true, Source: "/a", Ours: true}}}, "", Update},
	} {
		claim, step := c.found.Decide(ask)
		got := claim.By
		if claim.Done != nil {
			if got = "done"; name == "done, and other bytes too" && claim.Done.SHA1 != ask.SHA1 {
				got = "done with other bytes"
			}
		}
		if got != c.want || claim.Held != (c.want == "") || claim.Held && step != c.step {
			t.Errorf("%s: got %+v, step %d; want %q, step %d", name, claim, step, c.want, c.step)
		}
	}
}

// TestDecideWithoutExtra: what is known of a lock is when it was made, and by this process alone.
func TestDecideWithoutExtra(t *testing.T) {
	ask := Ask{Original: connector.Original{Source: "/a", SHA1: [20]byte{1}}, Owner: "me"}
	for name, c := range map[string]struct {
		row   Main
		again bool
		held  bool
		step  Step
	}{
		"another's":        {Main{Same: true, Source: "/a"}, false, false, Leave},
		"ours":             {Main{Same: true, Source: "/a", Mine: true}, false, true, Leave},
		"of a former life": {Main{Same: true, Source: "/a"}, true, true, Update},
		"of another file":  {Main{Same: true, Source: "/b"}, true, false, Leave},
		"of other bytes":   {Main{Source: "/a"}, true, false, Leave},
		"old":              {Main{Same: true, Source: "/b", Age: connector.StaleOfOld}, false, true, Update},
	} {
		ask.Again = c.again
		claim, step := Found{Rows: []Main{c.row}}.Decide(ask)
		if claim.Held != c.held || step != c.step {
			t.Errorf("%s: got %+v, step %d; want held %v, step %d", name, claim, step, c.held, c.step)
		}
	}
}
