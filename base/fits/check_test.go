package fits

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// edited is the file with the first old replaced by new.
func edited(b []byte, old, new string) []byte {
	if len(old) != len(new) || !bytes.Contains(b, []byte(old)) {
		panic(fmt.Sprintf("can't replace %q by %q", old, new))
	}
	return bytes.Replace(b, []byte(old), []byte(new), 1)
}

// flip is the file with a bit of one byte flipped.
func flip(b []byte, at int, bit uint) []byte {
	out := slices.Clone(b)
	out[at] ^= 1 << bit
	return out
}

// then is the file with something behind it.
func then(b []byte, more ...string) []byte { return append(slices.Clone(b), strings.Join(more, "")...) }

var (
	sound   = file(primary(), image("SCI"), image("ERR")) // three HDUs with sums: 8640, 5760 and 5760 bytes
	unsound = primary().plain().bytes()                   // one without: 8640 bytes
)

// verdictCase is a file, its verdict, and a part of one of the findings.
type verdictCase struct {
	name string
	file []byte
	want Verdict
	say  string
}

func sumCases() []verdictCase {
	table := unit{kind: "TABLE", bits: 8, axes: []int{10, 2}, data: bytes.Repeat([]byte("x"), 20), sums: true}
	blank := primary().plain()
	blank.cards = []string{card("CHECKSUM", "'        '", ""), card("DATASUM", "'        '", "")}
	datasum := func(v string) []byte {
		u := primary().plain()
		u.cards = []string{card("DATASUM", v, "")}
		return u.bytes()
	}
	twice := primary()
	twice.cards = append(twice.cards, card("DATASUM", "'1'", ""))
	at := bytes.Index(sound, []byte("CHECKSUM= '"))
	sum := string(sound[at : at+27])
	return []verdictCase{
		{"sums everywhere", sound, Good, ""},
		{"no sums", unsound, Absent, ""},
		{"no sums in one HDU of four", then(sound, string(image("MORE").plain().bytes())), Absent, ""},
		{"sums that are blank", blank.bytes(), Absent, ""},
		{"a DATASUM alone", datasum(text(fmt.Sprint(plainSum(unsound[BlockSize:])))), Absent, ""},
		{"a DATASUM that is an integer", datasum(fmt.Sprint(plainSum(unsound[BlockSize:]))), Absent, ""},
		{"an ASCII table, filled with blanks", file(primary(), table), Good, ""},
		{"random groups", randomGroups().bytes(), Good, ""},
		{"no data", file(unit{bits: 8, sums: true}), Good, ""},

		{"data changed", flip(sound, 3000, 0), Bad, "HDU 0: DATASUM is "},
		{"data changed in an extension", flip(sound, len(sound)-BlockSize, 7), Bad, "HDU 2 (ERR): DATASUM is "},
		{"header changed", edited(sound, "'ERR ", "'ERS "), Bad,
			"HDU 2 (ERS): CHECKSUM is wrong, and DATASUM is right"},
		{"CHECKSUM never filled in", edited(sound, sum, "CHECKSUM= '0000000000000000"), Bad, "never filled in"},
		{"CHECKSUM that can't be read", edited(sound, sum, sum[:10]+"x"+sum[11:]), Bad, "CHECKSUM can't be read"},
		{"CHECKSUM without a value", edited(sound, sum, sum[:10]+"/"+sum[11:]), Bad, "CHECKSUM has no value"},
		{"CHECKSUM's name changed by a bit", edited(sound, "CHECKSUM", "CHECKSUL"), Bad, "with one bit flipped"},
		{"DATASUM that is no number", datasum("'twelve'"), Bad, `DATASUM is "twelve", which is no sum`},
		{"DATASUM twice", twice.bytes(), Bad, "DATASUM stands there twice: the first counts"},
		{"DATASUM beyond 32 bits", datasum("'4294967296'"), Bad, `DATASUM is "4294967296", which is no sum`},
	}
}

func cutCases() []verdictCase {
	return []verdictCase{
		{"empty", nil, Truncated, "the file ends at byte 0, in its header: 2880 bytes are missing at least"},
		{"five bytes", sound[:5], Truncated, "ends at byte 5"},
		{"within the first header", sound[:640], Truncated, "ends at byte 640, in its header: 2240 bytes"},
		{"behind END", sound[:1000], Truncated, "in its header, behind END: 7640 bytes are missing"},
		{"within data", sound[:5000], Truncated, "HDU 0: the file ends at byte 5000, in its data: 3640 bytes are"},
		{"within the fill", sound[:8000], Truncated, "in its last block, behind its data: 640 bytes are missing"},
		{"within XTENSION", sound[:8643], Truncated, "HDU 1: the file ends at byte 8643, in its header: 2877"},
		{"behind an HDU", sound[:8640], Good, ""},
		{"within the data of the last HDU", sound[:17300], Truncated, "HDU 2 (ERR): the file ends at byte 17300"},
	}
}

func tailCases() []verdictCase {
	zeros, words := strings.Repeat("\x00", BlockSize), strings.Repeat("garbage ", BlockSize/8)
	return []verdictCase{
		{"zeros, less than a block", then(sound, zeros[:512]), Good, "512 bytes of zero follow the last HDU"},
		{"zeros, a block", then(sound, zeros), Absent, "is an extension lost?"},
		{"special records", then(sound, words), Absent,
			`2880 bytes of special records follow the last HDU, at byte 20160, beginning with "garbage "`},
		{"garbage", then(sound, "garbage"), Bad, "7 bytes that are no FITS follow the last HDU"},
		{"garbage behind zeros", then(sound, zeros, "x"), Bad, "2881 bytes that are no FITS follow"},
		{"another file", then(sound, string(sound)), Bad, `seems to begin at byte 20160, but with "SIMPLE  "`},
		{"an extension whose name changed", edited(sound, "XTENSION", "XTENSIOM"), Bad, `but with "XTENSIOM"`},

		{"text", []byte(words), NotFITS, `the file does not begin with SIMPLE: "garbage garbage garb"`},
		{"gzip", []byte("\x1f\x8b\x08\x00\x00"), NotFITS, "packed by gzip"},
		{"SIMPLE is F", edited(sound, "                   T", "                   F"), NotFITS, "SIMPLE is not T"},
	}
}

func structureCases() []verdictCase {
	huge := func(axes ...int) []byte { return unit{bits: 64, axes: axes}.bytes() }
	extended := file(primary().plain(), image("SCI").plain())
	bigGroups := unit{bits: 8, axes: []int{3}, cards: []string{card("GCOUNT", "9223372036854775807", ""),
		card("PCOUNT", "9223372036854775807", "")}}
	bigHeap := unit{bits: 8, axes: []int{1 << 62, 3}, cards: []string{card("PCOUNT", "9223372036854775807", "")}}
	return []verdictCase{
		{"cards out of order", edited(unsound, "BITPIX", "BITPIY"), Bad, "card 2 is BITPIY, want BITPIX"},
		{"BITPIX of no kind", edited(unsound, "      16", "      17"), Bad, "BITPIX is 17, want 8,"},
		{"NAXIS beyond 999", edited(unsound, "                   2", "                1000"), Bad, "NAXIS is 1000"},
		{"an axis below zero", edited(unsound, "  40", " -40"), Bad, "NAXIS2 is -40, want no negative"},
		{"an axis that is text", edited(unsound, "  40", "'40'"), Bad, `NAXIS2 is "40", want an integer`},
		{"an axis that is nothing", edited(unsound, "  40", "  4x"), Bad, `NAXIS2 can't be read: column 29: "4x"`},
		{"an axis beyond 64 bits", edited(unsound, strings.Repeat(" ", 18)+"40", strings.Repeat("9", 20)), Bad,
			`NAXIS2 is "99999999999999999999", want an integer`},
		{"no END", edited(unsound, "END     ", "EMD     "), Bad, "no END comes before card 37, which is no text"},
		{"END too early", edited(unsound, "NAXIS2  =                   40", "END"+strings.Repeat(" ", 27)), Bad,
			"its header ends before NAXIS2"},
		{"more bytes than 64 bits count", huge(1<<32, 1<<32), Bad, "more data than a file can have"},
		{"more bytes than a file can have", huge(1 << 60), Bad, "more data than a file can have"},
		{"groups beyond 64 bits", bigGroups.bytes(), Bad, "more data than a file can have"},
		{"a heap beyond 64 bits", bigHeap.bytes(), Bad, "more data than a file can have"},
		{"an HDU whose end is beyond 63 bits", huge((1<<63 - 2*BlockSize) / 8), Bad,
			"more data than a file can have"},
		{"a large axis beside one of zero", huge(1<<60, 1<<60, 0), Absent, ""},
		{"PCOUNT below zero", edited(extended, "PCOUNT  =                    0",
			"PCOUNT  =                   -1"), Bad, `HDU 1: PCOUNT is "-1", want an integer that is not`},
		{"PCOUNT that can't be read", edited(extended, "PCOUNT  =                    0",
			"PCOUNT  =                    x"), Bad, "HDU 1: PCOUNT can't be read: column 30"},
		{"an XTENSION without a name", edited(extended, "'IMAGE   '", "'        '"), Bad, "XTENSION names no kind"},
	}
}

func remarkCases() []verdictCase {
	extended := file(primary().plain(), image("SCI").plain())
	return []verdictCase{
		{"PCOUNT elsewhere", edited(extended, "PCOUNT  ", "PCOUNTER"), Absent, "PCOUNT or GCOUNT is missing"},
		{"a byte that is no ASCII, in a comment", edited(unsound, "start of", "st\xe4rt of"), Absent, "0xe4"},
		{"a mandatory card in free format", edited(unsound, "NAXIS2  =                   40", "NAXIS2  = 40"+
			strings.Repeat(" ", 18)), Absent, "NAXIS2 is not in fixed format"},
		{"a keyword in lower case", edited(unsound, "DATE-OBS", "Date-obs"), Absent,
			"card 6 (Date-obs), column 2: 'a' may not be in a keyword"},
		{"fill that is not zero", flip(unsound, len(unsound)-1, 0), Absent,
			"what fills the last block of its data is not 0x00"},
		{"a byte behind END", edited(unsound, record("END")+"  ", record("END")+" x"), Absent,
			"what follows END in its block is not blank"},
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range slices.Concat(sumCases(), cutCases(), tailCases(), structureCases(), remarkCases()) {
		t.Run(c.name, func(t *testing.T) {
			r, err := Check(bytes.NewReader(c.file))
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != c.want {
				t.Errorf("got %s %v, want %s", r.Verdict, r.Findings, c.want)
			}
			says := func(f Finding) bool { return strings.Contains(f.Text, c.say) }
			if c.say != "" && !slices.ContainsFunc(r.Findings, says) {
				t.Errorf("got %v, want one that says %q", r.Findings, c.say)
			}
			if r.Size != int64(len(c.file)) {
				t.Errorf("got %d bytes read, want all %d", r.Size, len(c.file))
			}
			// Every blame has a reason, and praise has none.
			faulty := slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Fault })
			if praise := r.Verdict == Good || r.Verdict == Absent; praise == faulty {
				t.Errorf("got %s with findings %v", r.Verdict, r.Findings)
			}
			skimmed(t, c.file, r)
		})
	}
}

// skimmed compares what Skim says with a report of Check: the same of everything that headers can tell.
func skimmed(t testing.TB, b []byte, checked Report) {
	t.Helper()
	r, err := Skim(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	same := r.Size == checked.Size && r.Want == checked.Want && r.InHeader == checked.InHeader &&
		r.OnlyFill == checked.OnlyFill && r.Count == checked.Count && r.Packed == checked.Packed
	switch r.Verdict {
	case Truncated, NotFITS:
		same = same && checked.Verdict == r.Verdict
	case Bad:
		same = same && checked.Verdict == Bad
	case Whole:
		same = same && checked.Verdict != Truncated && checked.Verdict != NotFITS
	default:
		same = false
	}
	for i, h := range r.HDUs {
		want := checked.HDUs[i]
		want.Checksum, want.Datasum = Unread, Unread
		same = same && h == want
	}
	if !same {
		t.Errorf("skimmed %+v, checked %+v", r, checked)
	}
}

// TestManyOddCards: a few are told one by one, the others counted.
func TestManyOddCards(t *testing.T) {
	odd := unit{bits: 8, cards: []string{card("EXTNAME", "'ONE'", ""), card("EXTNAME", "'TWO'", ""),
		strings.Repeat(record("lower = 1"), 12)}}
	r := mustCheck(t, odd.bytes(), asIs)
	last := "HDU 0 (ONE): 7 cards more break a rule"
	if len(r.Findings) != maxOdd+1 || r.Findings[maxOdd].Text != last || r.Verdict != Absent {
		t.Errorf("got %v, want five cards and %q", r.Findings, last)
	}
}

func TestReport(t *testing.T) {
	b := flip(file(primary(), image("SCI").plain(), image("ERR")), 5000, 0)
	r, err := Check(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	want := []HDU{
		{0, "", Primary, false, 0, 2880, 4000, SumBad, SumBad},
		{1, "SCI", "IMAGE", false, 8640, 2880, 108, SumAbsent, SumAbsent},
		{2, "ERR", "IMAGE", false, 14400, 2880, 108, SumGood, SumGood},
	}
	if !slices.Equal(r.HDUs, want) || r.Count != 3 || r.HDUs[2].End() != r.Size {
		t.Errorf("got %+v, want %+v", r.HDUs, want)
	}
	said := fmt.Sprintf("bad: HDU 0: DATASUM is %d, its data sum to %d; HDU 0: CHECKSUM is wrong: header and data "+
		"sum to %d, not to 4294967295", plainSum(primary().bytes()[2880:]), plainSum(b[2880:8640]),
		plainSum(b[:8640]))
	if r.String() != said {
		t.Errorf("got %q, want %q", r, said)
	}

	groups := mustCheck(t, randomGroups().bytes(), asIs)
	if want := (HDU{0, "", Groups, false, 0, 2880, 2 * 7 * (2 + 15), SumGood, SumGood}); groups.HDUs[0] != want {
		t.Errorf("got %+v, want %+v", groups.HDUs[0], want)
	}
	if r := mustCheck(t, unit{bits: 8}.bytes()[:BlockSize-1], asIs); !r.OnlyFill || r.Missing() != 1 {
		t.Errorf("got %+v, want one byte of fill missing", r)
	}

	cut, err := Check(bytes.NewReader(b[:14401]))
	if err != nil {
		t.Fatal(err)
	}
	if cut.Missing() != 2879 || !cut.InHeader || cut.OnlyFill || cut.Verdict != Truncated {
		t.Errorf("got %+v, want at least 2879 bytes missing in a header", cut)
	}
}
