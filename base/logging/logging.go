// Package logging writes what a process tells of its work: records as lines of text (Handler), to a file that starts anew
// when it gets too large (File). No secret that is known to base/secret gets into a line, and nothing that came from outside
// commands the terminal that shows it.
//
// The commands of the face call it; everybody else writes to the slog.Logger that was given.
package logging

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

// Handler writes one line a record, as the old scraper did:
//
//	[2025-11-10 14:23:45] WARNING: text
//
// Attributes stand behind the text in brackets; a job stands before it, unless Alone is set.
type Handler struct {
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

var _ slog.Handler = (*Handler)(nil)

// NewHandler writes to w, in lines that are never mixed.
func NewHandler(w io.Writer, level slog.Level) *Handler {
	return &Handler{Level: level, out: &logOut{w: w}}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.Level }

// Handle implements slog.Handler.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
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
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
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
func (h *Handler) WithGroup(string) slog.Handler { return h }
