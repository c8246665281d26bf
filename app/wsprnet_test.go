package app

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// planOf makes a plan of a JSON file.
func planOf(t *testing.T, text string) (*Plan, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Wsprnet(WsprnetFlags{Config: file, DataDir: t.TempDir()}, slog.New(slog.DiscardHandler))
}

const here = `"wsprnet_url": "http://127.0.0.1:1/"`

// Mistakes in the JSON file name its keys, and hints name flags that there are.
func TestMistakesOfTheJSONFile(t *testing.T) {
	for text, want := range map[string]string{
		`"clickhouse_host": "127.0.0.1:28123"`: "clickhouse_host: want a host name or address alone",
		`"clickhouse_host": "a b"`:             "clickhouse_host: invalid character",
		`"clickhouse_host": "ftp://x"`:         "clickhouse_host: want a host name",
		`"clickhouse_host": "http://u:p@x"`:    "clickhouse_host: put user and password into",
		`"clickhouse_port": 99999999`:          "clickhouse_port: want a port from 1 to 65535, got 9.9999999e+07",
		`"clickhouse_port": 81.5`:              "clickhouse_port: want a port from 1 to 65535, got 81.5",
		`"loop_interval": "NaN"`:               "loop_interval: want a number from 0 to 1000000000",
		`"loop_interval": 1e300`:               "loop_interval: want a number from 0 to 1000000000",
		`"loop_interval": "Inf"`:               "loop_interval: want a number from 0 to 1000000000",
		`"request_timeout": -1`:                "request_timeout: want a number from 0",
		`"max_bytes_per_second": "fast"`:       "max_bytes_per_second: want a whole number",
		`"max_bytes_per_second": 0.5`:          "max_bytes_per_second: want a whole number",
		`"max_bytes_per_second": -7`:           "max_bytes_per_second: is -7",
		`"username": "AA1A", "password": geh`:  "want a JSON object: invalid character looking for",
		`"exclude_special": 2`:                 "exclude_special: is 2",
	} {
		_, err := planOf(t, "{"+here+",\n"+text+"}")
		all, ok := errors.AsType[Mistakes](err)
		if !ok || len(all) != 1 || !strings.Contains(all[0].Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
			continue
		}
		if m := all[0]; m.Line != 2 && m.Path != "" {
			t.Errorf("%s: got line %d, want 2", text, m.Line)
		}
		if _, flag, ok := strings.Cut(all[0].Hint, "--"); ok && flag != "loop" {
			t.Errorf("%s: the hint names --%s", text, flag)
		}
	}
}

// A mistake on the command line is not blamed on the file that says something else.
func TestMistakesOfTheCommandLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.json")
	text := "{" + here + `, "username": "AA1A", "password": "good"}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	placeholder := "CHANGEME"
	_, err := Wsprnet(WsprnetFlags{Config: file, DataDir: t.TempDir(), Password: &placeholder},
		slog.New(slog.DiscardHandler))
	if err == nil || !strings.HasPrefix(err.Error(), "command line: password: ") {
		t.Errorf("got %v, want a mistake of the command line", err)
	}
}

func TestNumbersOfTheJSONFile(t *testing.T) {
	for _, text := range []string{`"max_bytes_per_second": "20000"`, `"max_bytes_per_second": -1`,
		`"clickhouse_port": "9000"`, `"clickhouse_host": "::1"`, `"clickhouse_host": "[::1]"`,
		`"clickhouse_host": "https://example.org:8443"`, `"loop_interval": "0.5"`,
		`"max_bytes_per_second": null`} {
		if _, err := planOf(t, "{"+here+",\n"+text+"}"); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestHintsNameFlagsThatThereAre(t *testing.T) {
	k := &WsprnetKeys{}
	for key, want := range map[string]string{"password": "--password", "loop_interval": "--loop",
		"wsprnet_url": "", "request_timeout": "", "clickhouse_password": "--clickhouse-password"} {
		hint := k.mistake(WsprnetFlags{}, key, "x").Hint
		if _, flag, _ := strings.Cut(hint, "or give "); flag != want {
			t.Errorf("%s: got hint %q, want the flag %q", key, hint, want)
		}
	}
}
