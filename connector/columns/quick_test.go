package columns

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// bothSpec has every type that the quick way reads, each once optional.
var bothSpec = Spec{Key: "id", Time: "at", Cursor: "id", Extra: ExtraDrop, Columns: []Column{
	{Name: "id", Type: Uint64}, {Name: "at", Type: Time, Format: formatUnix},
	{Name: "when", Type: Time, Optional: true}, {Name: "n", Type: Int64, Optional: true},
	{Name: "f", Type: Float64, Optional: true}, {Name: "s", Type: Text, From: ".text", Optional: true},
	{Name: "b", Type: Bool, Optional: true}, {Name: "c", Type: Text, Convert: true, Optional: true}}}

// added reads the lines one way and says all that came of it.
func added(t testing.TB, spec Spec, lines [][]byte, quickly bool) string {
	t.Helper()
	table, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	r := table.Begin(t.Context())
	if !quickly {
		r.quick = nil
	} else if r.quick == nil {
		t.Fatal("the table has no quick way")
	}
	for _, line := range lines {
		if err := r.AddJSON(line, func(err error) error { return fmt.Errorf("no JSON: %w", err) }); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := r.Batch()
	if err != nil {
		t.Fatal(err)
	}
	mark, err := r.Mark("")
	newest, ok := r.NewestTime()
	text := fmt.Sprintln(r.Items, r.Unordered, r.Notes, mark, err, newest, ok, rows)
	for _, j := range r.Rejected {
		text += fmt.Sprintf("%s %s %q\n", j.Key, j.Reason, j.Raw)
	}
	return text
}

// FuzzQuick shows that the quick way and the one over values make the same of all bytes.
func FuzzQuick(f *testing.F) {
	for _, line := range []string{
		`{"id":1,"at":1700000000,"when":"2026-01-02T03:04:05.5Z","n":-3,"f":1.5e3,"text":"é","b":true,"c":"x"}`,
		`{"id":2,"at":1700000001.25,"extra":{"id":[1,{"at":2}]},"c":7}`, `{"id":18446744073709551615,"at":1}`,
		`{"id":3,"at":1,"id":4}`, `{"id":5,"at":1,"text":"a\"b\u00e9\ud800"}`, `{"id":5,"at":1}x`, `[1]`,
		`{"id":null,"at":1}`, `{"id":"7","at":1}`, `{"\u0069d":8,"at":1}`, `{"id":9,"at":1e400}`, ``, `{`,
		"{\"id\":9,\"at\":1,\"text\":\"\xff\"}", `{"id":9.0,"at":-1,"f":1e999}`, `{"id":0,"at":1,"b":1}`,
		`{"id":8,"at":1,"n":-1,"text":""}`, `{}`, `{"id":1,"at":2,}`, `{"id":01,"at":2}`, `{"id":1.,"at":2}`,
		`{"id":1,"at":2e,"n":1}`, `{"id":1,"at":2,"b":truex}`, "{\"id\":1,\"at\":2,\"text\":\"a\tb\"}",
		` {"id" : 1 , "at":2 , "x":[{"y":"}"}],"n":-0}  `, "{\"id\":1,\"at\":2}\x00", `{"at":3,"id":2,"n":1}`,
		`{"id":1,"at":2,"f":1.}`, "{\"id\":1,\"at\":2}\n{\"at\":3,\"id\":4}",
		`{"id":8,"at":1,"\u006e":5}`, `{"id":8,"at":1,"text":"a\"b"}`,
		"{\"id\":1,\"at\":2,\"n\":7}\n{\"id\":2,\"at\":3}",
		"{\"id\":1,\"at\":2}\n{\"id\":0,\"at\":3}\n{\"id\":5,\"at\":99999999999}",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := bytes.Split(data, []byte("\n"))
		for _, key := range []string{"id", "n", "s", "id,at"} {
			spec := bothSpec
			spec.Key, spec.Columns = key, slices.Clone(spec.Columns)
			spec.Column(strings.Split(key, ",")[0]).Optional = false
			slow := added(t, spec, lines, false)
			if quick := added(t, spec, lines, true); quick != slow {
				t.Errorf("key %s:\nquick: %s\nslow:  %s", key, quick, slow)
			}
		}
	})
}

// TestShortDecimal holds short decimals against the standard library's reading, bit by bit.
func TestShortDecimal(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	same := func(text string) {
		t.Helper()
		want, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := shortDecimal([]byte(text))
		if fits := len(text) <= 15 && !strings.ContainsAny(text, "eE"); ok != fits {
			t.Fatalf("%s: taken %t, want %t", text, ok, fits)
		}
		if ok && math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%s is %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"0", "-0", "-0.0", "0.1", "1e3", "999999999999999", "-99999999999999",
		"0.0000000000001", "9999999999999999", "-0.123456789012", "1.7976931348623"} {
		same(text)
	}
	for range 200_000 {
		text := strconv.FormatFloat(rng.NormFloat64()*math.Pow(10, float64(rng.IntN(12))), 'f', rng.IntN(10), 64)
		same(text)
	}
}

// BenchmarkAddJSON is a line of a feed with twenty columns, both ways.
func BenchmarkAddJSON(b *testing.B) {
	line := []byte(`{"id":9000000001,"at":1700000000,"n":14,"f":51.4792,"text":"IO91xl","b":true,"c":"WD_3.0",` +
		`"more":[1,2,3],"and":"so on"}`)
	for _, quickly := range []bool{true, false} {
		b.Run(fmt.Sprintf("quick=%t", quickly), func(b *testing.B) {
			table, err := New(bothSpec)
			if err != nil {
				b.Fatal(err)
			}
			r := table.Begin(b.Context())
			if !quickly {
				r.quick = nil
			}
			for b.Loop() {
				if err := r.AddJSON(line, func(err error) error { return err }); err != nil {
					b.Fatal(err)
				}
				if r.Items == 10_000 {
					q := r.quick
					r = table.Begin(b.Context())
					r.quick = q
				}
			}
		})
	}
}
