package sftp

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	good := []Config{{Host: "gateway"}, {Host: "goto@gateway", Directory: "/export/raw"}, {Host: "a@b@::1", Directory: "~/x", Port: 22,
		Verify: "size"}}
	for _, c := range good {
		if errs := c.Validate(); len(errs) > 0 {
			t.Errorf("%+v: %v", c, errs)
		}
	}
	bad := Config{Host: "@-oProxyCommand=x", Port: 70000, Directory: "~goto/x", Verify: "never", ConnectTimeout: -1, Silence: 1}
	text := errors.Join(bad.Validate()...).Error()
	for _, key := range []string{"host:", "port:", "directory:", "verify:", "connect_timeout:", "silence:"} {
		if !strings.Contains(text, key) {
			t.Errorf("%s is not among the faults: %s", key, text)
		}
	}
	for _, c := range []Config{{}, {Host: "-x"}, {Host: "x@-y"}, {Host: "a b"}, {Host: "a\n"}, {Host: "a", Directory: "a\x00"},
		{Host: "a", Silence: time.Millisecond}} {
		if _, err := New(c); !fault.Is(err, fault.Permanent) {
			t.Errorf("%+v: got %v, want it to be refused", c, err)
		}
	}
}

func TestParseRemote(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{ // host|directory, "" for a local path
		"goto@goto-gateway:/export/gotodata2/raw": "goto@goto-gateway|/export/gotodata2/raw",
		"gateway:":              "gateway|",
		"gateway:raw":           "gateway|raw",
		"gateway:~/a b:c":       "gateway|~/a b:c",
		"[::1]:/x":              "::1|/x",
		"goto@[fe80::1%eth0]:x": "goto@fe80::1%eth0|x",
		"a@b@c:d":               "a@b@c|d",
		"/mnt/a:b":              "",
		"./a:b":                 "",
		"a/b:c":                 "",
		"plain":                 "",
		"":                      "",
		":x":                    "",
		"[::1]":                 "",
		"[a/b]:c":               "",
		"[x":                    "",
		"host[1]:x":             "host[1]|x",
		"a/@[x]:y":              "",
	} {
		c, ok := ParseRemote(s)
		got := ""
		if ok {
			got = c.Host + "|" + c.Directory
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
	for s, want := range map[string][2]string{"goto@gateway:/raw": {"goto@gateway:/raw", "/raw"}, "a@[::1]:x": {"a@[::1]:x"}, "g:": {"g:."},
		"g:~/x": {"g:~/x"}, "g:/a/./b/": {"g:/a/./b/", "/a/b"}} {
		c, _ := ParseRemote(s)
		d, err := New(c)
		if err != nil || d.Traits().Root != want[0] || d.Traits().Path != want[1] { // below a home it is not known yet
			t.Errorf("%q: %+v, %v", s, d, err)
		}
	}
}

// FuzzParseRemote: what is taken for remote can be written again, and read as the same.
func FuzzParseRemote(f *testing.F) {
	for _, s := range []string{"a:b", "u@[::1]:x", "[", "]:", "@[a]:b", "a@:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := ParseRemote(s)
		if !ok || len(c.Validate()) > 0 {
			return
		}
		c = c.WithDefaults()
		if again, ok := ParseRemote(c.root()); !ok || again.Host != c.Host || again.Directory != c.Directory {
			t.Errorf("%q: %+v is %q, which is %+v", s, c, c.root(), again)
		}
	})
}

// FuzzSpell: what a name becomes is one word of one line, and the script makes the name of it again.
func FuzzSpell(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		word := spell(s)
		if strings.ContainsAny(word, " \t\n\r'\"$`;&|<>()*?[]~#!") {
			t.Errorf("%q becomes %q", s, word)
		}
		if strings.Contains(s, "\x00") || s == "" {
			return
		}
		cmd := exec.Command("sh", "-c", naming+`; IFS= read -r a; LC_ALL=C; name "$a"; printf %s "$v"`)
		cmd.Stdin = strings.NewReader(word + "\n")
		if out, err := cmd.Output(); err != nil || string(out) != s {
			t.Errorf("%q becomes %q, which becomes %q, %v", s, word, out, err)
		}
	})
}

// FuzzAnswer: an SFTP server may answer anything.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 5, fxpVersion, 0, 0, 0, 3})
	f.Add([]byte{0, 0, 0, 13, fxpStatus, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 9, fxpHandle, 0, 0, 0, 1, 0, 0, 0, 0})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, answer []byte) {
		x := &exchange{in: &bytes.Buffer{}, out: bytes.NewReader(answer)}
		for range 3 {
			if _, err := x.open("x", fxfRead); err != nil {
				return
			}
		}
	})
}
