// Package manual writes what a person reads and types at a shell about the commands: a manual page for each
// command, one for configuration files, and the completions of bash, zsh and fish.
//
// All of it is made of the commands themselves, and of the schema of configuration files: there is no
// second text that could say something else than --help.
package manual

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// Manual is what is written.
type Manual struct {
	// Root is the program, with all its commands.
	Root *cobra.Command
	// Date stands at the foot of each page.
	Date time.Time
	// Further are sections of the program's own page, behind what its commands say.
	Further []Section
	// Schema is the JSON schema of configuration files.
	Schema []byte
	// Rules is the JSON schema of rule files.
	Rules []byte
	// Examples are configurations, by the path of what they are of: collect.source.http; "holdfast" is of a whole file,
	// "rules" of a rule file, and rules.from.journal of a kind of watcher.
	Examples map[string]string
}

// Section is one of a page: terms, and what each means.
type Section struct {
	Title string
	Terms []Term
}

// Term is something, and what it means.
type Term struct{ Name, Means string }

// Write writes below a directory, which it makes: man1 and man5, and completions in bash, zsh and fish, each
// under the name that the shell looks for. What stands there is replaced.
func (m Manual) Write(dir string) error {
	files, err := m.files()
	if err != nil {
		return err
	}
	for name, b := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return fmt.Errorf("write page: %w", err)
		}
	}
	return nil
}

// files are the contents of all files, by their names below the directory.
func (m Manual) files() (map[string][]byte, error) {
	name := m.Root.Name()
	m.Root.InitDefaultCompletionCmd()
	m.Root.InitDefaultHelpCmd()
	out := map[string][]byte{"man1/" + name + ".1": m.program()}
	for _, c := range shown(m.Root) {
		if c.Name() != "help" {
			out["man1/"+pageOf(c)+".1"] = m.command(c)
		}
	}
	page, err := m.configuration()
	if err != nil {
		return nil, err
	}
	out["man5/"+name+".yaml.5"] = page
	for shell, write := range map[string]func(*bytes.Buffer) error{
		"bash/" + name:           func(b *bytes.Buffer) error { return m.Root.GenBashCompletionV2(b, true) },
		"zsh/_" + name:           func(b *bytes.Buffer) error { return m.Root.GenZshCompletion(b) },
		"fish/" + name + ".fish": func(b *bytes.Buffer) error { return m.Root.GenFishCompletion(b, true) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return nil, fmt.Errorf("write completion: %w", err)
		}
		out["completions/"+shell] = b.Bytes()
	}
	return out, nil
}

// shown are the commands below one that people are told of.
func shown(c *cobra.Command) (all []*cobra.Command) {
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Deprecated == "" {
			all = append(all, sub)
		}
	}
	return all
}

// pageOf is the name of the page of a command.
func pageOf(c *cobra.Command) string { return c.Root().Name() + "-" + c.Name() }
