package bench

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// rcloneModule is a peer.
const rcloneModule = "github.com/rclone/rclone@v1.76.0"

// rclone builds the peer, once for a machine's temporary directory: it takes some minutes.
func rclone(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "holdfast-bench-rclone-1.76.0")
	path := filepath.Join(dir, "rclone")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "install", rcloneModule)
	cmd.Env = append(os.Environ(), "GOBIN="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", rcloneModule, err, out)
	}
	return path
}

// centre is a data centre behind a link: an sshd, and how everybody reaches it.
type centre struct {
	t      *testing.T
	sshd   *testenv.SSHServer
	host   string
	port   string
	home   string // with .ssh/config, in which it is called gateway
	config string
	source string // the files
	files  int
	bytes  int64
}

// newCentre makes the files, and a link with a round trip.
func newCentre(t *testing.T, files int, size int64, roundTrip time.Duration) *centre {
	t.Helper()
	c := &centre{t: t, sshd: testenv.SSHD(t, testenv.SSHDOptions{Config: []string{"MaxSessions 100"}}), home: t.TempDir(),
		source: t.TempDir(), files: files, bytes: int64(files) * size}
	addr := c.sshd.Addr()
	if roundTrip > 0 {
		link := testenv.Proxy(t, addr)
		for _, way := range []string{"upstream", "downstream"} {
			link.Toxic(t, way, "latency", way, map[string]any{"latency": int(roundTrip / 2 / time.Millisecond)})
		}
		addr = link.Addr()
	}
	var err error
	if c.host, c.port, err = net.SplitHostPort(addr); err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(c.home, "known_hosts")
	host, err := os.ReadFile(c.sshd.KnownHosts())
	if err != nil {
		t.Fatal(err)
	}
	key := strings.SplitN(strings.TrimSpace(string(host)), " ", 2)[1]
	c.config = filepath.Join(c.home, ".ssh/config")
	c.put(known, fmt.Appendf(nil, "[%s]:%s %s\n", c.host, c.port, key))
	c.put(c.config, fmt.Appendf(nil, "Host gateway\n  HostName %s\n  Port %s\n  User %s\n  IdentityFile %s\n  UserKnownHostsFile %s\n",
		c.host, c.port, c.sshd.User(), c.sshd.Key(), known))
	content := make([]byte, size)
	seed := rand.NewChaCha8([32]byte{1})
	old := time.Now().Add(-time.Hour)
	for i := range files {
		_, _ = seed.Read(content)
		path := filepath.Join(c.source, fmt.Sprintf("%03d", i/100), fmt.Sprintf("f%06d.dat", i))
		c.put(path, content)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *centre) put(path string, content []byte) {
	c.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// run runs a command to its end and returns how long it took.
func (c *centre) run(name string, args ...string) time.Duration {
	c.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = c.source
	cmd.Env = append(os.Environ(), "HOME="+c.home, "SSH_AUTH_SOCK=", "NOTIFY_SOCKET=")
	begin := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return time.Since(begin)
}

// arrived checks that all files are there, and removes them.
func (c *centre) arrived(dir string) {
	c.t.Helper()
	n, bytes := 0, int64(0)
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		n, bytes = n+1, bytes+info.Size()
		return err
	})
	if err != nil || n != c.files || bytes != c.bytes {
		c.t.Fatalf("%d files with %d bytes came, want %d with %d (%v)", n, bytes, c.files, c.bytes, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		c.t.Fatal(err)
	}
}

// A way to bring all files to a directory, verified.
type way struct {
	name string
	run  func(c *centre, to string) time.Duration
}

// Eight at once, as the document of rawtransfer has it: each way in the way that its users have it fast.
const eight = "8"

var holdfastWay = way{"holdfast", func(c *centre, to string) time.Duration {
	return c.run(testenv.PlainBinary(c.t), "transfer", c.source, "gateway:"+to, "--backfill-only", "--pack", "none", "--workers", eight,
		"--data-dir", c.t.TempDir())
}}

func rcloneWay(t *testing.T) way {
	bin := rclone(t)
	return way{"rclone", func(c *centre, to string) time.Duration { // compares hashes itself, by the shell there
		return c.run(bin, "copy", c.source, fmt.Sprintf(":sftp,host=%s,port=%s,user=%s,key_file=%s,known_hosts_file=%s:%s", c.host,
			c.port, c.sshd.User(), c.sshd.Key(), filepath.Join(c.home, "known_hosts"), to), "--transfers", eight, "--checkers", eight,
			"--config", "/dev/null", "--quiet")
	}}
}

var rsyncWay = way{"rsync", func(c *centre, to string) time.Duration { // has a checksum of each file in its protocol
	return c.run("rsync", "-a", "--whole-file", "-e", "ssh -F "+c.config, c.source+"/", "gateway:"+to+"/")
}}

// scp in eight processes over one connection, as rawtransfer does, one call a file; what it lacks is a comparison of hashes, which
// is done for all at once.
var scpWay = way{"scp", func(c *centre, to string) time.Duration {
	master := filepath.Join(c.home, "master")
	ssh := fmt.Sprintf("ssh -F %s -o ControlPath=%s", c.config, master)
	return c.run("bash", "-euo", "pipefail", "-c", strings.Join([]string{
		ssh + " -o ControlMaster=yes -N -f gateway",
		"find . -type d -printf '" + to + "/%P\\0' | " + ssh + " gateway 'xargs -0 mkdir -p'",
		fmt.Sprintf("find . -type f -print0 | xargs -0 -P %s -I {} scp -q -F %s -o ControlPath=%s {} gateway:%s/{}", eight, c.config, master, to),
		"find . -type f -print0 | sort -z | xargs -0 sha256sum >" + c.home + "/here",
		ssh + " gateway 'cd " + to + " && find . -type f -print0 | sort -z | xargs -0 sha256sum' >" + c.home + "/there",
		"cmp " + c.home + "/here " + c.home + "/there",
		ssh + " -O exit gateway 2>/dev/null || true",
	}, "\n"))
}}

// catWay is the bare rate of the link: one connection, nothing verified.
var catWay = way{"cat", func(c *centre, to string) time.Duration {
	return c.run("bash", "-euo", "pipefail", "-c",
		"find . -type f -print0 | xargs -0 cat | ssh -F "+c.config+" gateway 'mkdir -p "+to+" && cat >"+to+"/all'")
}}

// race has all ways bring the files by turns, and returns by how much ours is ahead of each: the medians.
func (c *centre) race(what string, rounds int, ways ...way) map[string]float64 {
	c.t.Helper()
	testenv.PlainBinary(c.t) // built before the clock runs
	ratios := map[string][]float64{}
	for i := range rounds {
		took := map[string]time.Duration{}
		for k := range ways {
			w := ways[(i+k)%len(ways)]
			to := filepath.Join(c.t.TempDir(), "there")
			if err := os.Mkdir(to, 0o755); err != nil { // ours wants it there: the disk may not be mounted
				c.t.Fatal(err)
			}
			took[w.name] = w.run(c, to)
			if w.name == catWay.name {
				if err := os.RemoveAll(to); err != nil {
					c.t.Fatal(err)
				}
				continue
			}
			c.arrived(to)
		}
		text := what + ":"
		for _, w := range ways {
			s := took[w.name].Seconds()
			text += fmt.Sprintf(" %s %.1f MB/s (%.0f files/s),", w.name, float64(c.bytes)/1e6/s, float64(c.files)/s)
			ratios[w.name] = append(ratios[w.name], s/took[holdfastWay.name].Seconds())
		}
		c.t.Log(strings.TrimSuffix(text, ","))
	}
	medians := map[string]float64{}
	for name, all := range ratios {
		slices.Sort(all)
		medians[name] = all[len(all)/2]
		if name != holdfastWay.name {
			c.t.Logf("%s: %.2f times %s (%.2f)", what, medians[name], name, all)
		}
	}
	return medians
}

// isAhead wants ours to be ahead of others by that much.
func isAhead(t *testing.T, what string, got map[string]float64, want map[string]float64) {
	t.Helper()
	for name, least := range want {
		if got[name] < least {
			t.Errorf("%s: %.2f times %s, want at least %.2f", what, got[name], name, least)
		}
	}
}

// TestTransferLarge is C1 of transfer: files of 20 MB to an sshd of this machine, verified.
func TestTransferLarge(t *testing.T) {
	const what = "T1 20 MB"
	c := newCentre(t, rows(t, 200), 20e6, 0)
	got := c.race(what, 3, holdfastWay, rcloneWay(t), rsyncWay, scpWay, catWay)
	isAhead(t, what, got, map[string]float64{"rclone": 1, "rsync": 1, "scp": 1, "cat": 0.9})
}

// TestTransferSmall is C2: files of 20 KB.
func TestTransferSmall(t *testing.T) {
	const what = "T2 20 KB"
	c := newCentre(t, rows(t, 10_000), 20e3, 0)
	got := c.race(what, 1, holdfastWay, rcloneWay(t), rsyncWay, scpWay) // rclone alone takes a quarter of an hour
	isAhead(t, what, got, map[string]float64{"rclone": 1, "scp": 3})
}

// TestTransferFar is C3: both over links with a round trip.
func TestTransferFar(t *testing.T) {
	for _, x := range []struct {
		what      string
		files     int
		size      int64
		roundTrip time.Duration
		want      map[string]float64
	}{
		{"T3 20 MB, 50 ms", 200, 20e6, 50 * time.Millisecond, map[string]float64{"rclone": 1, "scp": 1}},
		{"T3 20 MB, 150 ms", 200, 20e6, 150 * time.Millisecond, map[string]float64{"rclone": 3, "scp": 3}},
		{"T3 20 KB, 50 ms", 1000, 20e3, 50 * time.Millisecond, map[string]float64{"rclone": 1, "scp": 1}},
		{"T3 20 KB, 150 ms", 1000, 20e3, 150 * time.Millisecond, map[string]float64{"rclone": 3, "scp": 3}},
	} {
		c := newCentre(t, rows(t, x.files), x.size, x.roundTrip)
		isAhead(t, x.what, c.race(x.what, 1, holdfastWay, rcloneWay(t), scpWay), x.want)
	}
}
