package wsprnet

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

func TestConfigFromYAML(t *testing.T) {
	const text = `
url: "http://127.0.0.1:1/x"
login_url: "http://127.0.0.1:1/l"
username: me
password: 0123
session_file: s.json
every: 90s
band: "7"
exclude_special: 1
max_bytes_per_second: -1
request_timeout: 5s
page_timeout: 1m
max_page_bytes: 1000000
login_pause: 10m
`
	var c Config
	if err := yaml.UnmarshalWithOptions([]byte(text), &c, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	want := Config{URL: "http://127.0.0.1:1/x", LoginURL: "http://127.0.0.1:1/l", Username: "me", Password: "0123",
		SessionFile: "s.json", Every: 90 * time.Second, Band: "7", ExcludeSpecial: 1, MaxBytesPerSecond: -1,
		RequestTimeout: 5 * time.Second, PageTimeout: time.Minute, MaxPageBytes: 1000000, LoginPause: 10 * time.Minute}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	out, _ := yaml.Marshal(c)
	if strings.Contains(string(out), "0123") {
		t.Errorf("the password shows in %s", out)
	}
}

func TestDefaults(t *testing.T) {
	c := Config{}.WithDefaults()
	if c.LoginURL != "http://www.wsprnet.org/drupal/rest/user/login" || c.URL != defaultURL || c.Band != "All" ||
		c.MaxBytesPerSecond != 20_000 || c.RequestTimeout != 120*time.Second {
		t.Errorf("got %+v", c)
	}
	c = Config{URL: "https://feed.test:8443/spots?x=1"}.WithDefaults()
	if c.LoginURL != "https://feed.test:8443/drupal/rest/user/login" {
		t.Errorf("login_url is %s", c.LoginURL)
	}
}

func TestValidate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s.json")
	if err := os.WriteFile(file, []byte(`{"session_name":"S","sessid":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cfg  Config
		want []string
	}{
		{Config{Username: "u", Password: "p"}, nil},
		{Config{URL: "http://127.0.0.1:1/x"}, nil},
		{Config{Username: "u", SessionFile: file}, nil},
		{Config{}, []string{"username: is empty"}},
		{Config{Username: "u"}, []string{"password: is empty; set the password of u"}},
		{Config{Username: "u", Password: "CHANGEME"}, []string{"password: is still the placeholder"}},
		{Config{Username: "CHANGEME", Password: "p"}, []string{"username: is CHANGEME"}},
		{Config{URL: "ftp://x/y"}, []string{`login_url: is "ftp://x/drupal/rest/user/login", want`, `url: is "ftp://x/y", want an http`}},
		{Config{URL: "http://u:p@x/y", LoginURL: "http://x/l"}, []string{"url: holds a user name"}},
		{Config{URL: "http://x/y", ExcludeSpecial: 2, MaxBytesPerSecond: -2, MaxPageBytes: 5, Every: -1},
			[]string{"every: is -1ns", "exclude_special: is 2", "max_bytes_per_second: is -2", "max_page_bytes: is 5"}},
	} {
		got := c.cfg.Validate()
		if len(got) != len(c.want) {
			t.Errorf("%+v: got %v, want %q", c.cfg, got, c.want)
			continue
		}
		for i, err := range got {
			var p Problem
			if !strings.HasPrefix(err.Error(), c.want[i]) || !errors.As(err, &p) {
				t.Errorf("got %q, want %q", err, c.want[i])
			}
		}
		if _, err := Open(c.cfg, Options{}); (err != nil) != (len(c.want) > 0) {
			t.Errorf("open %+v: %v", c.cfg, err)
		}
	}
}

func TestNextPoll(t *testing.T) {
	at := func(s string) time.Time {
		t.Helper()
		v, err := time.Parse("15:04:05", s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		last, host string
		loop       time.Duration
		want       string
	}{
		{"12:01:30", "www.wsprnet.org", 0, "12:03:30"},
		{"12:02:30", "www.wsprnet.org", 0, "12:05:30"},
		{"12:00:59", "feed.test", 0, "12:03:59"},
		{"12:01:30", "feed.test", 20 * time.Second, "12:01:50"},
		{"12:01:30", "feed.test", time.Minute, "12:02:30"},
		{"12:01:30", "www.wsprnet.org", 20 * time.Second, "12:03:30"},
		{"12:01:30", "WSPRNET.ORG", 5 * time.Minute, "12:07:30"},
		{"12:01:30", "notwsprnet.org", time.Second, "12:01:31"},
	} {
		if got := nextPoll(at(c.last), c.host, c.loop); !got.Equal(at(c.want)) {
			t.Errorf("%s %s every %v: got %s, want %s", c.last, c.host, c.loop, got.Format("15:04:05"), c.want)
		}
	}
}
