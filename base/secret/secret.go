// Package secret holds text that must never be shown: passwords, tokens, addresses with a key in
// them. It is read from a configuration like any string, and prints as *** wherever it goes.
package secret

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"

	"github.com/goccy/go-yaml"
)

// hidden is what is shown in the place of a secret.
const hidden = "***"

// Text is a secret. Only Reveal gives it away; fmt, log/slog, JSON and YAML show ***, or nothing
// for an empty one, so that a missing password can be told from one that is set.
type Text string

// Reveal returns the secret itself, for the one place that needs it.
func (t Text) Reveal() string { return string(t) }

// String returns *** or, for an empty secret, nothing.
func (t Text) String() string {
	if t == "" {
		return ""
	}
	return hidden
}

// Format hides the secret from every verb of fmt, %x and %#v included.
func (t Text) Format(f fmt.State, verb rune) {
	if verb == 'q' {
		_, _ = fmt.Fprintf(f, "%q", t.String())
		return
	}
	_, _ = io.WriteString(f, t.String())
}

// MarshalText hides the secret from JSON, YAML and every other encoding of text.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalYAML reads the secret as it is written: a password of digits keeps its leading zeros,
// which it would lose as a YAML number.
func (t *Text) UnmarshalYAML(b []byte) error {
	b = bytes.TrimSpace(b)
	if len(b) > 0 && bytes.IndexByte([]byte(`"'|>`), b[0]) >= 0 {
		var s string
		if err := yaml.Unmarshal(b, &s); err != nil {
			return fmt.Errorf("read a secret: %w", err)
		}
		b = []byte(s)
	}
	*t = Text(b)
	return nil
}

// LogValue hides the secret from log/slog.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }
