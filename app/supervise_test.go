package app

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/base/fault"
)

// Whoever can write the rules, or put others in their place, has things done as us: only root and we may. To check them they
// need not be safe.
func TestRulesThatOthersCanWrite(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "rules.yaml")
	text := "rules: [{name: a, from: {file: /var/log/x}, match: x, do: [{set: x, value: \"1\"}]}]\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, of string
		mode     os.FileMode
		says     string
	}{
		{file, file, 0o644, ""},
		{file, file, 0o664, "others may write " + file},
		{file, file, 0o646, "others may write " + file},
		{file, dir, 0o775, "others may write " + dir},
		{link, dir, 0o777, "others may write " + dir},
		{link, dir, 0o777 | os.ModeSticky, ""},
	} {
		if err := os.Chmod(c.of, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := Supervise(SuperviseFlags{Rules: c.path, DataDir: t.TempDir()}, os.LookupEnv, slog.New(slog.DiscardHandler))
		if c.says == "" && err != nil || c.says != "" && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s of %v: got %v, want %q", c.of, c.mode, err, c.says)
		}
		set, err := LoadRules(c.path)
		if err != nil {
			t.Errorf("can't be checked: %v", err)
		} else if found := CheckRules(c.path, set); (found[0].About == "unsafe") != (c.says != "") || !strings.Contains(found[0].Text, c.says) {
			t.Errorf("%s of %v: found %v, want %q", c.of, c.mode, found, c.says)
		}
		if err := errors.Join(os.Chmod(file, 0o644), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
}

// So with programs: one that others can replace is refused with the rules, and one that is not there yet may come.
func TestProgramsThatOthersCanWrite(t *testing.T) {
	dir := t.TempDir()
	file, program := filepath.Join(dir, "rules.yaml"), filepath.Join(dir, "bin", "act")
	text := "rules: [{name: a, from: {file: /var/log/x}, match: x, do: {run: [" + program + "]}}]\n"
	try := func() error {
		_, err := Supervise(SuperviseFlags{Rules: file, DataDir: t.TempDir()}, os.LookupEnv, slog.New(slog.DiscardHandler))
		return err
	}
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Mkdir(filepath.Dir(program), 0o755), try()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700), try(), os.Chmod(filepath.Dir(program), 0o777)); err != nil {
		t.Fatal(err)
	}
	set, err := LoadRules(file)
	if err != nil {
		t.Fatal(err)
	}
	if found := CheckRules(file, set); found[0].Rule != "a" || found[0].About != "unsafe" {
		t.Errorf("found %v", found)
	}
	if err := try(); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "rules.yaml:1: rule a: "+program+" is not used: others may write "+dir) {
		t.Errorf("got %v", err)
	}
}
