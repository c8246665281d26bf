package tests

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// machine is a pretended one for scripts/deps.sh: its programs are the few that are named, and its
// system files lie in a temporary directory.
type machine struct{ programs, root, home string }

func newMachine(t *testing.T, programs map[string]string) machine {
	t.Helper()
	m := machine{t.TempDir(), t.TempDir(), t.TempDir()}
	for _, name := range strings.Fields("bash cat chmod comm cp cut dirname env find flock id ln " +
		"mkdir mktemp mv printf rm sed sha256sum sort tee uname") {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(m.programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, script := range programs {
		m.write(t, filepath.Join(m.programs, name), "#!/bin/bash\n"+script)
	}
	for _, dir := range []string{"usr/sbin", "etc/systemd/system/multi-user.target.wants",
		"etc/rc2.d", "etc/cron.d"} {
		if err := os.MkdirAll(filepath.Join(m.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m machine) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// deps runs the script and returns what it says and whether it ended well.
func (m machine) deps(t *testing.T, args ...string) (string, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "../scripts/deps.sh", args...)
	cmd.Env = []string{"PATH=" + m.programs, "HOME=" + m.home, "HOLDFAST_DEPS_ROOT=" + m.root}
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// enable is what a package's own script does on a fresh Debian: files, and links that start it.
const enable = `
case $1 in update) exit ;; esac
[[ -x $HOLDFAST_DEPS_ROOT/usr/sbin/policy-rc.d ]] || { echo "may start services" >&2; exit 9; }
cd "$HOLDFAST_DEPS_ROOT"
printf x >usr/sbin/clickhouse-server
printf x >usr/sbin/sshd
printf x >usr/sbin/debootstrap
mkdir -p usr/lib/postgresql/15/bin usr/bin usr/share/doc/{postgresql-doc-15,debian-handbook}/html
for program in redis-server influxd fpack rsync fitscheck wget wget2 prometheus chromium lintian rpm; do
  printf x >usr/bin/$program
  chmod 755 usr/bin/$program
done
printf x >usr/lib/postgresql/15/bin/postgres
mkdir -p lib/systemd
printf x >lib/systemd/systemd-journal-remote
chmod 755 lib/systemd/systemd-journal-remote
chmod 755 usr/sbin/clickhouse-server usr/sbin/debootstrap usr/sbin/sshd usr/lib/postgresql/15/bin/postgres
ln -s /lib/x.service etc/systemd/system/multi-user.target.wants/clickhouse-server.service
ln -s /lib/y.service etc/systemd/system/multi-user.target.wants/postgresql.service
printf x >etc/rc2.d/S01clickhouse-server
printf x >etc/rc2.d/S01postgresql
printf x >etc/cron.d/clickhouse-server
`

func TestDepsWithoutInstallers(t *testing.T) {
	m := newMachine(t, nil)
	for _, args := range [][]string{nil, {"missing"}} {
		out, ok := m.deps(t, args...)
		if !ok {
			t.Errorf("%v: want a good end, got %q", args, out)
		}
		for _, want := range []string{
			"MISSING clickhouse-server (", "Untested: the ClickHouse sink against 18.16",
			"MISSING postgresql (", "Untested: the PostgreSQL sink",
			"MISSING redis-server (", "Untested: the source redis",
			"MISSING influxdb (", "Untested: the InfluxDB sink",
			"MISSING openssh-server (", "Untested: transfers over SSH",
			"MISSING libcfitsio-bin (", "Untested: FITS files packed by fpack",
			"MISSING rsync (", "Untested: transfers against rsync (make bench)",
			"MISSING astropy-utils (", "Untested: verdicts on FITS files against fitscheck's",
			"MISSING postgresql-doc (", "Untested: crawls of a real site: PostgreSQL's manual",
			"MISSING debian-handbook (", "Untested: crawls of a real site: the Debian handbook",
			"MISSING wget (", "Untested: crawls against wget (make bench)",
			"MISSING wget2 (", "Untested: crawls against wget2 (make bench)",
			"MISSING systemd-journal-remote (", "Untested: the watcher of the journal",
			"MISSING prometheus (", "Untested: the watcher of Prometheus",
			"MISSING chromium (", "Untested: the console in a browser",
			"MISSING debootstrap (", "MISSING a clean Debian (", "Untested: the package of Debian, in a Debian of its own",
			"MISSING lintian (", "MISSING rpm (", "Untested: the package of Red Hat",
			"MISSING libchdb, warcio, playwright-core, axe-core (", "Untested: the ClickHouse sink against a modern engine, " +
				"WARC files read back by warcio, the console in a browser",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("%v: want %q in %q", args, want, out)
			}
		}
	}
}

func TestDepsInstallsAndDisables(t *testing.T) {
	m := newMachine(t, map[string]string{
		"apt-get":     enable,
		"sudo":        `[[ $1 == -n ]] && shift; exec "$@"`,
		"update-rc.d": `mv "$HOLDFAST_DEPS_ROOT"/etc/rc2.d/{S,K}01"$1"`,
		"npm":         `mkdir "$3/node_modules"`,
		"debootstrap": `mkdir -p "$4/usr/share/doc"`,
	})
	mine := filepath.Join(m.root, "etc/systemd/system/multi-user.target.wants/mine.service")
	if err := os.Symlink("/lib/mine.service", mine); err != nil {
		t.Fatal(err)
	}
	if out, ok := m.deps(t); !ok {
		t.Fatal(out)
	}
	if _, err := os.Lstat(mine); err != nil {
		t.Errorf("a unit that was enabled before: %v", err)
	}
	for _, gone := range []string{
		"etc/systemd/system/multi-user.target.wants/clickhouse-server.service",
		"etc/systemd/system/multi-user.target.wants/postgresql.service", "etc/rc2.d/S01postgresql",
		"etc/rc2.d/S01clickhouse-server", "etc/cron.d/clickhouse-server", "usr/sbin/policy-rc.d",
	} {
		if _, err := os.Lstat(filepath.Join(m.root, gone)); !os.IsNotExist(err) {
			t.Errorf("%s is still there", gone)
		}
	}
	// Now there is nothing to do, and nobody is asked.
	m.write(t, filepath.Join(m.programs, "apt-get"), "#!/bin/bash\nexit 1\n")
	m.write(t, filepath.Join(m.programs, "npm"), "#!/bin/bash\nexit 1\n")
	for _, args := range [][]string{nil, {"missing"}} {
		if out, ok := m.deps(t, args...); !ok || out != "" {
			t.Errorf("second run %v: %v %q", args, ok, out)
		}
	}
}

func TestDepsFailsWithItsInstallers(t *testing.T) {
	for name, programs := range map[string]map[string]string{
		"apt-get": {"apt-get": enable + "exit 100", "npm": `mkdir "$3/node_modules"`,
			"update-rc.d": `mv "$HOLDFAST_DEPS_ROOT"/etc/rc2.d/{S,K}01"$1"`},
		"debootstrap": {"apt-get": enable, "npm": `mkdir "$3/node_modules"`,
			"update-rc.d": `mv "$HOLDFAST_DEPS_ROOT"/etc/rc2.d/{S,K}01"$1"`},
		"npm": {"apt-get": enable, "npm": "exit 1",
			"update-rc.d": `mv "$HOLDFAST_DEPS_ROOT"/etc/rc2.d/{S,K}01"$1"`},
	} {
		programs["debootstrap"] = `mkdir -p "$4/usr"`
		if name == "debootstrap" {
			programs[name] += "\nexit 1"
		}
		programs["sudo"] = `[[ $1 == -n ]] && shift; exec "$@"`
		m := newMachine(t, programs)
		if out, ok := m.deps(t); ok {
			t.Errorf("%s fails: want a bad end, got %q", name, out)
		}
		links, _ := filepath.Glob(filepath.Join(m.root, "etc/systemd/system/*/*"))
		if len(links) != 0 {
			t.Errorf("%s fails: %v stays enabled", name, links)
		}
		roots, _ := filepath.Glob(filepath.Join(m.home, ".cache/holdfast-test/debian*"))
		if name == "debootstrap" && len(roots) != 0 {
			t.Errorf("half a Debian is there: %v", roots)
		}
		engines, _ := filepath.Glob(filepath.Join(m.home, ".cache/holdfast-test/npm-*"))
		if name == "npm" && len(engines) != 0 {
			t.Errorf("half an engine is there: %v", engines)
		}
	}
}
