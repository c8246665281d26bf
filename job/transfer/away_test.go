package transfer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/connector"
)

// copies is a packer whose packed form is a copy. What it is told to do comes in front of packing and unpacking.
func copies(packing, unpacking string) *Packer {
	by := func(first string) []string { return []string{"sh", "-c", first + "\ncp $0 $1", "{in}", "{out}"} }
	return &Packer{Command: by(packing), Unpack: by(unpacking), Suffix: ".packed",
		Matches: func(name string) bool { return filepath.Ext(name) == ".fits" }}
}

// TestOriginalChangedAfterwards: a file that comes to the path of an original while it is seen to that is everywhere stays.
func TestOriginalChangedAfterwards(t *testing.T) {
	for _, what := range []string{"delete", "replace", "same name"} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, 1)
			name, other := filepath.Join(r.from, "a.fits"), filepath.Join(t.TempDir(), "b")
			if err := os.WriteFile(other, []byte("another file"), 0o644); err != nil {
				t.Fatal(err)
			}
			r.change = func(c *Config) {
				c.Pack, c.After = copies("", "test ! -e "+other+" || mv "+other+" "+name), Replace
				c.Pack.SameName = what == "same name"
				if what != "delete" {
					return
				}
				c.Pack, c.After = copies("", ":"), Remove // it comes behind the proof, while the destination is asked
				c.Destinations[0].To = answering{c.Destinations[0].To, func(s map[string][sha256.Size]byte, how connector.Verified) (
					map[string][sha256.Size]byte, connector.Verified) {
					if err := os.Rename(other, name); err != nil {
						t.Error(err)
					}
					return s, how
				}}
			}
			r.write("a.fits", frame("2023-09-19", 1))
			r.run(nil)
			if got, err := os.ReadFile(name); err != nil || string(got) != "another file" {
				t.Errorf("the other file is %.20q (%v)", got, err)
			}
			if f := r.files()["a.fits"]; f.State != Done || acts(f)[len(f.Steps)-1] != string(WasGone) {
				t.Errorf("%s: %q", f.State, acts(f))
			}
		})
	}
}

// TestOriginalMovedAlready: an original that a life that was killed had moved away is removed by the next.
func TestOriginalMovedAlready(t *testing.T) {
	for _, left := range []string{".a.gone.part", ".a.part"} {
		r := newRig(t, 1)
		r.change = func(c *Config) {
			c.After = Remove
			c.Destinations[0].To = answering{c.Destinations[0].To, func(s map[string][sha256.Size]byte, how connector.Verified) (
				map[string][sha256.Size]byte, connector.Verified) {
				if err := os.Rename(filepath.Join(r.from, "a"), filepath.Join(r.from, left)); err != nil {
					t.Error(err)
				}
				return s, how
			}}
		}
		r.write("a", []byte("a"))
		r.run(nil)
		if all, err := os.ReadDir(r.from); len(all) > 0 || err != nil {
			t.Errorf("there is %v (%v)", all, err)
		}
	}
}

// TestMovedBack: what was moved and is not the original goes back to its name.
func TestMovedBack(t *testing.T) {
	for _, c := range []struct {
		moved string
		by    func(*Job, *file, string) error
	}{{"hidden", (*Job).unlink}, {"part", (*Job).exchanged}} {
		j := &Job{cfg: Config{Root: t.TempDir()}}
		f := &file{Identity: Identity{Path: "a", Inode: 1}}
		moved := filepath.Join(j.cfg.Root, c.moved)
		if err := os.WriteFile(moved, []byte("came meanwhile"), 0o644); err != nil {
			t.Fatal(err)
		}
		if c.moved == "part" {
			if err := os.WriteFile(j.source(f), []byte("packed"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var e end
		if err := c.by(j, f, moved); !errors.As(err, &e) || e.state != Gone {
			t.Errorf("%s: %v", c.moved, err)
		}
		if got, err := os.ReadFile(j.source(f)); err != nil || string(got) != "came meanwhile" {
			t.Errorf("%s: %q (%v)", c.moved, got, err)
		}
		if all, err := os.ReadDir(j.cfg.Root); len(all) != 1 || err != nil {
			t.Errorf("%s: there is %v (%v)", c.moved, all, err)
		}
	}
}

// TestReplacedByAFileLikeIt: what takes the place of an original has its rights and its owner, and is written through no link
// that somebody put there.
func TestReplacedByAFileLikeIt(t *testing.T) {
	for _, same := range []bool{false, true} {
		t.Run(fmt.Sprint("same name ", same), func(t *testing.T) {
			r := newRig(t, 1)
			r.change = func(c *Config) { c.Pack, c.After = copies("", ""), Replace; c.Pack.SameName = same }
			r.write("a.fits", frame("2023-09-19", 1))
			name := filepath.Join(r.from, "a.fits")
			uid := os.Getuid()
			if uid == 0 {
				uid = 65534
			}
			if err := errors.Join(os.Chown(name, uid, -1), os.Chmod(name, 0o640)); err != nil {
				t.Fatal(err)
			}
			victim := filepath.Join(t.TempDir(), "victim")
			if err := os.WriteFile(victim, []byte("victim"), 0o600); err != nil {
				t.Fatal(err)
			}
			if !same {
				name += ".packed"
			}
			if err := os.Symlink(victim, connector.PartName(name)); err != nil {
				t.Fatal(err)
			}
			r.run(nil)
			var st unix.Stat_t
			if err := unix.Lstat(name, &st); err != nil || st.Mode != unix.S_IFREG|0o640 || int(st.Uid) != uid {
				t.Errorf("mode %o of user %d (%v)", st.Mode, st.Uid, err)
			}
			if got, err := os.ReadFile(victim); string(got) != "victim" || err != nil {
				t.Errorf("the victim is %.20q (%v)", got, err)
			}
			if all, err := os.ReadDir(r.from); len(all) != 1 || err != nil {
				t.Errorf("there is %v (%v)", all, err)
			}
		})
	}
}
