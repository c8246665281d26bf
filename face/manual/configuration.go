package manual

import (
	"bytes"
	"fmt"
	"strings"
)

// intro says what holds for all of a configuration; name is that of the program.
func intro(name string) string {
	return "A configuration file is YAML. A job has a name, one kind, and that kind's settings; a connector is named by its kind's " +
		"key. A key that is unknown, and a value that can't be, is an error with its line: `" + name + " check` tells all of them.\n\n" +
		"`${NAME}` in a value is replaced by the environment's; a secret is best written so. A job that has changed is begun anew by " +
		"`systemctl reload " + name + "`; the others do not notice.\n\n" +
		"In the place of NAME stands a name of your own, and [] is each of a list. What has to be given is marked with an asterisk. A " +
		"time is written 120s, 5m, 1h30m or 7d, a size 500MB or 20GiB; in the place of a size may stand a number of bytes. " +
		"A number, time or size of 0 is as if the key were not there, where nothing else is said of it."
}

// further are the documents that say more than what a key means, by the beginning of the path of a part.
var further = map[string]string{
	"":                          "operations.md",
	"collect.source.clickhouse": "sources-clickhouse.md",
	"collect.source.file":       "sources-file.md",
	"collect.source.http":       "sources-http.md",
	"collect.source.nats":       "sources-streams.md",
	"collect.source.redis":      "sources-streams.md",
	"collect.source.stdin":      "sources-file.md",
	"collect.sinks.http":        "sinks-http.md",
	"collect.sinks.influxdb":    "sinks-influxdb.md",
	"crawl":                     "crawl.md",
	"stream":                    "stream.md",
	"supervise":                 "supervise.md",
	"transfer":                  "transfer.md",
	rulesPart:                   "supervise-rules.md",
}

// configuration is the page of configuration files: each key of each kind, what it takes and what it means.
func (m Manual) configuration() ([]byte, error) {
	parts, err := m.reference()
	if err != nil {
		return nil, err
	}
	name := m.Root.Name()
	p := m.begin(name+".yaml", "5", "configuration of "+name)
	p.section("SYNOPSIS")
	p.paragraph(bold(name+" check -c") + " " + italic("FILE"))
	p.paragraph(bold(name+" run -c") + " " + italic("FILE"))
	p.section("DESCRIPTION")
	p.text(intro(name))
	p.section("KEYS")
	for _, part := range parts {
		p.subsection(title(part.path))
		p.text(unmarked(part.text))
		for _, k := range part.keys {
			need := ""
			if k.need {
				need = "*"
			}
			p.term(bold(k.name+need)+" "+italic(k.allTakes()), unmarked(k.means))
		}
		if part.example != "" {
			p.paragraph("For example:")
			p.literal(part.example)
		}
		if doc := further[part.path]; doc != "" {
			p.paragraph("More: " + italic("/usr/share/doc/"+name+"/"+doc))
		}
	}
	p.section("FILES")
	p.term(bold("/usr/share/doc/"+name+"/configuration.md"), "the same, with links")
	p.section("SEE ALSO")
	p.paragraph(bold(name+"-check") + "(1), " + bold(name+"-run") + "(1); the schema for editors: " + bold(name+" check --schema"))
	return p.Bytes(), nil
}

// title is what a part is called.
func title(path string) string {
	switch path {
	case "":
		return "The top of the file"
	case rulesPart:
		return "Rule files"
	}
	return path
}

// unmarked is a text without the marks around keys.
func unmarked(s string) string { return strings.ReplaceAll(s, "`", "") }

// allTakes is what a key takes, the kinds among it.
func (k key) allTakes() string {
	if len(k.kinds) == 0 {
		return k.takes
	}
	names := make([]string, len(k.kinds))
	for i, path := range k.kinds {
		names[i] = lastWord(path)
	}
	return oneOf(k.takes, names)
}

func oneOf(takes string, names []string) string {
	what := "one of " + choice(names)
	switch {
	case takes == "":
		return what
	case strings.HasSuffix(takes, eachWith):
		return takes + " " + what
	}
	return takes + ", or " + what
}

func lastWord(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// Markdown is the same for who reads it in a browser.
func (m Manual) Markdown() ([]byte, error) {
	parts, err := m.reference()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("# Configuration\n\n<!-- Made of the code by `go generate ./app ./face/cli`: what a key means stands beside the field " +
		"that holds it. -->\n\n" + intro(m.Root.Name()) + "\n\nThe same is in `man " + m.Root.Name() + ".yaml`; editors complete and check " +
		"a file by the schema that `" + m.Root.Name() + " check --schema` prints.\n\n")
	for _, p := range parts {
		indent := strings.Repeat("  ", min(1, strings.Count(p.path, ".")))
		fmt.Fprintf(&b, "%s- [%s](#%s)\n", indent, title(p.path), anchor(p.path))
	}
	for _, p := range parts {
		level := "##"
		if strings.Contains(p.path, ".") {
			level = "###"
		}
		fmt.Fprintf(&b, "\n%s %s\n", level, title(p.path))
		if p.path != "" {
			fmt.Fprintf(&b, "%s\n", cell(p.text))
		}
		if doc := further[p.path]; doc != "" {
			fmt.Fprintf(&b, "More: [%s](%s).\n", strings.TrimSuffix(doc, ".md"), doc)
		}
		p.table(&b)
		if p.example != "" {
			fmt.Fprintf(&b, "\n```yaml\n%s```\n", p.example)
		}
	}
	return b.Bytes(), nil
}

func anchor(path string) string {
	return strings.NewReplacer(".", "", " ", "-").Replace(strings.ToLower(title(path)))
}

// table is the keys of a part.
func (p part) table(b *bytes.Buffer) {
	if len(p.keys) == 0 {
		return
	}
	b.WriteString("\n| key | takes | meaning |\n|---|---|---|\n")
	for _, k := range p.keys {
		need := ""
		if k.need {
			need = " *"
		}
		takes := k.takes
		if len(k.kinds) > 0 {
			links := make([]string, len(k.kinds))
			for i, path := range k.kinds {
				links[i] = fmt.Sprintf("[%s](#%s)", lastWord(path), anchor(path))
			}
			takes = oneOf(takes, links)
		}
		fmt.Fprintf(b, "| `%s`%s | %s | %s |\n", k.name, need, cell(takes), cell(k.means))
	}
}

// cell is plain text in a table, but for what is between the marks of code.
func cell(s string) string {
	parts := strings.Split(s, "`")
	for i := 0; i < len(parts); i += 2 {
		parts[i] = strings.NewReplacer("|", `\|`, "*", `\*`, "<", "&lt;", "~", `\~`).Replace(parts[i])
	}
	return strings.Join(parts, "`")
}
