package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

type config struct {
	Name     string `json:"name" yaml:"name"`
	Password Text   `json:"password" yaml:"password"`
}

func TestNothingShowsIt(t *testing.T) {
	c := config{Name: "n", Password: "hunter2"}
	var log bytes.Buffer
	h := slog.New(slog.NewTextHandler(&log, nil))
	h.Info("text", "password", c.Password, "config", c)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "password", c.Password, "config", c)
	j, _ := json.Marshal(c)
	y, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown := log.String() + string(j) + string(y) + errors.New(c.Password.String()).Error()
	for _, verb := range []string{"%v", "%s", "%q", "%x", "%X", "%d", "%#v", "%+v"} {
		shown += fmt.Sprintf(verb+"\n", c.Password) + fmt.Sprintf(verb+"\n", c)
	}
	for _, leak := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2")} {
		if strings.Contains(shown, leak) {
			t.Errorf("the secret shows as %q in:\n%s", leak, shown)
		}
	}
	if !strings.Contains(string(j), `"***"`) || !strings.Contains(string(y), "***") {
		t.Errorf("want ***, got %s and %s", j, y)
	}
	if c.Password.Reveal() != "hunter2" || Text("").String() != "" {
		t.Error("Reveal must give the secret, and an empty one must show as empty")
	}
}

func TestReadFromConfiguration(t *testing.T) {
	for in, want := range map[string]string{
		"password: hunter2":     "hunter2",
		"password: \"a: b #c\"": "a: b #c",
		"password: 12345":       "12345",
		"password: 007":         "007",
	} {
		var c config
		if err := yaml.UnmarshalWithOptions([]byte(in), &c, yaml.Strict()); err != nil {
			t.Fatal(err)
		}
		if got := c.Password.Reveal(); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
	var c config
	if err := json.Unmarshal([]byte(`{"password":"p\"w"}`), &c); err != nil || c.Password != `p"w` {
		t.Errorf("json: got %q, %v", c.Password.Reveal(), err)
	}
}
