package fits

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/base/fault"
)

// FuzzCheck: no bytes make it panic, every one of them is read, and Skim and Headers say the same as Check.
func FuzzCheck(f *testing.F) {
	for _, c := range slices.Concat(sumCases(), cutCases(), structureCases(), tailCases(), remarkCases()) {
		f.Add(c.file)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := mustCheck(t, b, iotest.HalfReader)
		skimmed(t, b, r)
		if r.Size != int64(len(b)) || len(r.Findings) > MaxFindings || len(r.HDUs) > MaxHDUs {
			t.Errorf("got %d bytes, %d findings, %d HDUs of %d bytes", r.Size, len(r.Findings), len(r.HDUs), len(b))
		}
		if (r.Verdict == Truncated) != (r.Missing() > 0) {
			t.Errorf("got %s and %d missing", r.Verdict, r.Missing())
		}
		at := int64(0)
		for i, h := range r.HDUs {
			if h.Offset != at || h.Index != i || h.Data < 0 || h.Header < BlockSize {
				t.Fatalf("HDU %d at %d: got %+v", i, at, h)
			}
			at = h.End()
		}
		if r.Verdict == Good && !vouched(b[:r.Want]) {
			t.Error("it is good, and its words do not add up to negative zero")
		}
		headersAgree(t, b, r)
	})
}

// vouched reports whether all words add up as those of HDUs with right checksums do: negative zeros add up to
// one.
func vouched(b []byte) bool { return plainSum(b) == allOnes }

func headersAgree(t *testing.T, b []byte, r Report) {
	t.Helper()
	var n int
	var end error
	for h, err := range Headers(bytes.NewReader(b), int64(len(b))) {
		if end = err; err != nil {
			break
		}
		for _, p := range h.Problems {
			if p.Column < 1 || p.Column > recordSize || p.Card < 1 || p.HDU != n {
				t.Errorf("got problem %+v", p)
			}
		}
		n++
	}
	if n != r.Count {
		t.Errorf("got %d headers, want %d", n, r.Count)
	}
	if (r.Verdict == Truncated) != fault.Is(end, fault.Corrupt) {
		t.Errorf("got %v, of a file that is %s", end, r.Verdict)
	}
}

// FuzzCards: a record is a card, or a problem that says where; and what a card says can be written and read
// again.
func FuzzCards(f *testing.F) {
	for _, s := range []string{"KEY     = 'it''s&' / c", "KEY     = 1.5D3 / c", "KEY     = (1,2) / c",
		"HIERARCH A B = T", "CONTINUE  'x'", "COMMENT \xff", "KEY     =", "DATE-OBS= '2016-12-31T23:59:60.5'",
		"lower   = 1", "'='/'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rec := record(s[:min(len(s), recordSize)])
		c, bad := parse([]byte(rec))
		if bad != nil && (bad.column < 1 || bad.column > recordSize || bad.why == "") {
			t.Fatalf("%q: got %+v", rec, bad)
		}
		if bad != nil && !bad.harmless {
			return
		}
		if len(c.Value)+len(c.Comment) > recordSize {
			t.Fatalf("%q: got more than a record holds: %+v", rec, c)
		}
		_, _ = c.Time()
		again := reread(t, c)
		if c.Kind != again.Kind || c.Value != again.Value {
			t.Errorf("%q: got %+v, and written again %+v", rec, c, again)
		}
		if c.Kind != Integer && c.Kind != Float {
			return
		}
		// A number that the grammar allows is one that Go can read, unless it is too large.
		if _, err := c.Float(); err != nil && !strings.Contains(err.Error(), "64 bits") {
			t.Errorf("%q: got %v", rec, err)
		}
	})
}

// reread writes a value and reads it again.
func reread(t *testing.T, c Card) Card {
	t.Helper()
	switch c.Kind {
	case Commentary, Undefined:
		return c
	case Text:
		var again Card
		value := "'" + strings.ReplaceAll(c.Value, "'", "''") + "'"
		if _, bad := again.readValue([]byte(value), 0); bad != nil {
			t.Fatalf("%q: %+v", value, bad)
		}
		return again
	}
	var again Card
	if _, bad := again.readValue([]byte(c.Value), 0); bad != nil {
		t.Fatalf("%q: %+v", c.Value, bad)
	}
	return again
}
