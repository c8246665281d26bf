package manual

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// program is the page of the program: what it is for, its commands by their groups, and what holds for all.
func (m Manual) program() []byte {
	p := m.begin(m.Root.Name(), "1", m.Root.Short)
	p.synopsis(m.Root)
	p.section("DESCRIPTION")
	p.text(m.Root.Long)
	p.paragraph("Each command has a page of its own: " + bold(m.Root.Name()+"-COMMAND") + "(1).")
	for _, g := range m.Root.Groups() {
		p.section(strings.ToUpper(strings.TrimSuffix(g.Title, ":")))
		p.commands(m.Root, g.ID)
	}
	p.section("FURTHER COMMANDS")
	p.commands(m.Root, "")
	p.section("OPTIONS")
	p.flags(m.Root)
	for _, s := range m.Further {
		p.section(s.Title)
		for _, t := range s.Terms {
			p.term(bold(t.Name), t.Means)
		}
	}
	p.examples(m.Root)
	p.section("SEE ALSO")
	p.seeAlso(m.Root.Name()+".yaml(5)", "systemctl(1)", "journalctl(1)")
	return p.Bytes()
}

// command is the page of a command of the program, with all that stand below it.
func (m Manual) command(c *cobra.Command) []byte {
	p := m.begin(pageOf(c), "1", c.Short)
	p.synopsis(c)
	p.section("DESCRIPTION")
	p.text(cmp.Or(c.Long, sentence(c.Short)))
	p.section("OPTIONS")
	p.flags(c)
	if len(shown(c)) > 0 {
		p.section("COMMANDS")
		p.below(c)
	}
	p.examples(c)
	p.section("EXIT STATUS")
	p.paragraph("As of every command: see " + bold(m.Root.Name()) + "(1).")
	p.section("SEE ALSO")
	p.seeAlso(m.Root.Name()+"(1)", m.Root.Name()+".yaml(5)")
	return p.Bytes()
}

// below describes each command below one, and those below these.
func (p *page) below(c *cobra.Command) {
	for _, sub := range shown(c) {
		p.subsection(sub.UseLine())
		p.text(cmp.Or(sub.Long, sentence(sub.Short)))
		p.flags(sub)
		if sub.Example != "" {
			p.paragraph("For example:")
			p.literal(sub.Example)
		}
		p.below(sub)
	}
}

// begin starts a page.
func (m Manual) begin(name, section, short string) *page {
	p := new(page)
	date := ""
	if !m.Date.IsZero() {
		date = m.Date.UTC().Format("2006-01-02")
	}
	p.line(`.TH "%s" "%s" "%s" "%s %s" "Holdfast"`, strings.ToUpper(escaped(name)), section, date, escaped(m.Root.Name()),
		escaped(m.Root.Version))
	p.line(".nh") // no words are cut
	p.line(".ad l")
	p.section("NAME")
	p.line(`%s \- %s`, escaped(name), escaped(lower(short)))
	return p
}

func (p *page) synopsis(c *cobra.Command) {
	p.section("SYNOPSIS")
	p.line(".PD 0")
	if c.Runnable() {
		p.usage(c.UseLine())
	}
	for _, sub := range shown(c) {
		if c.HasParent() {
			p.usage(sub.UseLine())
		}
	}
	if !c.HasParent() {
		p.usage(c.Name() + " COMMAND [flags]")
	}
	p.line(".PD")
}

// usage is one line of how a command is called; what a person types as it stands is bold.
func (p *page) usage(line string) {
	words := strings.Fields(line)
	n := 0
	for n < len(words) && words[n] == strings.ToLower(words[n]) && !strings.ContainsAny(words[n], "[-|") {
		n++
	}
	rest := ""
	if n < len(words) {
		rest = " " + escaped(strings.Join(words[n:], " "))
	}
	p.line(".HP 4")
	p.line("%s%s", bold(strings.Join(words[:n], " ")), rest)
}

// commands lists those of one group.
func (p *page) commands(c *cobra.Command, group string) {
	widest := 0
	for _, sub := range shown(c) {
		widest = max(widest, len(sub.CommandPath()))
	}
	p.line(".PD 0")
	for _, sub := range shown(c) {
		if sub.GroupID != group {
			continue
		}
		p.line(".TP %d", widest+2)
		p.line("%s", bold(sub.CommandPath()))
		p.line("%s", escaped(sub.Short))
	}
	p.line(".PD")
}

// flags lists those of a command, with what --help says of each.
func (p *page) flags(c *cobra.Command) {
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := bold("--" + f.Name)
		if f.Shorthand != "" {
			name = bold("-"+f.Shorthand) + ", " + name
		}
		if value != "" {
			name += " " + italic(strings.TrimSuffix(value, "Array"))
		}
		if value == "stringArray" { // as pflag calls one that may stand several times
			usage += " (may be repeated)"
		}
		p.term(name, usage+standard(f))
	})
}

// standard tells the default of a flag as --help does, unless it is nothing.
func standard(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "0", "0s", "false", "[]":
		return ""
	}
	if f.Value.Type() == "string" {
		return fmt.Sprintf(" (default %q)", f.DefValue)
	}
	return fmt.Sprintf(" (default %s)", f.DefValue)
}

func (p *page) examples(c *cobra.Command) {
	if c.Example != "" {
		p.section("EXAMPLES")
		p.literal(c.Example)
	}
}

// seeAlso names other pages.
func (p *page) seeAlso(pages ...string) {
	for i, name := range pages {
		title, section, _ := strings.Cut(name, "(")
		pages[i] = bold(title) + "(" + section
	}
	p.paragraph(strings.Join(pages, ", "))
}

// sentence ends a short description with a full stop.
func sentence(s string) string { return strings.TrimSuffix(s, ".") + "." }

// lower begins a description as the names of pages do. A word in capitals stays.
func lower(s string) string {
	if len(s) < 2 || s[1] >= 'A' && s[1] <= 'Z' {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
