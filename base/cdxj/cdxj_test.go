package cdxj

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/base/fault"
)

var example = Line{Key: "com,example)/", Time: "20170730223850", URL: "http://example.com/", Mime: "text/html", Status: 200,
	Digest: "G7HRM7BGOKSKMSXZAHMUQTTV53QOFSMK", Length: 1219, Offset: 771, Filename: "example-20170730223917.warc.gz"}

// The example of cdxj-indexer, the indexer of pywb, to the byte.
const exampleText = `com,example)/ 20170730223850 {"url": "http://example.com/", "mime": "text/html", "status": "200", ` +
	`"digest": "G7HRM7BGOKSKMSXZAHMUQTTV53QOFSMK", "length": "1219", "offset": "771", ` +
	`"filename": "example-20170730223917.warc.gz"}` + "\n"

func TestAppend(t *testing.T) {
	if b, err := example.Append([]byte("x")); err != nil || string(b) != "x"+exampleText {
		t.Errorf("got %q and %v", b, err)
	}
	for _, c := range []struct {
		change func(l *Line)
		want   string // within the line, or "" for a refusal
	}{
		{func(l *Line) { l.Key = "a b\n\x7f{é" }, "a%20b%0A%7F{é 2017"},
		{func(l *Line) { l.URL = "http://a/\"\\\n\xffé" }, `"url": "http://a/\"\\\n` + "\ufffd" + `é", `},
		{func(l *Line) { *l = Line{Key: "k", Time: l.Time} }, `k 20170730223850 {"length": "0", "offset": "0"}` + "\n"},
		{func(l *Line) { l.Key = "" }, ""},
		{func(l *Line) { l.Time = "2017" }, ""},
		{func(l *Line) { l.Time = "2017073022385x" }, ""},
		{func(l *Line) { l.Length = -1 }, ""},
		{func(l *Line) { l.Offset = -1 }, ""},
		{func(l *Line) { l.URL = strings.Repeat("x", MaxLine) }, ""},
	} {
		l := example
		c.change(&l)
		b, err := l.Append(nil)
		if c.want == "" && (!fault.Is(err, fault.Invalid) || len(b) > 0) || c.want != "" && !strings.Contains(string(b), c.want) {
			t.Errorf("got %q and %v, want %q", b, err, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, in := range []string{exampleText, strings.TrimSpace(exampleText), strings.ReplaceAll(exampleText, `"771"`, "771"),
		strings.ReplaceAll(exampleText, `", "`, `","`), strings.ReplaceAll(exampleText, "{", `{"recordDigest": [1, {"a": 2}], `)} {
		if l, err := Parse([]byte(in)); err != nil || l != example {
			t.Errorf("%s: got %+v and %v", in, l, err)
		}
	}
	if l, err := Parse([]byte(`k 20170730223850 {"status": "-", "mime": null}`)); err != nil || l.Status != 0 || l.Mime != "" {
		t.Errorf("got %+v and %v", l, err)
	}
	for _, in := range []string{"", "k", "k 20170730223850", "k 2017 {}", " 20170730223850 {}", "k 20170730223850 []",
		"k 20170730223850 {", `k 20170730223850 {"offset": "x"}`, `k 20170730223850 {"offset": -1}`,
		`k 20170730223850 {"status": 1000}`, `k 20170730223850 {"url": true}`, `k 20170730223850 {"url": "a", "url": "b"}`,
		`k 20170730223850 {"length": 1e9}`, "k 20170730223850 {}" + strings.Repeat(" ", MaxLine)} {
		if l, err := Parse([]byte(in)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%.40q: got %+v and %v, want a refusal", in, l, err)
		}
	}
}

func anyLine(t *rapid.T) Line {
	return Line{
		Key:  rapid.StringMatching(`(com|org),[a-c]{1,2}\)/[a-c/?=&]{0,6}`).Draw(t, "key"),
		Time: rapid.StringMatching(`20[0-9]{12}`).Draw(t, "time"), URL: rapid.String().Draw(t, "url"),
		Mime: rapid.SampledFrom([]string{"", Revisit, "text/html"}).Draw(t, "mime"), Status: rapid.IntRange(0, 999).Draw(t, "status"),
		Length: rapid.Int64Min(0).Draw(t, "length"), Offset: rapid.Int64Min(0).Draw(t, "offset"),
		Filename: rapid.String().Draw(t, "file"),
	}
}

// What is written is read again, and another JSON parser reads the same.
func TestAppendAndParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := anyLine(t)
		b, err := l.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(b, '\n') != len(b)-1 {
			t.Errorf("got %q, want one line", b)
		}
		if again, err := Parse(b); err != nil || again != l {
			t.Errorf("got %+v and %v, want %+v", again, err, l)
		}
		var m map[string]string
		err = json.Unmarshal(b[bytes.IndexByte(b, '{'):], &m)
		if err != nil || m["url"] != l.URL || m["offset"] != fmt.Sprint(l.Offset) {
			t.Errorf("got %q and %v", m, err)
		}
	})
}

// FuzzParse: a line that can be read can be written, and is the same then.
func FuzzParse(f *testing.F) {
	f.Add([]byte(exampleText))
	f.Add([]byte(`a%20b 20170730223850 {"url": "\u00e9\ud800", "status": 304, "x": {"y": [1e5]}}`))
	f.Add([]byte("k 20170730223850 {}\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse(b)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		text, err := l.Append(nil)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		again, err := Parse(text)
		if l.Key = string(appendKey(nil, l.Key)); err != nil || again != l {
			t.Errorf("got %+v and %v, want %+v", again, err, l)
		}
	})
}
