package crawl

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// asked is how many requests were made.
func (r *rig) asked() (n int) {
	for _, s := range r.sites {
		n += len(s.Requests())
	}
	return n
}

// quiet fails if the servers are asked more than a few times while there is no room. What is under way then is passed over.
func (r *rig) quiet() {
	r.t.Helper()
	const long = 3 * time.Second
	last, since, begun := r.asked(), time.Now(), time.Now()
	testenv.Until(r.t, soon, "nobody is asked", func() bool {
		if n := r.asked(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > time.Second
	})
	n := r.asked()
	testenv.Until(r.t, soon, "some time", func() bool { return time.Since(since) > long })
	if n = r.asked() - n; n > 3 {
		r.t.Errorf("%d requests were made within %v, and there was no room", n, time.Since(begun))
	}
}

// says waits until the crawl says something.
func (r *rig) says(what string) {
	r.t.Helper()
	testenv.Until(r.t, soon, "it says "+what, func() bool {
		if !r.p.Running() {
			r.t.Fatal("it has ended")
		}
		return strings.Contains(r.p.Output(), what)
	})
}

// TestFullDisk fills the disk of the WARC files, or of all that a crawl keeps: it waits, says so, asks nobody meanwhile, and goes on by
// itself when there is room, also behind a kill. Nothing is lost, and nothing archived twice.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for name, all := range map[string]bool{"WARC files": false, "all": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := smallRig(t).plain()
			place := testenv.SmallDisk(t, 100<<20)
			if all {
				r.dir = place
			} else if err := os.Symlink(place, filepath.Join(r.dir, "warc")); err != nil {
				t.Fatal(err)
			}
			r.start()
			r.reaches(20)
			r.slowly(time.Second) // so that it does not end before
			fill := filepath.Join(place, "fill")
			testenv.Fill(t, fill)
			r.says("sources that can wait are paused")
			r.quiet()
			if text := r.run(0, "status"); !strings.Contains(text, "for room on the disk of") {
				t.Errorf("status does not tell:\n%s", text)
			}
			r.slowly(0)
			if all {
				r.p.Kill()
				r.start()
				r.says("sources that can wait are paused")
			}
			if err := os.Remove(fill); err != nil {
				t.Fatal(err)
			}
			r.ends()
			r.whole()
		})
	}
}

// TestFailingDisk has a disk of WARC files that says it has room, and has none: what is fetched can't be kept, and is not fetched again
// and again.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	r := smallRig(t).plain()
	want := r.reference()
	disk := testenv.Disk(t, 300<<20)
	if err := os.Symlink(disk.Dir, filepath.Join(r.dir, "warc")); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.reaches(20)
	r.slowly(time.Second)
	disk.Fail()
	r.slowly(0)
	r.says("no space left on device")
	r.quiet()
	disk.Heal()
	r.ends()
	if got := r.archived(); !maps.Equal(got, want) {
		t.Error(differ(got, want))
	}
}
