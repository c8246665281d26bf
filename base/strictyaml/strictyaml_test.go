package strictyaml

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

type file struct {
	Name  string            `yaml:"name"`
	Jobs  []job             `yaml:"jobs"`
	Words map[string]string `yaml:"words"`
	Deep  any               `yaml:"-"`
}

type job struct {
	Size *int    `yaml:"size"`
	Part float64 `yaml:"part"`
	On   bool    `yaml:"on"`
}

func decode(text string, single bool) (file, *Decoder) {
	d := &Decoder{File: "f.yaml", Single: single}
	var f file
	if n := d.Parse([]byte(text)); n != nil {
		d.Decode(n, reflect.ValueOf(&f).Elem(), "")
	}
	return f, d
}

// TestMistakes: each has its place and its path, all are told in one go, and what is right beside them is there.
func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		single bool
		want   string
	}{
		"good":        {"name: a\njobs: [{size: 1_000, on: true}]", false, ""},
		"unknown key": {"nme: a", false, "f.yaml:1:1: unknown key \"nme\"; want one of: jobs, name, words"},
		"all at once": {"jobs:\n- size: x\n- part: .inf\n  on: maybe\nname: [a]", false,
			"f.yaml:2:9: jobs[0].size: want a whole number, got \"x\"\n" +
				"f.yaml:3:9: jobs[1].part: want a number, got \".inf\"\n" +
				"f.yaml:4:7: jobs[1].on: want true or false, got \"maybe\"\n" +
				"f.yaml:5:7: name: want a single value, got a list"},
		"no list":       {"jobs: {size: 1}", false, "f.yaml:1:7: jobs: want a list, got keys and values"},
		"list of one":   {"jobs: {size: 1}", true, ""},
		"empty item":    {"jobs:\n-\n- size: 1", false, "f.yaml:2:2: jobs[0]: is empty"},
		"merge":         {"words: &w {a: b}\nname: c\njobs: [{<<: *w}]", false, "f.yaml:3:9: jobs[0]: << is not understood here; write the keys out"},
		"tag":           {"name: !x y", false, "f.yaml:1:7: a word that begins with ! is a tag, which means nothing here; put the value in quotes"},
		"no such name":  {"name: *x", false, "f.yaml:1:7: a word that begins with * stands for what & names, and nothing above is named so; put the value in quotes"},
		"unused name":   {"name: &x y", false, "f.yaml:1:7: a word that begins with & is a name for what follows, and no * stands for it; put the value in quotes"},
		"alias":         {"name: &x y\nwords: {a: *x}", false, ""},
		"no YAML":       {"name: [a", false, "f.yaml:1:7: this is no YAML: sequence end token ']' not found"},
		"two documents": {"name: a\n---\nname: b", false, "f.yaml:3:1: there is a second document; want one"},
		"empty":         {"# nothing\n", false, "f.yaml:1:1: it is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			_, d := decode(c.text, c.single)
			got := ""
			if err := d.Mistakes.Err(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// TestValuesAndPlaces: values come out of aliases, too, and a mistake that is found later is told where the value stands,
// or what is nearest around it.
func TestValuesAndPlaces(t *testing.T) {
	f, d := decode("\xef\xbb\xbfname: &n spots\njobs:\n  - {size: 7}\n  - size: 8\nwords: {a: *n}", false)
	if err := d.Mistakes.Err(); err != nil {
		t.Fatal(err)
	}
	if f.Name != "spots" || f.Words["a"] != "spots" || len(f.Jobs) != 2 || *f.Jobs[1].Size != 8 {
		t.Errorf("got %+v", f)
	}
	for path, want := range map[string]string{"jobs[1].size": "4:11", "jobs[1].on": "4:5", "jobs[7].on": "3:3", "nothing": "0:0"} {
		line, column := d.PlaceOf(path)
		if got := fmt.Sprintf("%d:%d", line, column); got != want {
			t.Errorf("%s is at %s; want %s", path, got, want)
		}
	}
}

// TestBombs: small files that mean much more than fits any memory, or any stack, are refused at once.
func TestBombs(t *testing.T) {
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 12; i++ {
		laughs += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	laughs += "name: *a11\n"
	for name, text := range map[string]string{
		"stands for":    laughs,
		"nested":        "name: " + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000),
		"nested too":    strings.Repeat("- ", 100_000) + "a",
		"has 4194305 b": strings.Repeat("#", MaxBytes+1),
	} {
		_, d := decode(text, false)
		if err := d.Mistakes.Err(); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(name, " too")) {
			t.Errorf("got %.200v; want that it %s", err, name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"name: a", "jobs: [{size: 1}]", "a: &a [*a]", "a: &x\n b: *x", "? [a]\n: b", "- - -", "!!x {", "name: |\n a\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 10_000 {
			return
		}
		_, d := decode(text, true)
		for _, m := range d.Mistakes {
			if m.Text == "" || m.Line < 0 {
				t.Errorf("a mistake without words or place: %+v", m)
			}
		}
	})
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]string{"120s": "2m0s", "7d": "168h0m0s", "1d12h": "36h0m0s",
		"2w": "336h0m0s", "1.5h": "1h30m0s", "0s": "0s", "90m": "1h30m0s"} {
		if d, err := Duration(in); err != nil || d.String() != want {
			t.Errorf("%s: got %v, %v, want %s", in, d, err, want)
		}
	}
	for _, in := range []string{"", "7", "d", "-1d", "week", "1x", "99999999w", "NaNd", "infw"} {
		if d, err := Duration(in); err == nil {
			t.Errorf("%q: got %v, want an error", in, d)
		}
	}
}
