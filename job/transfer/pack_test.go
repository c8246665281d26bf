package transfer

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/base/fault"
	"holdfast/base/fits"
	"holdfast/kernel/queue"
	"holdfast/tests/testenv"
	"holdfast/tests/testenv/frames"
)

// frame is an image of the night of a day.
func frame(day string, seed uint64) []byte {
	return frames.New(rand.New(rand.NewPCG(seed, 1)), day, 120)
}

func needFpack(t *testing.T) {
	t.Helper()
	for _, name := range []string{"fpack", "funpack"} {
		if _, err := exec.LookPath(name); err != nil {
			testenv.Missing(t, "Debian's libcfitsio-bin", err)
		}
	}
}

// TestPackedAndReplaced: a frame is shipped packed, to the night that its header says, and takes the place of the original when
// it has proved to be the same data. It is no new file then.
func TestPackedAndReplaced(t *testing.T) {
	needFpack(t)
	for _, same := range []bool{false, true} {
		t.Run(fmt.Sprintf("same name %v", same), func(t *testing.T) {
			r := newRig(t, 1)
			r.change = func(c *Config) {
				c.Pack, c.After, c.Place.Card = FPack(), Replace, "DATE-OBS"
				c.Pack.SameName = same
			}
			r.write("n/a.fits", frame("2023-09-19T23:10:00.5", 1))
			r.write("n/b.fits", frame("2023-09-20", 2))
			r.write("n/c.txt", []byte("no frame"))
			for range 2 {
				r.run(nil)
				if got := len(tree(t, r.to[0])); got != 3 {
					t.Errorf("%d files are there: %v", got, tree(t, r.to[0]))
				}
				there := filepath.Join(r.to[0], "2023/09/19/a.fits.fz")
				name := "n/a.fits.fz"
				if same {
					name = "n/a.fits"
				}
				one, err := os.ReadFile(there)
				if err != nil {
					t.Fatal(err)
				}
				two, err := os.ReadFile(filepath.Join(r.from, name))
				if err != nil || !bytes.Equal(one, two) {
					t.Errorf("the original is not what was shipped (%v)", err)
				}
				if got := len(tree(t, r.from)); got != 3 {
					t.Errorf("%v", tree(t, r.from))
				}
				if report, err := fits.Check(bytes.NewReader(one)); err != nil || !report.Packed || report.Verdict == fits.Bad {
					t.Errorf("%v %v", report, err)
				}
				if c := r.counts("prepare"); c != (queue.Counts{Put: 3, Done: 3}) {
					t.Errorf("%+v", c)
				}
			}
			if left, err := os.ReadDir(filepath.Join(r.dir, "jobs/frames/packed")); len(left) > 0 || err != nil {
				t.Errorf("left: %v %v", left, err)
			}
		})
	}
}

// TestLeftPackedForms: what a life that was killed left of packed forms goes with the next, but what a file needs still.
func TestLeftPackedForms(t *testing.T) {
	needFpack(t)
	r := newRig(t, 1)
	u := newUnreliable(t, r.to[0])
	u.place = func(context.Context, string) error { return fault.New(fault.Invalid, "not yet") }
	r.change = func(c *Config) { c.Pack, c.Destinations[0].To = FPack(), u }
	r.write("dead.fits", frame("2023-09-19", 1))
	r.run(nil)
	dir := filepath.Join(r.dir, "jobs/frames", packedDir)
	needed := fmt.Sprint(r.files()["dead.fits"].ID)
	for _, name := range []string{"77", "no id"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "x.fits.fz"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.run(nil)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != needed {
		t.Errorf("left: %v %v, want that of file %s", left, err, needed)
	}
}

// TestBadFrame: a frame that is cut off is a dead letter, is nowhere, and holds up nothing; unless it is to be shipped.
func TestBadFrame(t *testing.T) {
	for _, ship := range []bool{false, true} {
		r := newRig(t, 1)
		r.change = func(c *Config) { c.ShipBad = ship }
		whole := frame("2023-09-19", 1)
		r.write("cut.fits", whole[:len(whole)-fits.BlockSize])
		r.write("whole.fits", whole)
		r.run(nil)
		files := r.files()
		if f := files["whole.fits"]; f.State != Done || f.Verdict != fits.Absent {
			t.Errorf("%+v", f)
		}
		want := Dead
		if ship {
			want = Done
		}
		if f := files["cut.fits"]; f.State != want || f.Verdict != fits.Truncated || f.Why == "" && !ship {
			t.Errorf("%+v", f)
		}
		if got, want := len(tree(t, r.to[0])), map[bool]int{false: 1, true: 2}[ship]; got != want {
			t.Errorf("%d files are there, want %d", got, want)
		}
	}
}

// TestLyingPacker: what a packer makes that is no FITS file is never shipped, and an original is not deleted whose packed form
// unpacks to something else, be it as good as it looks.
func TestLyingPacker(t *testing.T) {
	needFpack(t)
	other := filepath.Join(t.TempDir(), "other.fits")
	if err := os.WriteFile(other, frame("2023-09-19", 9), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name    string
		command []string
		ships   int
		why     string
	}{
		{"garbage", []string{"cp", "/etc/hostname", "{out}"}, 0, "the packed form that was made is"},
		{"cut", []string{"bash", "-c", "fpack -g -q 0 -O $1.whole $0 && head -c 9000 $1.whole >$1", "{in}", "{out}"}, 0, "the packed form that was made is"},
		{"another", []string{"fpack", "-g", "-q", "0", "-O", "{out}", other}, 1, "unpacks to other data"},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := newRig(t, 1)
			r.change = func(c *Config) {
				c.Pack, c.After = FPack(), Remove
				c.Pack.Command = x.command
			}
			r.write("a.fits", frame("2023-09-19", 1))
			r.run(nil)
			if got := tree(t, r.to[0]); len(got) != x.ships {
				t.Errorf("%v were shipped, want %d", got, x.ships)
			}
			if got := tree(t, r.from); len(got) != 1 {
				t.Errorf("the source has %v, want its original", got)
			}
			if l := r.letters()["a.fits"]; !strings.Contains(l.Reason, x.why) {
				t.Errorf("it is dead because of %q, want %q", l.Reason, x.why)
			}
		})
	}
}

// TestOneWorker: one that packs large files beside small ones never waits for itself.
func TestOneWorker(t *testing.T) {
	needFpack(t)
	r := newRig(t, 1)
	r.change = func(c *Config) { c.Workers, c.Pack = 1, FPack() }
	for i := range 30 {
		if i%3 == 0 {
			r.write(fmt.Sprintf("f%02d.fits", i), frame("2023-09-19", uint64(i)))
		} else {
			r.write(fmt.Sprintf("f%02d.dat", i), []byte(fmt.Sprint(i)))
		}
	}
	r.run(nil)
	if got := r.done(); got != 30 {
		t.Errorf("%d files are done, want 30", got)
	}
}
