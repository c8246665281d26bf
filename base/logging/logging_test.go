package logging

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/base/fault"
)

func TestLogLines(t *testing.T) {
	var b bytes.Buffer
	h := NewHandler(&b, slog.LevelInfo)
	log := slog.New(h)
	log.Info("Cached 12 spots")
	log.With("job", "spots").Warn("gone", "file", "x y")
	log.With("job", "spots").Error("job spots failed\nfor two reasons")
	log.With("job", "spots").Warn("heard evil\x1b[31m")
	log.Warn("ask http://me:geheim@h/", "url", "http://me:geheim@h/")
	log.Debug("never")
	h.Alone = true
	slog.New(h).With("job", "spots").Info("alone")
	want := []string{
		`INFO: Cached 12 spots`,
		`WARNING: spots: gone \(file: x y\)`,
		`ERROR: job spots failed`,
		`    for two reasons`,
		`WARNING: spots: heard evil\\u001b\[31m`,
		`WARNING: ask http://\*\*\*@h/ \(url: http://\*\*\*@h/\)`,
		`INFO: alone`,
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got %q", lines)
	}
	for i, w := range want {
		if !strings.HasPrefix(w, " ") {
			w = `\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] ` + w
		}
		if !regexp.MustCompile("^" + w + "$").MatchString(lines[i]) {
			t.Errorf("got %q, want %q", lines[i], w)
		}
	}
}

func TestLogFileStartsAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "log")
	l, err := Open(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	line := []byte(strings.Repeat("x", 39) + "\n")
	for range 7 {
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]int64{path: 120 - 40 - 40, path + ".1": 80} {
		if info, err := os.Stat(name); err != nil || info.Size() != want {
			t.Errorf("%s: got %v, %v, want %d bytes", filepath.Base(name), info.Size(), err, want)
		}
	}
	// What was written is appended to by the next process.
	again, err := Open(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := again.Write(line); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 80 {
		t.Errorf("got %v, %v, want 80 bytes", info.Size(), err)
	}
}

func TestLogThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(file, "holdfast", "log") // not even root can make it
	_, err := Open(path, 0)
	if _, usage := errors.AsType[*fault.Usage](err); !usage || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want a usage error that names %s", err, path)
	}
}
