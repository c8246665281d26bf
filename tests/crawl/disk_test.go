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

// TestFailingDisk has a disk of WARC files that says it has room, and has none: what is fetched can't be kept, and is not fetched again
// and again.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	r := smallRig(t)
	want := r.reference()
	disk := testenv.Disk(t, 300<<20)
	if err := os.Symlink(disk.Dir, filepath.Join(r.dir, "warc")); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.reaches(100)
	disk.Fail()
	r.says("no space left on device")
	r.quiet()
	disk.Heal()
	r.ends()
	if got := r.archived(); !maps.Equal(got, want) {
		t.Error(differ(got, want))
	}
}
