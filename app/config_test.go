package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"holdfast/tests/testenv"
)

// env is the environment of the tests.
func env(name string) (string, bool) {
	v, ok := map[string]string{"SECRET": "geheim123", "USER_NAME": "AA1A"}[name]
	return v, ok
}

// TestBadConfigurations parses each file of testdata/bad and compares all its mistakes with what is
// wanted: the lines of NAME.want. HOLDFAST_UPDATE=1 writes them anew, to be read before a commit.
func TestBadConfigurations(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("got %d files (%v), want at least 40", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(name+".yaml", text, env)
			all, ok := errors.AsType[Mistakes](err)
			if !ok || len(all) == 0 {
				t.Fatalf("got %v, want mistakes", err)
			}
			got := err.Error() + "\n"
			if strings.Contains(got, "geheim123") {
				t.Errorf("a secret is shown: %s", got)
			}
			for _, m := range all {
				if m.Line == 0 {
					t.Errorf("no line: %v", m)
				}
			}
			want := strings.TrimSuffix(file, ".yaml") + ".want"
			if os.Getenv("HOLDFAST_UPDATE") != "" {
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			w, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(w) {
				t.Errorf("got\n%swant\n%s", got, w)
			}
		})
	}
}

const good = `
data_dir: /var/lib/holdfast
listen: 127.0.0.1:8420
token: "${SECRET}"
checkpoints: {every: 30m, keep: 5}
disk: {soft: 2GiB, hard: 500MB}
jobs:
  spots:
    collect:
      source:
        wsprnet: {url: "http://127.0.0.1:1/spots", username: "${USER_NAME}", password: "${SECRET}",
          every: 120s}
      retain: {time: 7d, bytes: 20GiB}
      sinks:
        main:
          clickhouse: {url: "http://127.0.0.1:8123", database: wsprnet, table: spots, username: a,
            password: geheim123}
          batch: {rows: 100000, every: 10s}
        local: {sqlite: {path: spots.sqlite}, limit: 1GiB, policy: expire}
`

// TestInfluxExample: what the documents show of the sink influxdb is a configuration.
func TestInfluxExample(t *testing.T) {
	text := testenv.Example(t, "../docs/sinks-influxdb.md", "influxdb.yaml")
	c, err := Parse("influxdb.yaml", []byte(text), env)
	if err != nil {
		t.Fatal(err)
	}
	if weak := c.Weak(); len(weak) > 0 {
		t.Errorf("got %v, want exactly once", weak)
	}
}

func TestGoodConfiguration(t *testing.T) {
	c, err := Parse("good.yaml", []byte(good), env)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Jobs) != 1 || c.Jobs[0].Name != "spots" || c.Jobs[0].Kind != "collect" {
		t.Fatalf("got jobs %v", c.Jobs)
	}
	w := c.Jobs[0].work.(*collectConfig)
	if w.Retain.Time.String() != "168h0m0s" || *w.Retain.Bytes != 20<<30 {
		t.Errorf("got retain %v %v", w.Retain.Time, *w.Retain.Bytes)
	}
	if len(w.Sinks) != 2 || w.Sinks[0].name != "main" || w.Sinks[0].batch.Rows != 100_000 ||
		w.Sinks[1].limit != 1<<30 || w.Sinks[1].policy != "expire" {
		t.Errorf("got sinks %+v", w.Sinks)
	}
	if c.Checkpoints.Every.String() != "30m0s" || c.Checkpoints.Keep != 5 {
		t.Errorf("got checkpoints %v", c.Checkpoints)
	}
	if c.Disk.Soft != 2<<30 || c.Disk.Hard != 500e6 {
		t.Errorf("got disk %v", c.Disk)
	}
	if c.Token.Reveal() != "geheim123" {
		t.Error("the token was not read from the environment")
	}
}

// The text of a job that goes into checkpoints and onto the disk holds no secret, and reads as the
// same job again.
func TestTextOfAJobHasNoSecrets(t *testing.T) {
	c, err := Parse("good.yaml", []byte(good), env)
	if err != nil {
		t.Fatal(err)
	}
	text := c.Jobs[0].Text
	for _, s := range []string{"geheim123", "AA1A"} {
		if strings.Contains(text, s) {
			t.Errorf("it holds %s: %s", s, text)
		}
	}
	for _, s := range []string{"${SECRET}", "${USER_NAME}", "'***'"} {
		if !strings.Contains(strings.ReplaceAll(text, `"`, "'"), s) {
			t.Errorf("it lacks %s: %s", s, text)
		}
	}
	if shown := fmt.Sprintf("%v %+v %#v", c, c, c.Jobs[0].work); strings.Contains(shown, "geheim123") {
		t.Errorf("printing a configuration shows a secret: %s", shown)
	}
	whole := "jobs:\n  spots:\n    " + strings.ReplaceAll(text, "\n", "\n    ")
	again, err := Parse("again.yaml", []byte(whole), env)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if again.Jobs[0].Text != text {
		t.Errorf("got\n%swant\n%s", again.Jobs[0].Text, text)
	}
}

// A URL may have a password in front of its host, in any key.
func TestTextOfAJobHasNoPasswordOfAURL(t *testing.T) {
	c, err := Parse("t.yaml", []byte("jobs: {a: {crawl: {seeds: ['http://me:geheim123@h/'], contact: 'https://${USER_NAME}@h/'}}}"), env)
	if err != nil {
		t.Fatal(err)
	}
	if text := c.Jobs[0].Text; strings.Contains(text, "geheim123") || !strings.Contains(text, "http://***@h/") || !strings.Contains(text, "${USER_NAME}@h") {
		t.Errorf("got %s", text)
	}
	_, err = Parse("t.yaml", []byte("jobs: {a: {crawl: {seeds: ['http://me:geheim123@/'], contact: a@b}}}"), env)
	if err == nil || strings.Contains(err.Error(), "geheim123") {
		t.Errorf("got %v", err)
	}
}

func TestAnchorsStandForWhatTheyName(t *testing.T) {
	c, err := Parse("a.yaml", []byte(`jobs:
  one:
    collect:
      source: &feed {wsprnet: {url: "http://127.0.0.1:1/spots"}}
      sinks: {local: {sqlite: {path: one.sqlite}}}
  two:
    collect:
      source: *feed
      sinks: {local: {sqlite: {path: two.sqlite}}}
`), env)
	if err != nil || len(c.Jobs) != 2 || c.Jobs[1].work.(*collectConfig).Source.kind != "wsprnet" {
		t.Fatalf("got %v, %v", c, err)
	}
	var list struct {
		List []string `yaml:"list"`
	}
	d := newDecoder("b.yaml", env)
	root := d.Parse([]byte("list: [&a one, *a, &a two, *a]"))
	d.Decode(root, reflect.ValueOf(&list).Elem(), "")
	if got := strings.Join(list.List, " "); got != "one one two two" || len(d.Mistakes) > 0 {
		t.Errorf("got %s, %v", got, d.Mistakes)
	}
}

func TestTextMayBeginWithAByteOrderMark(t *testing.T) {
	if _, err := Parse("bom.yaml", []byte("\xef\xbb\xbf"+strings.TrimSpace(good)), env); err != nil {
		t.Error(err)
	}
}

// What a configuration may say, an editor that checks it against the schema must let pass.
func TestSchemaKnowsEveryKeyOfACollectJob(t *testing.T) {
	var s struct {
		Properties struct {
			Jobs struct {
				Each struct {
					Properties struct {
						Collect struct{ Properties map[string]any }
					}
				} `json:"additionalProperties"`
			}
		}
	}
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"source", "retain", "sinks", "forget"} {
		if s.Properties.Jobs.Each.Properties.Collect.Properties[key] == nil {
			t.Errorf("the schema does not know %s", key)
		}
	}
}

func TestUnits(t *testing.T) {
	for in, want := range map[string]Bytes{"20GiB": 20 << 30, "500MB": 500e6, "4096": 4096, "0": 0,
		"1.5 KiB": 1536, "7B": 7} {
		if b, err := parseBytes(in); err != nil || b != want {
			t.Errorf("%s: got %v, %v, want %d", in, b, err, want)
		}
	}
	for _, in := range []string{"", "GiB", "-1", "lots", "NaN", "1e40", "5 parsecs"} {
		if b, err := parseBytes(in); err == nil {
			t.Errorf("%q: got %v, want an error", in, b)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, file := range files {
		b, _ := os.ReadFile(file)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := Parse("f.yaml", text, env)
		if err != nil && !IsUsage(err) {
			t.Errorf("got %v, want mistakes", err)
		}
	})
}
