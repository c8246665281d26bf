package disk

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What root made belongs to the owner of the directory then; what has a name elsewhere, and what is elsewhere, stays root's.
func TestGiveBack(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to somebody")
	}
	const nobody = 65534
	outside, dir := t.TempDir(), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"LOCK", "jobs/a/log", "jobs/a/table", "theirs"} {
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shadow := filepath.Join(outside, "shadow")
	if err := os.WriteFile(shadow, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Link(at("jobs/a/table"), at("jobs/table")), os.Link(shadow, at("linked")),
		os.Symlink(shadow, at("symbolic")), os.Symlink(outside, at("jobs/outside")), os.Lchown(at("theirs"), 1, 1),
		os.Chown(dir, nobody, nobody)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := GiveBack(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint32{at("LOCK"): nobody, at("jobs"): nobody, at("jobs/a/log"): nobody, at("jobs/a/table"): nobody,
		at("jobs/table"): nobody, at("symbolic"): nobody, at("theirs"): 1, shadow: 0, outside: 0} {
		info, err := os.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Sys().(*syscall.Stat_t).Uid; got != want {
			t.Errorf("%s belongs to %d, want %d", name, got, want)
		}
	}
}
