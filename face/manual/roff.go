package manual

import (
	"bytes"
	"fmt"
	"strings"
)

// page is a manual page in the man macros of roff, which every man reads (groff, mandoc).
type page struct{ bytes.Buffer }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p *page) section(title string)    { p.line(`.SH "%s"`, escaped(title)) }
func (p *page) subsection(title string) { p.line(`.SS "%s"`, quoted(escaped(title))) }

// paragraph is text that is marked up and escaped already; lines are filled.
func (p *page) paragraph(s string) {
	p.line(".PP")
	p.line("%s", s)
}

// term is a word, marked up already, and plain text of what it means.
func (p *page) term(name, means string) {
	p.line(".TP")
	p.line("%s", name)
	p.line("%s", escaped(strings.Join(strings.Fields(means), " ")))
}

// literal is text whose lines stay as they are.
func (p *page) literal(s string) {
	p.line(".PP")
	p.line(".nf")
	for line := range strings.Lines(strings.Trim(s, "\n")) {
		p.line("%s", escaped(strings.ReplaceAll(strings.TrimRight(line, "\n"), "\t", "    ")))
	}
	p.line(".fi")
}

// text is plain text as --help shows it: paragraphs between empty lines are filled, but indented lines stay as they are.
func (p *page) text(s string) {
	var words, fixed []string
	flush := func() {
		if len(words) > 0 {
			p.paragraph(escaped(strings.Join(words, " ")))
		}
		if len(fixed) > 0 {
			p.literal(strings.Join(fixed, "\n"))
		}
		words, fixed = nil, nil
	}
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, " \n")
		indented := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		switch {
		case line == "":
			flush()
		case indented:
			if len(words) > 0 {
				flush()
			}
			fixed = append(fixed, line)
		default:
			if len(fixed) > 0 {
				flush()
			}
			words = append(words, strings.TrimSpace(line))
		}
	}
	flush()
}

// bold and italic are plain text, marked up.
func bold(s string) string   { return `\fB` + escaped(s) + `\fR` }
func italic(s string) string { return `\fI` + escaped(s) + `\fR` }

// escaped is plain text that roff shows as it stands: signs that people copy into a shell stay those of ASCII, and
// nothing at the beginning of a line is taken for a macro.
func escaped(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "~", `\(ti`, "^", `\(ha`).Replace(s)
	if strings.HasPrefix(s, ".") {
		return `\&` + s
	}
	return s
}

// quoted is escaped text within the quotes of a macro's argument.
func quoted(s string) string { return strings.ReplaceAll(s, `"`, `\(dq`) }
