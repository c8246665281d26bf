package sftp

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/connector"
	"holdfast/connector/desttest"
	"holdfast/tests/testenv"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, append(testenv.ProcessLeaks(), testenv.ProxyLeaks()...)...)
}

// config reaches a server, and reads nothing of the machine's own.
func config(s *testenv.SSHServer, dir string) Config {
	return Config{Host: s.User() + "@127.0.0.1", Port: s.Port(), Directory: dir, IdentityFiles: []string{s.Key()}, Agent: "none",
		SSHConfig: "none", KnownHosts: []string{s.KnownHosts()}, Silence: 3 * time.Second}
}

// target is a directory on a server of this machine, whose names are those of its file system.
func target(cfg Config) *desttest.Target {
	dir := cfg.Directory
	return &desttest.Target{
		New: func() (connector.Destination, error) { return New(cfg) },
		Files: func() (map[string][]byte, error) {
			all := map[string][]byte{}
			err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
				if err != nil || !e.Type().IsRegular() {
					return err
				}
				data, err := os.ReadFile(path)
				all[strings.TrimPrefix(path, dir+"/")] = data
				return err
			})
			return all, err
		},
		Put: func(name string, data []byte) error {
			path := dir + "/" + name
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			return os.WriteFile(path, data, 0o644)
		},
		Absolute: func(name string) string { return dir + "/" + name },
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]testenv.SSHDOptions{
		"shell": {},
		// What a server lacks is done in another way.
		"no shell, and little of OpenSSH": {NoShell: true, SFTP: "internal-sftp -P hardlink,posix-rename,fsync,statvfs,limits"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testenv.SSHD(t, o)
			desttest.Run(t, func(t *testing.T) *desttest.Target { return target(config(s, t.TempDir())) })
		})
	}
}

// connected is a destination that is closed with the test.
func connected(t testing.TB, cfg Config) *Destination {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}
