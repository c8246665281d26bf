package transfer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// TestBurst has thousands of files come at once while nobody reads what the kernel tells of them, in directories of which some are
// made meanwhile: its queue runs over, which is told, and each file is at both destinations once.
func TestBurst(t *testing.T) {
	t.Parallel()
	files := 50_000
	if !testenv.Torture() {
		files = 600
	}
	o := newPlace(t, t.TempDir())
	o.sshd = testenv.SSHD(t, testenv.SSHDOptions{})
	o.gateway(o.sshd.Addr())
	spare := filepath.Join(o.dir, "spare")
	if err := os.Mkdir(spare, 0o755); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(o.dir, "holdfast.yaml")
	o.file(config, fmt.Sprintf("jobs: {frames: {transfer: {from: %s, layout: keep, ledger: {none: true}, workers: 8,\n"+
		"  to: {remote: {sftp: {host: gateway, directory: %s}}, spare: {directory: {path: %s}}}}}}\n", o.from, o.to, spare))
	o.args = []string{"run", "-c", config, "--listen", "none"}
	const old, dirs = 5, 10 // directories that are there before, and in all
	for i := range old {
		if err := os.Mkdir(filepath.Join(o.from, fmt.Sprint("d", i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	o.start()
	o.watches()
	o.p.Freeze()
	began := time.Now()
	for i := range files {
		dir := i % old
		if i == files/2 {
			o.flood("d0")
		}
		if i > files/2 { // of these the kernel tells nothing any more
			dir = i % dirs
		}
		o.write(fmt.Sprintf("d%d/f%06d", dir, i), []byte(strconv.Itoa(i)))
	}
	wrote := time.Since(began)
	o.p.Thaw()
	began = time.Now()
	s := o.awaitWithin(time.Hour, files)
	t.Logf("%d files were written in %v, and brought to both destinations in %v", files, wrote.Round(time.Millisecond),
		time.Since(began).Round(time.Millisecond))
	if said := note(s, "overflow"); !strings.Contains(said, "queue") {
		t.Errorf("status says %q of the queue that ran over: %v", said, s.Notes)
	}
	for _, q := range s.Balance.Queues {
		// A file comes to the queue after only if both destinations recorded it at one time.
		if q.Done != q.Put || q.Put != int64(files) && q.Queue != "after" {
			t.Errorf("queue %s: %+v, want each of %d files done once", q.Queue, q.Tasks, files)
		}
	}
	o.stop()
	o.checkPlace(o.to)
	o.checkPlace(spare)
	o.checkSource()
}

// flood fills the kernel's queue with what happens to files that nobody wants.
func (o *observatory) flood(dir string) {
	o.t.Helper()
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	most := 0
	if err == nil {
		most, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	for _, name := range []string{"a.tmp", "b.tmp"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(o.from, dir, name), nil, 0o644))
	}
	for i := 0; i <= most && err == nil; i++ { // by turns: what happens again to the same file is one event
		err = os.Chmod(filepath.Join(o.from, dir, []string{"a.tmp", "b.tmp"}[i%2]), 0o600+os.FileMode(i/2%2))
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// watches waits until Holdfast hears of new files.
func (o *observatory) watches() {
	o.t.Helper()
	o.until("it watches", func(s engine.Status) bool { return strings.HasPrefix(note(s, "finding files by"), "watch") })
}

// note is a line of the status.
func note(s engine.Status, name string) string {
	i := slices.IndexFunc(s.Notes, func(n [2]string) bool { return n[0] == name })
	if i < 0 {
		return ""
	}
	return s.Notes[i][1]
}
