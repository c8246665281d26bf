package visible

import (
	"encoding/json"
	"testing"
)

func TestControlCharactersAreWrittenOut(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "plain ü €": "plain ü €", "a\nb\tc": "a\nb\tc", "\xff\xfe": "\xff\xfe",
		"\x1b[2J\x1b]0;pwned\x07": `\u001b[2J\u001b]0;pwned\u0007`, "a\rb": `a\u000db`,
		"\u009b31m": `\u009b31m`, "\x7f": `\u007f`, "\u202eabc": `\u202eabc`, "\x00": `\u0000`,
		"pay\u200bpal": `pay\u200bpal`, "\u200fa\u2028b\ufeff": `\u200fa\u2028b\ufeff`, "\U0001f469\u200d\U0001f680": "\U0001f469\u200d\U0001f680",
	} {
		if got := Text(in, "\n\t"); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := Line("a\r\nb\n\tc\x1b"); got != `a b  c\u001b` {
		t.Errorf("got %q", got)
	}
}

func TestJSONStaysJSON(t *testing.T) {
	in := "a\u009bb\x7f\x1b\u202e"
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := json.Unmarshal([]byte(Text(string(b), "\n\t")), &got); err != nil || got != in {
		t.Errorf("got %q, %v, want %q", got, err, in)
	}
}
