package sftp

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/connector/desttest"
	"holdfast/tests/testenv"
)

// cat is what the rate of a link is measured by: MB/s of `cat file | ssh host 'cat >file'`, for many files on
// end, so that logging in does not count.
func cat(b *testing.B, s *testenv.SSHServer, dir string, bytes, files int) float64 {
	b.Helper()
	from := filepath.Join(b.TempDir(), "from")
	if err := os.WriteFile(from, desttest.Bytes(1, bytes), 0o600); err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	cmd := exec.Command("sh", "-c", fmt.Sprintf(`i=0; while [ $i -lt %d ]; do cat %s; i=$((i+1)); done |
		ssh -F none -o BatchMode=yes -o UserKnownHostsFile=%s -i %s -p %s %s@127.0.0.1 "cat >%s/cat"`, files, from,
		s.KnownHosts(), s.Key(), strconv.Itoa(s.Port()), s.User(), dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("cat over ssh: %v: %s", err, out)
	}
	took := time.Since(begun)
	if err := os.Remove(filepath.Join(dir, "cat")); err != nil {
		b.Fatal(err)
	}
	return float64(bytes*files) / 1e6 / took.Seconds()
}

func BenchmarkPlace(b *testing.B) {
	s := testenv.SSHD(b, testenv.SSHDOptions{})
	for _, c := range []struct{ bytes, workers int }{{20 << 20, 1}, {20 << 20, 4}, {20 << 10, 1}, {20 << 10, 8},
		{20 << 10, 32}} {
		b.Run(fmt.Sprintf("%dKiB/%d", c.bytes>>10, c.workers), func(b *testing.B) {
			dir := b.TempDir()
			d := connected(b, config(s, dir))
			if err := d.Probe(b.Context()); err != nil {
				b.Fatal(err)
			}
			content := desttest.Content(desttest.Bytes(1, c.bytes))
			b.SetBytes(int64(c.bytes))
			var n atomic.Int64
			var all sync.WaitGroup
			b.ResetTimer()
			begun := time.Now()
			for range c.workers {
				all.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						if _, err := d.Place(b.Context(), fmt.Sprintf("d/%d", i), content, nil); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			rate := float64(b.N) * float64(c.bytes) / 1e6 / time.Since(begun).Seconds()
			b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), "files/s")
			if c.bytes >= 1<<20 {
				link := cat(b, s, dir, c.bytes, 20)
				b.ReportMetric(rate/link, "of-cat")
			}
		})
	}
}
