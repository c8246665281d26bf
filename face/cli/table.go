package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"holdfast/base/visible"
)

// width is what every table fits into.
const width = 80

// table is a table with aligned columns. One column may give way: it is cut when the row is too
// long.
type table struct {
	heads []string
	right []bool // aligned to the right: numbers
	gives int    // index of the column that gives way, -1 for none
	fits  int    // into so many columns
	rows  [][]string
}

// newTable returns a table. A head that begins with > is aligned to the right, one that begins with
// ~ gives way.
func newTable(heads ...string) *table {
	t := &table{gives: -1, fits: width}
	for i, h := range heads {
		if strings.HasPrefix(h, "~") {
			t.gives = i
		}
		t.right = append(t.right, strings.HasPrefix(h, ">"))
		t.heads = append(t.heads, strings.TrimLeft(h, ">~"))
	}
	return t
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write writes the table, indented.
func (t *table) write(w io.Writer, indent string) {
	widths := make([]int, len(t.heads))
	for _, row := range append([][]string{t.heads}, t.rows...) {
		for i, c := range row {
			widths[i] = max(widths[i], columns(c))
		}
	}
	total := len(indent) + 2*(len(widths)-1)
	for _, n := range widths {
		total += n
	}
	if t.gives >= 0 && total > t.fits {
		widths[t.gives] = max(8, widths[t.gives]-(total-t.fits))
	}
	for _, row := range append([][]string{t.heads}, t.rows...) {
		var b strings.Builder
		b.WriteString(indent)
		for i, c := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			c = cut(c, widths[i])
			if t.right[i] {
				b.WriteString(strings.Repeat(" ", widths[i]-columns(c)) + c)
			} else {
				b.WriteString(pad(c, widths[i]))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// columns is how many columns of a terminal a text takes: a Chinese character takes two, an accent that is a character of its own none.
func columns(s string) int { return ansi.StringWidth(s) }

// pad fills a text up to n columns.
func pad(s string, n int) string { return s + strings.Repeat(" ", max(0, n-columns(s))) }

// cut shortens a text to n columns.
func cut(s string, n int) string {
	return ansi.Truncate(visible.Line(strings.Join(strings.Fields(s), " ")), n, "…")
}

// wrap breaks a text into lines that fit, each after indent.
func wrap(s, indent string) string { return wrapTo(s, indent, width) }

func wrapTo(s, indent string, width int) string {
	var b strings.Builder
	line := indent
	for _, word := range words(visible.Line(s), width-columns(indent)) {
		if len(line) > len(indent) && columns(line)+1+columns(word) > width {
			b.WriteString(line + "\n")
			line = indent
		}
		if len(line) > len(indent) {
			line += " "
		}
		line += word
	}
	return b.String() + line + "\n"
}

// words are those of a text. One that is too long stays whole, for paths and addresses are copied; but in a script without spaces, lines end
// anywhere.
func words(s string, width int) (all []string) {
	for _, word := range strings.Fields(s) {
		if columns(word) > width && columns(word) > utf8.RuneCountInString(word) {
			all = append(all, strings.Split(ansi.Hardwrap(word, max(width, 2), false), "\n")...)
			continue
		}
		all = append(all, word)
	}
	return all
}
