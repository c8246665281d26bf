package cli

import (
	"fmt"
	"strings"

	"holdfast/app/desk"
)

// progress returns who hears of the progress of long work, and what ends the line on the terminal.
// Where stderr is no terminal, a line is written every tenth of the work.
func (f *face) progress() (func(desk.Progress), func()) {
	drawn, tenth := 0, -1
	tell := func(p desk.Progress) {
		text := cut(progressText(p), width-1)
		if f.tty {
			fmt.Fprintf(f.err, "\r%s%s", text, strings.Repeat(" ", max(0, drawn-len(text))))
			drawn = len(text)
			return
		}
		if t := p.Percent() / 10; t != tenth {
			tenth = t
			fmt.Fprintln(f.err, text)
		}
	}
	return tell, func() {
		if drawn > 0 {
			fmt.Fprintf(f.err, "\r%s\r", strings.Repeat(" ", drawn))
		}
	}
}

// progressText is one line about long work.
func progressText(p desk.Progress) string {
	text := p.What
	if p.Job != "" {
		text = p.Job + ": " + text
	}
	if p.Total == 0 {
		return text
	}
	text = fmt.Sprintf("%s: %d %%", text, p.Percent())
	if p.Left > 0 {
		text += ", " + span(p.Left) + " left"
	}
	return text
}
