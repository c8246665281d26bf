package journald

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// entries reads all entries, and says how much was none.
func entries(in io.Reader, max int) (all []entry, bad int, err error) {
	r := newReader(in, max)
	for {
		var e entry
		switch err := r.next(&e); {
		case err == nil:
			all = append(all, e)
		case errors.Is(err, errEntry):
			bad++
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return all, bad, io.EOF
			}
		default:
			return all, bad, err
		}
	}
}

// binaryField is a field as export has it where its value is no plain text.
func binaryField(name, value string) string {
	return name + "\n" + string(binary.LittleEndian.AppendUint64(nil, uint64(len(value)))) + value + "\n"
}

func TestEntry(t *testing.T) {
	in := "__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1769860000000001\n__SEQNUM=7\nMESSAGE=a=b\n_PID=42\n" + binaryField("BYTES", "a\nb\x00\xff\n\n") +
		"TWICE=x\nTWICE=y\nEMPTY=\n\n" + "\n__CURSOR=2\n" + binaryField("MESSAGE", "x\n\n__CURSOR=3") + "\n" + "__CURSOR=4\nMESSAGE=a\nMESSAGE=b\n\n"
	all, bad, err := entries(iotest.OneByteReader(strings.NewReader(in)), 1000)
	if len(all) != 3 || bad != 0 || err != io.EOF {
		t.Fatalf("%d entries, %d bad, %v", len(all), bad, err)
	}
	e := all[0]
	if e.cursor != "s=1;i=2" || e.micro != 1769860000000001 || string(e.message) != "a=b" || e.cut {
		t.Errorf("got %+v, %q", e, e.message)
	}
	if want := []field{{"_PID", "42"}, {"BYTES", "a\nb\x00\xff\n\n"}, {"TWICE", "x"}, {"TWICE", "y"}, {"EMPTY", ""}}; !slices.Equal(e.fields, want) {
		t.Errorf("got %q", e.fields)
	}
	if string(all[1].message) != "x\n\n__CURSOR=3" || string(all[2].message) != "a\nb" {
		t.Errorf("got %q, %q", all[1].message, all[2].message)
	}
}

func TestMessages(t *testing.T) {
	for _, c := range []struct {
		in, want string
		cut      bool
	}{
		{"MESSAGE=short\n", "short", false},
		{"MESSAGE=0123456789\n", "0123456789", false},
		{"MESSAGE=0123456789x\n", "0123456789", true},
		{binaryField("MESSAGE", "0123456789\n"), "0123456789", true},
		{"MESSAGE=0123456789\nMESSAGE=x\n", "0123456789", true},
		{"MESSAGE=\n", "", false},
		{"", "", false},
	} {
		all, bad, err := entries(strings.NewReader("__CURSOR=c\n"+c.in+"_PID=1\n\n"), 10)
		if len(all) != 1 || bad > 0 || err != io.EOF || string(all[0].message) != c.want || all[0].cut != c.cut || len(all[0].fields) != 1 {
			t.Errorf("%q: got %+v, %d bad, %v", c.in, all, bad, err)
		}
	}
}

// What is no entry is passed over, and no more than that.
func TestNoEntries(t *testing.T) {
	for _, bad := range []string{"-- No entries --\n", "a=b\n", "=x\n", "A B=c\n", "__REALTIME_TIMESTAMP=x\n", strings.Repeat("X", 1<<20) + "\n",
		"A\n\x01\x00\x00\x00\x00\x00\x00\x00xy\n"} {
		all, n, err := entries(strings.NewReader("__CURSOR=1\n\n"+bad+"\n__CURSOR=2\n\n"), 100)
		if len(all) < 1 || n != 1 || err != io.EOF || all[len(all)-1].cursor != "2" {
			t.Errorf("%.50q: got %d entries, %d bad, %v", bad, len(all), n, err)
		}
	}
	for _, in := range []string{"__CURSOR=1", "__CURSOR=1\n", "A", "A\n\x05", "A\n\x05\x00\x00\x00\x00\x00\x00\x00ab", "A\n\x01\x00\x00\x00\x00\x00\x00\x00a",
		"A\n\xff\xff\xff\xff\xff\xff\xff\xffab"} {
		if all, _, err := entries(strings.NewReader(in), 10); len(all) != 0 || err == nil {
			t.Errorf("half an entry %q: %d, %v", in, len(all), err)
		}
	}
}

// What is kept is bounded, whatever comes.
func TestHuge(t *testing.T) {
	value := strings.Repeat("x", 10<<20)
	var in strings.Builder
	fmt.Fprintf(&in, "__CURSOR=c\nHUGE=%s\nMESSAGE=%s\n%s", value, value, binaryField("BIG", value))
	for i := range 1000 {
		fmt.Fprintf(&in, "F%d=x\n", i)
	}
	all, _, _ := entries(strings.NewReader(in.String()+"\n"), 1000)
	e := all[0]
	if len(e.message) != 1000 || !e.cut || len(e.fields) != mostFields || len(e.fields[0].value) != mostValue || len(e.fields[1].value) != mostValue {
		t.Errorf("got %d bytes, cut %v, %d fields", len(e.message), e.cut, len(e.fields))
	}
}

// Whatever comes ends, and keeps no more than its caps; whatever was an entry is one again when it is written down.
func FuzzEntry(f *testing.F) {
	for _, s := range []string{"__CURSOR=s=1\nMESSAGE=x\n_PID=1\n\n", "A\n\x02\x00\x00\x00\x00\x00\x00\x00\n\n\n\n", "\n\n\n", "-- Reboot --\n\nA=b\n\n", "A",
		"MESSAGE=a\nMESSAGE=b\n\n", "A\n\xff\xff\xff\xff\xff\xff\xff\xff"} {
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
			text := binaryField("__CURSOR", e.cursor) + binaryField("MESSAGE", string(e.message))
			for _, x := range e.fields {
				text += binaryField(x.name, x.value)
			}
			again, bad, _ := entries(strings.NewReader(text+"\n"), 1000)
			if len(again) != 1 || bad != 0 || !slices.Equal(again[0].fields, e.fields) || !bytes.Equal(again[0].message, e.message) {
				t.Fatalf("%q was %+v and is %+v", text, e, again)
			}
		}
	})
}

func BenchmarkEntry(b *testing.B) {
	one := "__CURSOR=s=5ff6ccf8ddbc4939babd685fbd05eef5;i=1;b=0123456789abcdef0123456789abcdef;m=1;t=649ada49a2801;x=872d8858cf9c4d21\n" +
		"__REALTIME_TIMESTAMP=1769860000000001\n__MONOTONIC_TIMESTAMP=1\n_BOOT_ID=0123456789abcdef0123456789abcdef\nPRIORITY=6\n" +
		"_SYSTEMD_UNIT=electrs.service\n_PID=4242\n_UID=1000\n_GID=1000\n_COMM=electrs\n_EXE=/usr/bin/electrs\n_TRANSPORT=stdout\n" +
		"_STREAM_ID=5ff6ccf8ddbc4939babd685fbd05eef5\n_HOSTNAME=box\nSYSLOG_IDENTIFIER=electrs\nMESSAGE=INFO - finished full compaction in 12 s\n\n"
	in := bytes.Repeat([]byte(one), 10_000)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		r := &batcher{r: newReader(bytes.NewReader(in), 1<<16)}
		var x batch
		for r.fill(&x) == nil {
		}
	}
	b.ReportMetric(float64(b.N*10_000)/b.Elapsed().Seconds(), "entries/s")
}
