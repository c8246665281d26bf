package transfer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"holdfast/tests/testenv"
	"holdfast/tests/testenv/frames"
)

// TestFullDestination fills the disk of a destination in the middle of a file. That is told; no file that is not whole has a name
// there; and it goes on by itself once there is room.
func TestFullDestination(t *testing.T) {
	t.Parallel()
	for name, remote := range map[string]bool{"over SFTP": true, "a directory": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(testenv.Seed(t), 4))
			o := newPlace(t, t.TempDir())
			o.to = testenv.SmallDisk(t, 16<<20)
			to, gate := o.to, "local"
			if remote {
				o.sshd = testenv.SSHD(t, testenv.SSHDOptions{})
				o.gateway(o.sshd.Addr())
				to, gate = o.remote(), "remote"
			}
			o.args = []string{"transfer", o.from, to, "--no-ledger"}
			o.start()
			o.write("first.dat", frames.Noise(rnd, 1<<20))
			o.await(1)
			const files = 12 // of which not all find room
			for i := range files {
				o.write(fmt.Sprintf("f%02d.dat", i), frames.Noise(rnd, 2<<20))
			}
			o.closed(gate, "full")
			there := whole(t, o.to)
			if len(there) == files+1 {
				t.Fatal("there was room for all")
			}
			for _, name := range there {
				if at := filepath.Join(o.to, name); o.sumOf(at) != o.sums[filepath.Base(name)] {
					t.Errorf("%s has its name, and is not whole", name)
				}
			}
			o.noneDead()
			testenv.Grow(t, o.to, 64<<20)
			o.await(files + 1)
			o.noneDead()
			o.stop()
			o.check()
		})
	}
}

// TestFullSource fills the disk that packed forms are made on, and the store is on: by them, and by somebody else while they are
// made. That is told, nothing is lost, and it goes on by itself once there is room.
func TestFullSource(t *testing.T) {
	t.Parallel()
	for name, somebody := range map[string]bool{"by packed forms": false, "by somebody else": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(testenv.Seed(t), 4))
			o := newPlace(t, t.TempDir())
			o.data = testenv.SmallDisk(t, 48<<20)
			o.sshd = testenv.SSHD(t, testenv.SSHDOptions{})
			o.gateway(o.sshd.Addr())
			o.args = []string{"transfer", o.from, o.remote(), "--no-ledger", "--header-card", "DATE-OBS"}
			other := filepath.Join(o.data, "other")
			if err := os.WriteFile(other, make([]byte, 24<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			o.start()
			o.write("first.fits", frames.New(rnd, "2023-09-19", 100))
			o.await(1)
			files := 8
			fill := filepath.Join(o.data, "fill")
			if somebody {
				files = 4
				testenv.Fill(t, fill)
			} else {
				o.sshd.Freeze() // so that packed forms stay
			}
			for i := range files {
				o.write(fmt.Sprintf("f%02d.fits", i), frames.New(rnd, "2023-09-19", 1400)) // of 4 MB
			}
			o.closed("disk", "full")
			if somebody {
				if err := os.Remove(fill); err != nil {
					t.Fatal(err)
				}
			} else {
				o.sshd.Thaw()
			}
			o.await(files + 1)
			o.noneDead()
			o.stop()
			o.check()
		})
	}
}

// TestFullOriginals has no room for a packed form in the place of its original: the file is at its destination, the original stays,
// and is replaced once there is room.
func TestFullOriginals(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 4))
	o := newPlace(t, t.TempDir())
	o.from = testenv.SmallDisk(t, 8<<20)
	o.args = []string{"transfer", o.from, o.to, "--no-ledger", "--header-card", "DATE-OBS"}
	o.write("f.fits", frames.New(rnd, "2023-09-19", 1400))
	fill := filepath.Join(o.from, "fill.tmp")
	testenv.Fill(t, fill)
	o.start()
	o.closed("disk", "full")
	if there := whole(t, o.to); len(there) != 1 {
		t.Errorf("there are %v", there)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	o.await(1)
	o.noneDead()
	o.stop()
	o.check()
	if left := below(t, o.from); len(left) != 1 || left[0] != "f.fits.fz" {
		t.Errorf("%v are left, want the packed form alone", left)
	}
}
