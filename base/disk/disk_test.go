package disk

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

// The test binary is its own second process: with this variable set it only tries the lock.
const tryLock = "HOLDFAST_TEST_TRY_LOCK"

func TestMain(m *testing.M) {
	if path := os.Getenv(tryLock); path != "" {
		if _, err := Acquire(path); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestSecondProcessIsRefusedAfterTheOwnerReadTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	// A POSIX lock would be gone after this.
	if b, err := os.ReadFile(path); err != nil || strings.TrimSpace(string(b)) == "" {
		t.Fatalf("read the lock file: %q %v", b, err)
	}
	try := func() (string, error) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), tryLock+"="+path)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	begin := time.Now()
	out, err := try()
	if err == nil {
		t.Fatal("a second process got the lock")
	}
	if d := time.Since(begin); d > time.Second {
		t.Errorf("refused after %v, want under 1s", d)
	}
	pid := strings.TrimSpace(string(must(os.ReadFile(path))))
	if !strings.Contains(out, "process "+pid) {
		t.Errorf("got %q, want the pid %s named", out, pid)
	}
	if _, err := Acquire(path); !fault.Is(err, fault.Busy) {
		t.Errorf("second lock in one process: got %v, want busy", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if out, err := try(); err != nil {
		t.Errorf("after Release: %v %s", err, out)
	}
}

// A child process that is being started has every open file for a moment.
func TestALockIsReleasedThoughAChildHasItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "LOCK")
	l, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	child, err := unix.Dup(int(l.f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := Acquire(path)
	if err != nil {
		t.Fatalf("a lock that was released: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestWriteFileReplacesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "f")
	if err := MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "a longer second", ""} {
		if err := WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := string(must(os.ReadFile(path))); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", fi.Mode())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestRoom(t *testing.T) {
	r, err := RoomAt(t.TempDir())
	if err != nil || r.Total == 0 || r.Free > r.Total {
		t.Errorf("got %+v %v", r, err)
	}
	if err := Writable("/proc/nowhere"); err == nil {
		t.Error("/proc/nowhere is said to be writable")
	}
}
