package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"holdfast/base/secret"
	"holdfast/base/visible"
)

// LogHandler writes one line a record, as the old scraper did:
//
//	[2025-11-10 14:23:45] WARNING: text
//
// Attributes stand behind the text in brackets; a job stands before it, unless Alone is set.
type LogHandler struct {
	Level slog.Level
	Alone bool // there is one job only, so its name is not said

	out   *logOut
	job   string
	attrs string
}

type logOut struct {
	mu sync.Mutex
	w  io.Writer
}

var _ slog.Handler = (*LogHandler)(nil)

// NewLogHandler writes to w, in lines that are never mixed.
func NewLogHandler(w io.Writer, level slog.Level) *LogHandler {
	return &LogHandler{Level: level, out: &logOut{w: w}}
}

// Enabled implements slog.Handler.
func (h *LogHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.Level }

// Handle implements slog.Handler.
func (h *LogHandler) Handle(_ context.Context, r slog.Record) error {
	level := r.Level.String()
	if r.Level == slog.LevelWarn {
		level = "WARNING"
	}
	text := r.Message
	if h.job != "" && !h.Alone && !strings.Contains(text, "job "+h.job) {
		text = h.job + ": " + text
	}
	attrs := h.attrs
	r.Attrs(func(a slog.Attr) bool {
		attrs += format(a)
		return true
	})
	if attrs != "" {
		text += " (" + strings.TrimPrefix(attrs, ", ") + ")"
	}
	text = secret.Mask(text)
	// A text of several lines stays one record for who reads lines, and what came from outside commands no terminal.
	text = strings.ReplaceAll(visible.Text(strings.TrimRight(text, "\n"), "\n\t"), "\n", "\n    ")
	line := fmt.Sprintf("[%s] %s: %s\n", r.Time.Format("2006-01-02 15:04:05"), level, text)
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := io.WriteString(h.out.w, line)
	return err
}

func format(a slog.Attr) string {
	return fmt.Sprintf(", %s: %v", strings.ReplaceAll(a.Key, "_", " "), a.Value.Resolve().Any())
}

// WithAttrs implements slog.Handler.
func (h *LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	for _, a := range attrs {
		if a.Key == "job" {
			c.job = a.Value.String()
			continue
		}
		c.attrs += format(a)
	}
	return &c
}

// WithGroup implements slog.Handler; groups are not used here.
func (h *LogHandler) WithGroup(string) slog.Handler { return h }
