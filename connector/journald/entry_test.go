package journald

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// entries reads all entries, and says what was wrong.
func entries(in io.Reader, max int) (all []entry, bad int, err error) {
	r := newReader(in, max)
	for {
		var e entry
		switch err := r.next(&e); {
		case err == nil:
			all = append(all, e)
		case errors.Is(err, errEntry):
			bad++
			if errors.Is(err, io.EOF) {
				return all, bad, io.EOF
			}
		default:
			return all, bad, err
		}
	}
}

func one(t *testing.T, line string, max int) entry {
	t.Helper()
	all, bad, err := entries(iotest.OneByteReader(strings.NewReader(line+"\n")), max)
	if len(all) != 1 || bad > 0 || err != io.EOF {
		t.Fatalf("%s: %d entries, %d bad, %v", line, len(all), bad, err)
	}
	return all[0]
}

func TestEntry(t *testing.T) {
	e := one(t, `{ "__CURSOR" : "s=1;i=2", "__REALTIME_TIMESTAMP":"1769860000000001","MESSAGE":"a \"b\"\n\té\u00e9\ud83d\ude00\ud83d\u0000",`+
		`"_PID":"42","TWICE":["x","y"],"BYTES":[27,91,0,255],"BOTH":[[97,98],"c",null],"NONE":null,"EMPTY":[]}`, 1000)
	if e.cursor != "s=1;i=2" || e.micro != 1769860000000001 || string(e.message) != "a \"b\"\n\téé😀\ufffd" || e.cut {
		t.Errorf("got %+v, %q", e, e.message)
	}
	want := []field{{"_PID", "42"}, {"TWICE", "x\ny"}, {"BYTES", "\x1b[\x00\xff"}, {"BOTH", "ab\nc\n"}, {"NONE", ""}, {"EMPTY", ""}}
	if !slices.Equal(e.fields, want) {
		t.Errorf("got %q", e.fields)
	}
}

func TestMessages(t *testing.T) {
	for _, c := range []struct {
		value, want string
		cut         bool
	}{
		{`"short"`, "short", false},
		{`"0123456789"`, "0123456789", false},
		{`"0123456789x"`, "0123456789", true},
		{`"012345678\u00e9x"`, "012345678", true}, // no half of a character
		{`[48,49,255]`, "01\xff", false},
		{`[48,49,50,51,52,53,54,55,56,57,58]`, "0123456789", true},
		{`["a","b"]`, "a\nb", false},
		{`null`, "", true},
	} {
		if e := one(t, `{"MESSAGE":`+c.value+`,"__CURSOR":"c"}`, 10); string(e.message) != c.want || e.cut != c.cut || e.cursor != "c" {
			t.Errorf("%s: got %q, %v", c.value, e.message, e.cut)
		}
	}
	if e := one(t, `{"__CURSOR":"c"}`, 10); len(e.message) > 0 || e.cut {
		t.Errorf("no message: %+v", e)
	}
}

// Lines that are none are passed over, and no more than them.
func TestNoEntries(t *testing.T) {
	for _, bad := range []string{"", "-- No entries --", "{", `{"a"`, `{"a":`, `{"a":"`, `{"a":"x"`, `{"a":"x",`, `{"a":"\`, `{"a":"\x"}`,
		`{"a":"\u12"}`, `{"a":[`, `{"a":[1`, `{"a":[1,`, `{"a":[256]}`, `{"a":[1.5]}`, `{"a":[-1]}`, `{"a":{"b":"c"}}`, `{"a":nul}`, `{"a":true}`,
		`{"a":"b"}}`, `{,}`, `{"a":"b",}`, `{"a":[[[["x"]]]]}`, `[]`, `{"__REALTIME_TIMESTAMP":"x"}`, strings.Repeat("x", 1<<20)} {
		all, n, err := entries(strings.NewReader(`{"__CURSOR":"1"}`+"\n"+bad+"\n"+`{"__CURSOR":"2"}`+"\n"), 100)
		if len(all) != 2 || n != 1 || err != io.EOF || all[1].cursor != "2" {
			t.Errorf("%.50q: got %d entries, %d bad, %v", bad, len(all), n, err)
		}
	}
	if all, _, err := entries(strings.NewReader(`{"__CURSOR":"1"`), 10); len(all) != 0 || err != io.ErrUnexpectedEOF {
		t.Errorf("half an entry: %d, %v", len(all), err)
	}
}

// What is kept is bounded, whatever comes.
func TestHuge(t *testing.T) {
	value := strings.Repeat("x", 10<<20)
	var line strings.Builder
	fmt.Fprintf(&line, `{"%s":"%s","HUGE":"%s","MESSAGE":"%s"`, value, value, value, value)
	for i := range 1000 {
		fmt.Fprintf(&line, `,"F%d":"x"`, i)
	}
	all, _, _ := entries(strings.NewReader(line.String()+`,"__CURSOR":"c"}`+"\n"), 1000)
	e := all[0]
	if len(e.message) != 1000 || !e.cut || len(e.fields) > mostFields || len(e.fields[0].value) != mostValue || e.cursor != "" {
		t.Errorf("got %d bytes, cut %v, %d fields, cursor %q", len(e.message), e.cut, len(e.fields), e.cursor)
	}
}

// Of what is JSON of journalctl's kind, encoding/json says the same.
func FuzzEntry(f *testing.F) {
	for _, s := range []string{`{"__CURSOR":"s=1","MESSAGE":"x","_PID":"1"}`, `{"MESSAGE":[1,2,255],"A":["b","c"]}`, `{"MESSAGE":null}`,
		`{"MESSAGE":"\ud83d\ude00\n"}`, "{}\n{\"A\":\"b\"}\n", `{"A":[[1],"b"]}`, "-- Reboot --", `{"MESSAGE":"\u`} {
		f.Add([]byte(s), 5)
	}
	f.Fuzz(func(t *testing.T, in []byte, max int) {
		if max < 0 || max > 1000 {
			return
		}
		all, _, err := entries(bytes.NewReader(in), max)
		if err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Fatalf("ended by %v", err)
		}
		for _, e := range all {
			if len(e.message) > max || len(e.fields) > mostFields {
				t.Fatalf("%d bytes, %d fields", len(e.message), len(e.fields))
			}
		}
		line, rest, _ := bytes.Cut(in, []byte("\n"))
		var want map[string]string
		if len(rest) > 0 || bytes.Count(line, []byte(`"MESSAGE"`)) > 1 || json.Unmarshal(line, &want) != nil || len(all) == 0 {
			return
		}
		if m := want["MESSAGE"]; utf8.Valid(line) && (len(m) <= max) && string(all[0].message) != m {
			t.Fatalf("%q: got %q, want %q", line, all[0].message, m)
		}
	})
}

func BenchmarkEntry(b *testing.B) {
	line := []byte(`{"PRIORITY":"6","__MONOTONIC_TIMESTAMP":"1","__REALTIME_TIMESTAMP":"1769860000000001","_BOOT_ID":"0123456789abcdef0123456789abcdef",` +
		`"_SYSTEMD_UNIT":"electrs.service","_PID":"4242","_UID":"1000","_GID":"1000","_COMM":"electrs","_EXE":"/usr/bin/electrs","_TRANSPORT":"stdout",` +
		`"_STREAM_ID":"5ff6ccf8ddbc4939babd685fbd05eef5","_HOSTNAME":"box","SYSLOG_IDENTIFIER":"electrs","__CURSOR":"s=5ff6ccf8ddbc4939babd685fbd05eef5;` +
		`i=1;b=0123456789abcdef0123456789abcdef;m=1;t=649ada49a2801;x=872d8858cf9c4d21","MESSAGE":"INFO - finished full compaction in 12 s"}` + "\n")
	in := bytes.Repeat(line, 10_000)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		r := &batcher{r: newReader(bytes.NewReader(in), 1<<16)}
		var x batch
		for r.fill(&x) == nil {
		}
	}
	b.ReportMetric(float64(b.N*10_000)/b.Elapsed().Seconds(), "entries/s")
}
