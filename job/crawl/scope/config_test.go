package scope

import (
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestValidate: each fault is told with the name of its key.
func TestValidate(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:          "scope: there is no rule",
		`[{name: x}]`: "scope[0].accept: want exactly one of accept and reject",
		`[{accept: {seed: true}, reject: {seed: true}}]`:               "scope[0].accept: want exactly one of accept and reject",
		`[{accept: {not: true}}]`:                                      "scope[0].accept: want exactly one of everything, seed,",
		`[{accept: {seed: true}}, {reject: {seed: true, regex: [x]}}]`: "scope[1].reject: want exactly one of everything, seed,",
	} {
		refused(t, text, want)
	}
	for text, want := range map[string]string{
		`regex: [a, "("]`:                    ".regex[1]: is no regular expression of RE2",
		`regex: ['(a)\1']`:                   ".regex[0]: is no regular expression of RE2",
		`regex: []`:                          ".regex: is empty",
		`regex: [""]`:                        ".regex[0]: is empty",
		`hops: {}`:                           ".hops: want exactly one of more_than and match",
		`hops: {more_than: 1, match: L}`:     ".hops: want exactly one of more_than and match",
		`hops: {more_than: -1}`:              ".hops.more_than: want a number from 0, got -1",
		`hops: {match: "("}`:                 ".hops.match: is no regular expression of RE2",
		`hops: {match: L, of: L}`:            ".hops.of: means nothing without more_than",
		`hops: {more_than: 3, of: l}`:        `.hops.of: want letters of hops, like L or LM, got "l"`,
		`transclusion: {hops: -1}`:           ".transclusion.hops: want a number from 0",
		`transclusion: {speculative: -2}`:    ".transclusion.speculative: want a number from 0",
		`path_depth: {}`:                     ".path_depth.more_than: is missing",
		`path_depth: {more_than: -3}`:        ".path_depth.more_than: want a number from 0, got -3",
		`repeated_segments: {more_than: 0}`:  ".repeated_segments.more_than: want a number from 1",
		`scheme: [ftp]`:                      `.scheme[0]: want http or https, got "ftp"`,
		`extension: [jpg, .png]`:             `.extension[1]: want letters, like jpg, got ".png"`,
		`type: ["*/*"]`:                      ".type[0]: want a MIME type",
		`type: [html]`:                       ".type[0]: want a MIME type",
		`size: {}`:                           ".size.more_than: is missing",
		`source: []`:                         ".source: is empty",
		`surts: {}`:                          ".surts: want at least one of seeds, list and file",
		`surts: {via: true}`:                 ".surts: want at least one of seeds, list and file",
		`surts: {seeds: hosts}`:              `.surts.seeds: want host, domain or path, got "hosts"`,
		`surts: {list: [a.org, "ftp://x/"]}`: `.surts.list[1]: "ftp://x/" is neither a SURT prefix nor a URL`,
	} {
		refused(t, "[{reject: {"+text+"}}]", "scope[0].reject"+want)
	}
}

// refused wants one fault of a list.
func refused(t *testing.T, text, want string) {
	t.Helper()
	var l List
	if err := yaml.UnmarshalWithOptions([]byte(text), &l, yaml.Strict()); err != nil {
		t.Errorf("%s: %v", text, err)
		return
	}
	if faults := l.Validate(); len(faults) != 1 || !strings.HasPrefix(faults[0].Error(), want) {
		t.Errorf("%s: got %v, want %s", text, faults, want)
	}
	if s, err := New(l, nil); err == nil || s != nil {
		t.Errorf("%s: New takes it", text)
	}
}

// TestExample: the example of the package comment is one, and what Default returns can be written down.
func TestExample(t *testing.T) {
	var l List
	err := yaml.UnmarshalWithOptions([]byte(`
- reject: {everything: true}
- accept: {surts: {seeds: host, list: [more.example]}}
- reject: {hops: {more_than: 20}}
- accept: {transclusion: {hops: 2, speculative: 1}}
- reject: {repeated_segments: {more_than: 2}}
- reject: {path_depth: {more_than: 20}}
- reject: {regex: ['/calendar/', '[?&]sort=']}
- name: no video
  reject: {type: [video/*]}
- accept: {prerequisite: true}
`), &l, yaml.Strict())
	if err != nil || len(l.Validate()) != 0 {
		t.Fatal(err, l.Validate())
	}
	s := build(t, l, "http://h.org/")
	about(t, s, "+http://h.org/", "+http://a.more.example/", "-http://h.org/?a&sort=x", "-http://h.org/calendar/1",
		"-http://other.org/")
	if d := s.AfterHead(Candidate{URL: parse(t, "http://h.org/")}, Head{Type: "video/mp4"}); d.Accept || d.Name != "no video" {
		t.Errorf("%+v", d)
	}
	if faults := Default().Validate(); len(faults) != 0 {
		t.Error(faults)
	}
	written, err := yaml.MarshalWithOptions(Default(), yaml.OmitEmpty())
	var again List
	if err == nil {
		err = yaml.UnmarshalWithOptions(written, &again, yaml.Strict())
	}
	if err != nil || len(again) != len(Default()) || len(again.Validate()) != 0 {
		t.Errorf("%s: %v, %v", written, err, again.Validate())
	}
}
