package web_test

import (
	"strings"
	"testing"

	"holdfast/base/web"
)

func TestURLs(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"http://h/x":             "",
		"https://[::1]:65535/":   "",
		"http://h:65536/":        "port 65536",
		"http://h:0/":            "port 0",
		"http://h:99999999999/":  "port",
		"ftp://h/":               "http://",
		"http:///x":              "http://",
		"http://me:geheim@h:1/x": "user name",
	} {
		got := web.BadURL(raw)
		if (got == "") != (want == "") || !strings.Contains(got, want) || strings.Contains(got, "geheim") {
			t.Errorf("BadURL(%q) = %q, want %q in it", raw, got, want)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]bool{"X-Api-Key": false, "x_y": false, "": true, "X Key": true,
		"X-Key:": true, "X\r\nY": true, "Schlüssel": true, "host": true, "Content-length": true} {
		if got := web.BadHeaderName(name); (got != "") != bad {
			t.Errorf("BadHeaderName(%q) = %q, want a fault: %v", name, got, bad)
		}
	}
	for value, bad := range map[string]bool{"": false, "a b\tc": false, "größe": false, "a\nb": true, "a\rb": true,
		"a\x00": true, "\x7f": true} {
		if got := web.BadHeaderValue(value); (got != "") != bad {
			t.Errorf("BadHeaderValue(%q) = %q, want a fault: %v", value, got, bad)
		}
	}
}
