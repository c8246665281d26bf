package transfer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoRoomForPackedForms: a packed form that finds no room is made once there is some. No attempt is spent meanwhile, and
// a gate says why, which is open again when nothing waits any more.
func TestNoRoomForPackedForms(t *testing.T) {
	r := newRig(t, 1)
	room := filepath.Join(t.TempDir(), "room")
	r.change = func(c *Config) {
		c.Once, c.Attempts = false, 1
		c.Pack = &Packer{Command: []string{"sh", "-c", fmt.Sprintf("test -e %s || exit 7; cp $0 $1", room), "{in}", "{out}"},
			Matches: func(string) bool { return true }, Suffix: ".packed", NoRoom: 7}
	}
	disk := func() string {
		j := r.job.Load()
		if j == nil {
			return ""
		}
		all := j.Gates()
		g := all[len(all)-1]
		return fmt.Sprint(g.Name, " ", g.Open, " ", g.Kind)
	}
	r.run(func() {
		for i := range 3 {
			r.write(fmt.Sprint("f", i), []byte(fmt.Sprint(i)))
		}
		until(t, "the gate is closed", func() bool { return disk() == "disk false full" })
		if err := os.WriteFile(room, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		until(t, "all are there", func() bool { return len(tree(t, r.to[0])) == 3 })
		until(t, "the gate is open", func() bool { return strings.HasPrefix(disk(), "disk true") })
	})
	for name, f := range r.files() {
		if f.Failures > 0 || f.State == Dead {
			t.Errorf("%s: %d attempts were spent; it is %s", name, f.Failures, f.State)
		}
	}
}

// TestRoomIsKept: what is being made is counted before it is on the disk, and room besides is left to what gives room back.
func TestRoomIsKept(t *testing.T) {
	r := newRig(t, 1)
	r.change = func(c *Config) { c.Once = false }
	r.run(func() {
		until(t, "it runs", func() bool { return r.job.Load() != nil })
		room := r.job.Load().room
		const huge = 1 << 60
		if _, err := room.take(1, huge); !noRoom(err) {
			t.Errorf("nothing is left besides: %v", err)
		}
		giveBack, err := room.take(1<<20, 0)
		if err != nil {
			t.Fatal(err)
		}
		if room.taken != 1<<20 {
			t.Errorf("%d bytes are kept", room.taken)
		}
		freed := room.nextFreed()
		giveBack()
		<-freed
		if room.taken != 0 {
			t.Errorf("%d bytes are kept", room.taken)
		}
	})
}
