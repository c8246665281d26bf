package fits

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/base/fault"
)

// read returns the header of a primary HDU with these records behind the mandatory ones, which are left out.
func read(t rapid.TB, records ...string) *Header {
	t.Helper()
	b := unit{bits: 8, cards: records}.bytes()
	for h, err := range Headers(bytes.NewReader(b), int64(len(b))) {
		if err != nil {
			t.Fatal(err)
		}
		h.Cards = h.Cards[3:]
		return h
	}
	t.Fatal("no header")
	return nil
}

func TestCards(t *testing.T) {
	for _, c := range []struct{ in, keyword, kind, value, comment string }{
		{"KEY     = 'text    '           / a comment", "KEY", "text", "text", "a comment"},
		{"KEY     = 'it''s'/tight", "KEY", "text", "it's", "tight"},
		{"KEY     = '  lead' / blanks before count", "KEY", "text", "  lead", "blanks before count"},
		{"KEY     = '' / null", "KEY", "text", "", "null"},
		{"KEY     = '   ' / blanks", "KEY", "text", " ", "blanks"},
		{"KEY     = '''' / a quote", "KEY", "text", "'", "a quote"},
		{"KEY     = 'a / b' / c / d", "KEY", "text", "a / b", "c / d"},
		{"KEY     = 'and so&' / alone", "KEY", "text", "and so&", "alone"},
		{"KEY     =                   42", "KEY", "an integer", "42", ""},
		{"KEY     = -0042 /x", "KEY", "an integer", "-0042", "x"},
		{"KEY     = +7", "KEY", "an integer", "+7", ""},
		{"KEY     = 1.", "KEY", "a float", "1.", ""},
		{"KEY     = .5", "KEY", "a float", ".5", ""},
		{"KEY     = -1.5E-3", "KEY", "a float", "-1.5E-3", ""},
		{"KEY     = 1D5", "KEY", "a float", "1D5", ""},
		{"KEY     =                    T / yes", "KEY", "a logical", "T", "yes"},
		{"KEY     = F/no", "KEY", "a logical", "F", "no"},
		{"KEY     = (1, -2.5E0)", "KEY", "complex", "(1, -2.5E0)", ""},
		{"KEY     =                      / nothing known", "KEY", "undefined", "", "nothing known"},
		{"KEY     =", "KEY", "undefined", "", ""},
		{"KEY_-9A = 1", "KEY_-9A", "an integer", "1", ""},
		{"COMMENT = 'not a value'", "COMMENT", "commentary", "= 'not a value'", ""},
		{"HISTORY   done", "HISTORY", "commentary", "  done", ""},
		{"          blank keyword", "", "commentary", "  blank keyword", ""},
		{"NOVALUE   text", "NOVALUE", "commentary", "  text", ""},
		{"HIERARCH ESO DET CHIP1 ID = 'ESO-7' / chip", "ESO DET CHIP1 ID", "text", "ESO-7", "chip"},
		{"HIERARCH  ESO  X=3", "ESO X", "an integer", "3", ""},
		{"HIERARCH no value / = here", "HIERARCH", "commentary", " no value / = here", ""},
		{"HIERARCH= 5", "HIERARCH", "an integer", "5", ""},
		{"CONTINUE  'on nothing' / c", "CONTINUE", "text", "on nothing", "c"},
		{"CONTINUE  unquoted", "CONTINUE", "commentary", "  unquoted", ""},
	} {
		h := read(t, record(c.in))
		if len(h.Cards) != 1 || len(h.Problems) > 0 {
			t.Errorf("%q: got %+v, problems %v", c.in, h.Cards, h.Problems)
			continue
		}
		want := Card{Keyword: c.keyword, Value: c.value, Comment: c.comment, Number: 4}
		got := h.Cards[0]
		if want.Kind = got.Kind; got != want || got.Kind.String() != c.kind {
			t.Errorf("%q: got %s %+v, want %s %+v", c.in, got.Kind, got, c.kind, want)
		}
	}
}

// TestBrokenCards: each is told with its place, and the card behind it is read all the same.
func TestBrokenCards(t *testing.T) {
	for in, want := range map[string]string{
		"KEY     = 'open":          "column 11: the string is not closed",
		"KEY     = 'open''":        "column 11: the string is not closed",
		"KEY     = 12 34":          "column 14: '3' stands between value and comment",
		"KEY     = 'a' b":          "column 15: 'b' stands between value and comment",
		"KEY     = 1e5":            `column 11: "1e5" is no value`,
		"KEY     = 1E":             `column 11: "1E" is no value`,
		"KEY     = 1E1.5":          `column 11: "1E1.5" is no value`,
		"KEY     = --1":            `column 11: "--1" is no value`,
		"KEY     = .":              `column 11: "." is no value`,
		"KEY     = NaN":            `column 11: "NaN" is no value`,
		"KEY     = TRUE":           `column 11: "TRUE" is no value`,
		"KEY     = (1,2":           "column 11: the ( of a complex number is not closed",
		"KEY     = (1)":            `column 11: "(1)" is no complex number`,
		"KEY     =1":               "column 10: '1' follows the =: want a blank",
		"Key     = 1":              "column 2: 'e' may not be in a keyword",
		"K Y     = 1":              "column 2: ' ' may not be in a keyword",
		" KEY    = 1":              "column 1: ' ' may not be in a keyword",
		"KEY     = 'tab\tbed'":     "column 15: the byte 0x09 is no printable ASCII",
		"HIERARCH ESO X = 'open":   "column 18: the string is not closed",
		"HIERARCH ESO X = a / why": `column 18: "a" is no value`,
	} {
		h := read(t, card("BEFORE", "1", ""), record(in), card("AFTER", "2", ""))
		if len(h.Problems) != 1 || len(h.Cards) != 2 || h.Cards[1].Keyword != "AFTER" {
			t.Errorf("%q: got cards %v, problems %v", in, h.Cards, h.Problems)
			continue
		}
		keyword := strings.TrimSpace(in[:8])
		if got := h.Problems[0].Error(); got != "HDU 0, card 5 ("+keyword+"), "+want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
		if _, err := h.Find(keyword); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: to find it is %v, want why it can't be read", in, err)
		}
	}
}

// TestAnOddCommentHidesNoValue: what an instrument's author wrote in Latin-1 is told, and the value is read.
func TestAnOddCommentHidesNoValue(t *testing.T) {
	h := read(t, record("TEMP    = 3.5 / in \xb0C"), record("COMMENT \xe4"))
	if len(h.Problems) != 2 || h.Problems[0].Column != 20 || h.Problems[1].Column != 9 {
		t.Errorf("got problems %v, want columns 20 and 9", h.Problems)
	}
	if v, err := float1(h, "TEMP"); err != nil || v != 3.5 {
		t.Errorf("got %v, %v, want 3.5", v, err)
	}
}

// TestAnOddCommentEndsNoString, and a part that can't be read does.
func TestAnOddCommentEndsNoString(t *testing.T) {
	h := read(t, record("A       = 'one&' / \xb0"), record("CONTINUE  ' two' / \xb0"),
		record("B       = 'one&'"), record("CONTINUE  'tw\xb0'"))
	a, _ := h.Get("A")
	b, _ := h.Get("B")
	if a.Value != "one two" || a.Comment != "? ?" || b.Value != "one&" || len(h.Problems) != 3 {
		t.Errorf("got %+v, %+v and %v", a, b, h.Problems)
	}
}

func float1(h *Header, keyword string) (float64, error) {
	c, err := h.Find(keyword)
	if err != nil {
		return 0, err
	}
	return c.Float()
}

// TestLongStrings: section 4.2.1.2 and its examples.
func TestLongStrings(t *testing.T) {
	h := read(t,
		record("WEATHER = 'Partly cloudy during the evening f&'"),
		record("CONTINUE  'ollowed by cloudy skies overnight.&'"),
		record("CONTINUE  ' Low 21C. Winds NNE at 5 to 10 mph.'"),
		record("STRKEY  = 'This keyword value is continued &'"),
		record("CONTINUE  ' over multiple keyword records.&'"),
		record("CONTINUE  '&' / The comment field for this"),
		record("CONTINUE  '' / keyword is also continued"),
		record("LITERAL = 'ends with &' / and nothing goes on"),
		record("OTHER   = 1"),
		record("CONTINUE  'too late'"),
		record("LAST    = 'at the end&'"))
	want := []Card{
		{"WEATHER", Text, "Partly cloudy during the evening followed by cloudy skies overnight." +
			" Low 21C. Winds NNE at 5 to 10 mph.", "", 0, 4},
		{"STRKEY", Text, "This keyword value is continued  over multiple keyword records.",
			"The comment field for this keyword is also continued", 0, 7},
		{"LITERAL", Text, "ends with &", "and nothing goes on", 0, 11},
		{"OTHER", Integer, "1", "", 0, 12},
		{"CONTINUE", Text, "too late", "", 0, 13},
		{"LAST", Text, "at the end&", "", 0, 14},
	}
	if !slices.Equal(h.Cards, want) {
		t.Errorf("got %+v, want %+v", h.Cards, want)
	}
}

// TestALongStringIsAsLongAsItsHeader, and takes no longer than its length to read.
func TestALongStringIsAsLongAsItsHeader(t *testing.T) {
	records := []string{record("LONG    = 'x&'")}
	for range MaxCards - 10 {
		records = append(records, record("CONTINUE  '"+strings.Repeat("y", 60)+"&' / c"))
	}
	c, ok := read(t, strings.Join(records, "")).Get("LONG")
	if want := 1 + 60*(MaxCards-10) + 1; !ok || len(c.Value) != want {
		t.Errorf("got %d bytes, want %d", len(c.Value), want)
	}
	b := unit{bits: 8, cards: []string{strings.Repeat(record("COMMENT"), MaxCards)}}.bytes()
	for _, err := range Headers(bytes.NewReader(b), int64(len(b))) {
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("got %v, want the header refused", err)
		}
	}
}

// TestWhatIsWrittenIsRead: every kind of value, as it was.
func TestWhatIsWrittenIsRead(t *testing.T) {
	printable := rapid.StringMatching(`[ -~]{0,200}`)
	rapid.Check(t, func(rt *rapid.T) {
		s := strings.TrimRight(printable.Draw(rt, "text"), " &")
		i := rapid.Int64().Draw(rt, "integer")
		f := rapid.Float64().Filter(finite).Draw(rt, "float")
		g := rapid.Float64().Filter(finite).Draw(rt, "imaginary")
		b := rapid.Bool().Draw(rt, "logical")
		logical := map[bool]string{true: "T", false: "F"}[b]
		number := func(f float64) string { return strings.ToUpper(strconv.FormatFloat(f, 'g', -1, 64)) }
		h := read(rt, long("TEXT", s, ""), card("INT", fmt.Sprint(i), "an integer"), card("FLOAT", number(f), ""),
			card("BOOL", logical, ""), card("COMPLEX", "("+number(f)+","+number(g)+")", ""),
			record("HIERARCH ESO AND MORE = "+fmt.Sprint(i)))
		if len(h.Problems) > 0 {
			rt.Fatalf("got problems %v", h.Problems)
		}
		find := func(keyword string) Card {
			c, err := h.Find(keyword)
			if err != nil {
				rt.Fatal(err)
			}
			return c
		}
		gotS, _ := find("text").Text()
		gotI, _ := find("INT").Int()
		gotF, _ := find("FLOAT").Float()
		gotB, _ := find("BOOL").Bool()
		gotC, _ := find("COMPLEX").Complex()
		gotH, _ := find("HIERARCH ESO AND MORE").Int()
		if gotS != s || gotI != i || gotF != f || gotB != b || gotC != complex(f, g) || gotH != i {
			rt.Fatalf("got %q %d %v %v %v %d, want %q %d %v %v %v", gotS, gotI, gotF, gotB, gotC, gotH, s, i, f, b,
				complex(f, g))
		}
	})
}

func finite(f float64) bool { return !math.IsInf(f, 0) && !math.IsNaN(f) }

// TestOtherThanAskedFor: a value of another kind is Invalid, none is NotFound, and both name the card.
func TestOtherThanAskedFor(t *testing.T) {
	h := read(t, card("TEXT", "'x'", ""), card("INT", "99999999999999999999", ""), card("FLOAT", "1E999", ""),
		record("NONE    ="))
	get := func(keyword string) Card { c, _ := h.Get(keyword); return c }
	for _, c := range []struct {
		call func() error
		want fault.Kind
		say  string
	}{
		{func() error { _, err := get("TEXT").Int(); return err }, fault.Invalid, "HDU 0, card 4: TEXT is text"},
		{func() error { _, err := get("TEXT").Float(); return err }, fault.Invalid, "want a number"},
		{func() error { _, err := get("TEXT").Bool(); return err }, fault.Invalid, "want T or F"},
		{func() error { _, err := get("TEXT").Complex(); return err }, fault.Invalid, "want a complex number"},
		{func() error { _, err := get("TEXT").Time(); return err }, fault.Invalid, `"x" is no FITS date`},
		{func() error { _, err := get("INT").Int(); return err }, fault.Invalid, "want one of 64 bits"},
		{func() error { _, err := get("INT").Text(); return err }, fault.Invalid, "want text"},
		{func() error { _, err := get("FLOAT").Float(); return err }, fault.Invalid, "want a float of 64 bits"},
		{func() error { _, err := get("NONE").Int(); return err }, fault.NotFound, "card 7: NONE has no value"},
		{func() error { _, err := h.Find("MISSING"); return err }, fault.NotFound, `HDU 0 has no card "MISSING"`},
	} {
		if err := c.call(); !fault.Is(err, c.want) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("got %v (%v), want %v that says %q", err, fault.KindOf(err), c.want, c.say)
		}
	}
}

// TestHeaders: of every HDU, without its data; a file that ends too early gives those that are there, and why
// there are no more.
func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		size int
		want []string
		end  fault.Kind
	}{
		{len(sound), []string{"", "SCI", "ERR"}, fault.Unknown},
		{8640, []string{""}, fault.Unknown},
		{5000, []string{""}, fault.Corrupt},
		{8700, []string{""}, fault.Corrupt},
		{100, nil, fault.Corrupt},
	} {
		var got []string
		end := fault.Unknown
		for h, err := range Headers(bytes.NewReader(sound[:c.size]), int64(c.size)) {
			if err != nil {
				end = fault.KindOf(err)
				continue
			}
			got = append(got, h.HDU.Name)
			if name, ok := h.Get("EXTNAME"); ok && (name.HDU != len(got)-1 || name.Number != 8) {
				t.Errorf("got %+v, want card 8 of HDU %d", name, len(got)-1)
			}
		}
		if !slices.Equal(got, c.want) || end != c.end {
			t.Errorf("%d bytes: got %q and %v, want %q and %v", c.size, got, end, c.want, c.end)
		}
	}
	for range Headers(bytes.NewReader(sound), int64(len(sound))) {
		break // whoever has what he wants goes
	}
	for _, err := range Headers(strings.NewReader("nonsense"), 8) {
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("got %v, want it invalid", err)
		}
	}
}
