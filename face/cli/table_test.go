package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"holdfast/app/desk"
	"holdfast/base/disk"
	"holdfast/base/plural"
	"holdfast/kernel/engine"
)

func TestTableFits(t *testing.T) {
	for _, text := range []string{"short", strings.Repeat("long words ", 30),
		strings.Repeat("ü", 200),
		"a\nb\tc"} {
		var b bytes.Buffer
		tab := newTable(">id", "when", "~reason")
		tab.add("12,345", "3 min ago", text)
		tab.add("1", "now", "x")
		tab.write(&b, "  ")
		lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
		if len(lines) != 3 {
			t.Errorf("%.20q: got %d lines, want 3", text, len(lines))
		}
		for _, l := range lines {
			if n := utf8.RuneCountInString(l); n > width {
				t.Errorf("%.20q: got %d columns: %s", text, n, l)
			}
		}
	}
}

// Texts of any script fit: a Chinese character takes two columns, an accent of its own none.
func TestWideTexts(t *testing.T) {
	cause := strings.Repeat("数据库拒绝连接", 20)
	for _, text := range []string{cause, "refused: " + cause + " see the log", strings.Repeat("e\u0301", 200)} {
		for line := range strings.Lines(wrap(text, "  ")) {
			if n := columns(strings.TrimSuffix(line, "\n")); n > 80 && columns(text) > 200 {
				t.Errorf("%d columns: %s", n, line)
			}
		}
		if got := strings.Join(strings.Fields(wrap(text, "  ")), ""); got != strings.ReplaceAll(text, " ", "") {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := cut(cause, 10); columns(got) > 10 || !strings.HasSuffix(got, "…") {
		t.Errorf("cut to 10: %s", got)
	}
	tab := newTable("a", "b")
	tab.add("数据", "x")
	tab.add("abcd", "y")
	var b strings.Builder
	tab.write(&b, "")
	if got := b.String(); got != "a     b\n数据  x\nabcd  y\n" {
		t.Errorf("got\n%s", got)
	}
	const path = "/a/very/long/path/that/is/copied/from/the/screen/and/therefore/stays/whole/even/if/it/does/not/fit/here"
	if got := wrap(path, "  "); !strings.Contains(got, path) {
		t.Errorf("a path was broken: %s", got)
	}
}

func TestWords(t *testing.T) {
	now := time.Now()
	for _, c := range []struct{ got, want string }{
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1,000"}, {count(-1234567), "-1,234,567"},
		{disk.Size(1023), "1023 B"}, {disk.Size(1536), "1.5 KiB"}, {disk.Size(int64(20) << 30), "20.0 GiB"},
		{ago(time.Time{}, now), "-"}, {ago(now.Add(-time.Second), now), "now"},
		{ago(now.Add(-3*time.Minute), now), "3 min ago"}, {ago(now.Add(-30*time.Hour), now), "30 h ago"},
		{ago(now.Add(-72*time.Hour), now), "3 days ago"}, {ago(now.Add(time.Hour), now), "now"},
		{plural.Noun(1, "block"), "block"}, {plural.Noun(2, "block"), "blocks"},
		{progressText(desk.Progress{Job: "spots", What: "verifying", Done: 1, Total: 4,
			Left: 90 * time.Second}),
			"spots: verifying: 25 %, 1 min left"},
		{printable([]byte(`{"a":1}`)), `{"a":1}`}, {printable([]byte("\x1b[2J")), `"\x1b[2J"`},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestRespawnsAreCountedForAWhile(t *testing.T) {
	now := time.Unix(1000, 0)
	for in, want := range map[string]int{"": 0, "3@990": 3, "3@900": 0, "x@990": 0, "3": 0, "3@x": 0} {
		if got := respawns(in, now); got != want {
			t.Errorf("%q: got %d, want %d", in, got, want)
		}
	}
}

// A sink that does not answer is no imbalance, and no proof either.
func TestAuditOfASinkThatIsSilent(t *testing.T) {
	var b bytes.Buffer
	f := &face{terminal: terminal{out: &b}}
	silent := desk.Comparison{Job: "spots", Sink: "main", Error: "the server is silent"}
	a := desk.Audit{Jobs: []engine.Books{{Job: "spots"}}, Deep: []desk.Comparison{silent}}
	f.showAudit(a)
	if got := b.String(); strings.Contains(got, "NOT") || !strings.Contains(got, "main     ?") ||
		!strings.Contains(got, "the books balance; what 1 sink holds is not known") {
		t.Errorf("got %s", got)
	}
	b.Reset()
	a.Deep = append(a.Deep, desk.Comparison{Job: "spots", Sink: "local", Missing: 1})
	if f.showAudit(a); !strings.HasSuffix(b.String(), "\nNOT balanced\n") {
		t.Errorf("got %s", b.String())
	}
}

func TestBriefReasons(t *testing.T) {
	for in, want := range map[string]string{
		"line 3 of /data/a b/day.csv: column time: is empty": "line 3 of day.csv: column time: is empty",
		"line 3 of day.csv: column time: is empty":           "line 3 of day.csv: column time: is empty",
		"the table holds another row: /x/y":                  "the table holds another row: /x/y",
	} {
		if got := brief(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
