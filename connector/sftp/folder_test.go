package sftp

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"holdfast/connector/desttest"
	"holdfast/tests/testenv"
)

// TestDirectoriesAreSyncedTogether: files that land in a directory at one time share its syncs, and each is told only after one
// that began behind its link.
func TestDirectoriesAreSyncedTogether(t *testing.T) {
	t.Parallel()
	diary, dir := filepath.Join(t.TempDir(), "diary"), t.TempDir()
	s := testenv.SSHD(t, testenv.SSHDOptions{SFTP: "/usr/lib/openssh/sftp-server -e -l VERBOSE 2>>" + diary})
	d := connected(t, config(s, dir))
	synced := fmt.Sprintf("fsync \"%s/d\"", dir)
	const files = 64
	var all sync.WaitGroup
	for i := range files {
		all.Go(func() {
			if _, err := d.Place(t.Context(), fmt.Sprintf("d/%d", i), desttest.Content([]byte("x")), nil); err != nil {
				t.Error(err)
			}
			said, err := os.ReadFile(diary)
			_, behind, linked := strings.Cut(string(said), fmt.Sprintf("new \"%s/d/%d\"", dir, i))
			if err != nil || !linked || !strings.Contains(behind, synced) {
				t.Errorf("%d: told before its name was durable (linked %v), %v", i, linked, err)
			}
		})
	}
	all.Wait()
	said, err := os.ReadFile(diary)
	syncs, opens := strings.Count(string(said), synced), strings.Count(string(said), fmt.Sprintf("open \"%s/d\"", dir))
	if err != nil || syncs == 0 || syncs > files/2 || opens > files/2 {
		t.Errorf("the directory was opened %d and synced %d times for %d files, %v", opens, syncs, files, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.link.folders.mu.Lock()
	defer d.link.folders.mu.Unlock()
	if len(d.link.folders.open) > 0 {
		t.Errorf("directories are open still: %v", d.link.folders.open)
	}
}
