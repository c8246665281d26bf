package sftp

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/desttest"
	"holdfast/tests/testenv"
)

// TestOrderOfSteps: a file is durable before it has its name, and its name before it is told. Only then may
// an original be deleted here, whatever happens to the power there. The server tells what it was asked for.
func TestOrderOfSteps(t *testing.T) {
	t.Parallel()
	diary := filepath.Join(t.TempDir(), "diary")
	server := "/usr/lib/openssh/sftp-server -e -l VERBOSE 2>>" + diary
	s := testenv.SSHD(t, testenv.SSHDOptions{SFTP: server})
	dir := t.TempDir()
	d := connected(t, config(s, dir))
	if _, err := d.Place(t.Context(), "new/x", desttest.Content([]byte("some bytes")), nil); err != nil {
		t.Fatal(err)
	}
	part, above := dir+"/new/.x.part", dir+"/new"
	said, err := os.ReadFile(diary)
	if err != nil {
		t.Fatal(err)
	}
	from := 0
	for _, step := range []string{"mkdir name \"" + above, "fsync \"" + dir + "\"", "open \"" + part, "fsync \"" + part + "\"",
		"hardlink old \"" + part + "\" new \"" + above + "/x\"", "fsync \"" + above + "\""} {
		at := strings.Index(string(said[from:]), step)
		if at < 0 {
			t.Fatalf("the server was not asked for %s, or too early: it says\n%s", step, said)
		}
		from += at
	}
}

// TestHowItIsVerified: it is told, and it is never another way than the one that was asked for.
func TestHowItIsVerified(t *testing.T) {
	t.Parallel()
	shell := testenv.SSHD(t, testenv.SSHDOptions{})
	bare := testenv.SSHD(t, testenv.SSHDOptions{NoShell: true})
	box := testenv.SSHD(t, testenv.SSHDOptions{NoShell: true, SFTP: "internal-sftp -P read"}) // nobody looks into it
	for _, c := range []struct {
		server *testenv.SSHServer
		verify string
		want   connector.Verified
	}{
		{shell, "", connector.ByRemoteHash}, {shell, "auto", connector.ByRemoteHash},
		{shell, "remote-hash", connector.ByRemoteHash},
		{shell, "read-back", connector.ByReadBack}, {shell, "size", connector.BySize},
		{bare, "auto", connector.ByReadBack}, {bare, "read-back", connector.ByReadBack}, {bare, "size", connector.BySize},
		{bare, "remote-hash", ""}, {box, "auto", connector.BySize}, {box, "read-back", ""},
	} {
		cfg := config(c.server, t.TempDir())
		cfg.Verify = c.verify
		d := connected(t, cfg)
		for range 2 {
			p, err := d.Place(t.Context(), "x", desttest.Content([]byte("some bytes")), nil)
			if c.want == "" && !fault.Is(err, fault.Permanent) || c.want != "" && (err != nil || p.Verified != c.want) {
				t.Errorf("%s: placed %+v, %v; want %q", c.verify, p, err, c.want)
			}
		}
		if c.want == connector.BySize {
			changed := desttest.Content([]byte("other data"))
			changed.SHA256 = sha256.Sum256([]byte("what it was"))
			if _, err := d.Place(t.Context(), "y", changed, nil); !fault.Is(err, fault.Corrupt) {
				t.Errorf("%s: got %v for a file that changed, want that it is not what was hashed", c.verify, err)
			}
		}
	}
}

// TestSpoiltThere: a file that is not there as it was sent does not get its name, however it is verified.
func TestSpoiltThere(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	for _, verify := range []string{"remote-hash", "read-back"} {
		dir := t.TempDir()
		cfg := config(s, dir)
		cfg.Verify = verify
		d := connected(t, cfg)
		data := desttest.Bytes(1, 3<<20)
		var sent int
		_, err := d.Place(t.Context(), "x", desttest.Content(data), func(n int64) {
			if sent += int(n); sent < len(data) {
				return
			}
			f, err := os.OpenFile(filepath.Join(dir, connector.PartName("x")), os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("spoilt"), 1000) // these bytes were written long ago
			}
			if err != nil {
				t.Error(err)
			}
			f.Close()
		})
		if !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s: got %v, want that it is spoilt", verify, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "x")); err == nil {
			t.Errorf("%s: it has its name", verify)
		}
		if _, err := d.Place(t.Context(), "x", desttest.Content(data), nil); err != nil {
			t.Errorf("%s: again: %v", verify, err)
		}
	}
}

// hostile are names that mean something to a shell, to printf, to sha256sum, or to nobody.
var hostile = []string{"$(touch x)", "`touch x`", "a;touch x", "a\ntouch x\n", "'; touch x; '", `"; touch x; "`,
	"-rf", "--help", "-", " ", " a  b ", "a\tb", "a\\nb", `\0101`, "%s%n", "*", "~", "$HOME", "#x", "a\rb",
	"\x01\x7f\xff\xfe", "caf\xe9", "ümläut 🎈", "\n", "\\", "a'b", "&", "|x", ">x", "<x", "!!", "{a,b}", "[a-z]", "a\n\n"}

// TestHostileNames: no name reaches a shell as anything but a name, and each is hashed, copied, listed and
// found.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	dir := filepath.Join(t.TempDir(), "it's $(touch x)\nthe root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := config(s, dir)
	cfg.Directory = dir
	if errs := cfg.Validate(); len(errs) == 0 {
		t.Error("a root with a line end passes")
	}
	dir = filepath.Join(filepath.Dir(dir), "it's $(touch x) the root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := connected(t, config(s, dir))
	want := map[string][sha256.Size]byte{}
	var names []string
	for i, name := range hostile {
		for _, name := range []string{name, "below " + name + "/" + name} {
			data := desttest.Bytes(uint64(i), 50+i)
			names, want[name] = append(names, name), sha256.Sum256(data)
			p, err := d.Place(t.Context(), name, desttest.Content(data), nil)
			if err != nil || p.Verified != connector.ByRemoteHash {
				t.Errorf("%q: placed %+v, %v", name, p, err)
			}
			to := "copy of " + name
			names, want[to] = append(names, to), want[name]
			if _, err := d.Copy(t.Context(), name, to, desttest.Content(data)); err != nil {
				t.Errorf("%q: copy: %v", name, err)
			}
		}
	}
	sums, how, err := d.Sums(t.Context(), names)
	if err != nil || how != connector.ByRemoteHash || len(sums) != len(want) {
		t.Errorf("got %d sums by %s, %v; want %d", len(sums), how, err, len(want))
	}
	for name, sum := range want {
		if sums[name] != sum {
			t.Errorf("%q: another sum", name)
		}
	}
	found := 0
	err = d.List(t.Context(), "", func(f connector.Found) error {
		found++
		if _, ok := want[f.Name]; !ok {
			t.Errorf("found %q", f.Name)
		}
		return nil
	})
	if err != nil || found != len(want) {
		t.Errorf("found %d files, %v; want %d", found, err, len(want))
	}
}

// TestNothingLeadsAway: what is no file is not written through.
func TestNothingLeadsAway(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	dir, away := t.TempDir(), t.TempDir()
	d := connected(t, config(s, dir))
	for name, make := range map[string]func(path string) error{
		"link":     func(path string) error { return os.Symlink(filepath.Join(away, "x"), path) },
		"pipe":     func(path string) error { return unix.Mkfifo(path, 0o600) },
		"is a dir": func(path string) error { return os.Mkdir(path, 0o755) },
		connector.PartName("part is a link"): func(path string) error {
			return os.Symlink(filepath.Join(away, "y"), path)
		},
	} {
		if err := make(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"link", "pipe", "is a dir", "part is a link"} {
		if _, err := d.Place(t.Context(), name, desttest.Content([]byte("x")), nil); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: got %v, want a conflict", name, err)
		}
	}
	if all, err := os.ReadDir(away); err != nil || len(all) > 0 {
		t.Errorf("away: %v, %v", all, err)
	}
}

// TestManyFiles places many files at once, over as many channels as an sshd allows, and over two.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]testenv.SSHDOptions{"plain": {}, "two channels": {Config: []string{"MaxSessions 2"}}} {
		s, dir := testenv.SSHD(t, o), t.TempDir()
		d := connected(t, config(s, dir))
		var all sync.WaitGroup
		for w := range 4 {
			all.Go(func() {
				for i := range 50 {
					name := fmt.Sprintf("%d/%d", i%7, w*50+i)
					data := desttest.Bytes(uint64(w*50+i), 500*i)
					if p, err := d.Place(t.Context(), name, desttest.Content(data), nil); err != nil || p.Verified != connector.ByRemoteHash {
						t.Errorf("%s: placed %+v, %v", name, p, err)
					}
					if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, data) {
						t.Errorf("%s: %d bytes, %v", name, len(got), err)
					}
				}
			})
		}
		all.Wait()
		parts, err := filepath.Glob(filepath.Join(dir, "*", ".*.part"))
		if err != nil || len(parts) > 0 {
			t.Errorf("%s: left: %v, %v", name, parts, err)
		}
	}
}

// TestCopyWithoutMeans: a server that can't copy has nothing to copy from.
func TestCopyWithoutMeans(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{NoShell: true, SFTP: "internal-sftp -P copy-data"})
	dir := t.TempDir()
	d := connected(t, config(s, dir))
	data := desttest.Content([]byte("some bytes"))
	if _, err := d.Place(t.Context(), "from", data, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Copy(t.Context(), "from", "to", data); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v, want that there is nothing", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestCopiesAreFiles: a copy is another file, which does not change with the first.
func TestCopiesAreFiles(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]testenv.SSHDOptions{"cp": {}, "copy-data": {NoShell: true}} {
		s, dir := testenv.SSHD(t, o), t.TempDir()
		d := connected(t, config(s, dir))
		data := desttest.Content(desttest.Bytes(1, 100_000))
		_, err := d.Place(t.Context(), "from", data, nil)
		if err == nil {
			_, err = d.Copy(t.Context(), "from", "to", data)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		a, errA := os.Stat(filepath.Join(dir, "from"))
		b, errB := os.Stat(filepath.Join(dir, "to"))
		if errA != nil || errB != nil || os.SameFile(a, b) || !b.ModTime().Equal(data.ModTime) {
			t.Errorf("%s: %v, %v; %v %v", name, a, b, errA, errB)
		}
	}
}

// TestSweepLeavesWhatIsOurs: what is under way here is not swept, whatever its time.
func TestSweepLeavesWhatIsOurs(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	d := connected(t, config(s, t.TempDir()))
	var once sync.Once
	_, err := d.Place(t.Context(), "x", desttest.Content(desttest.Bytes(1, 4<<20)), func(int64) {
		once.Do(func() {
			if removed, err := d.Sweep(t.Context(), -time.Hour); err != nil || len(removed) > 0 {
				t.Errorf("removed %v, %v", removed, err)
			}
		})
	})
	if err != nil {
		t.Error(err)
	}
}

// TestClose: calls end, and later ones are refused.
func TestClose(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	d := connected(t, config(s, t.TempDir()))
	if err := d.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Freeze()
	defer s.Thaw()
	waits := make(chan error)
	go func() { waits <- d.Probe(t.Context()) }()
	testenv.Until(t, 10*time.Second, "the call waits", func() bool {
		d.link.lanes.mu.Lock()
		defer d.link.lanes.mu.Unlock()
		return d.link.lanes.open[0].load > 0
	})
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := <-waits; err == nil {
		t.Error("a call that waited for a server did well")
	}
	if err := d.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v, want that it is closed", err)
	}
}

// TestShells: a server that greets has a shell all the same, and one that ended is opened again: nothing weaker will do.
func TestShells(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{SFTP: "/usr/lib/openssh/sftp-server", Config: []string{
		`ForceCommand case "$SSH_ORIGINAL_COMMAND" in sh*) echo; echo welcome to holdfast; printf "> ";; esac; ` +
			`eval "$SSH_ORIGINAL_COMMAND"`}})
	d := connected(t, config(s, t.TempDir()))
	for i := range 3 {
		p, err := d.Place(t.Context(), fmt.Sprint(i), desttest.Content([]byte("x")), nil)
		if err != nil || p.Verified != connector.ByRemoteHash {
			t.Fatalf("placed %+v, %v; want it to be verified by the server", p, err)
		}
		shell, err := d.link.shell()
		if err != nil {
			t.Fatal(err)
		}
		d.link.leaveShell(shell)
		if err := shell.session.Close(); err != nil {
			t.Error(err)
		}
		testenv.Until(t, startWithin, "the shell ends", shell.ended)
	}
}
