// Package packages tests what make package builds: in a clean Debian, and against the tools that read it.
package packages

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// built builds the packages of this machine once for all tests, and returns their paths.
func built(t *testing.T) (deb, rpm string) {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	find := func(pattern string) string {
		all, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(all) != 1 {
			t.Fatalf("got %v, %v, want one %s", all, err, pattern)
		}
		return all[0]
	}
	return find("*.deb"), find("*.rpm")
}

var build = sync.OnceValues(func() (string, error) {
	err := pack(buildDir, runtime.GOARCH)
	return buildDir, err
})

func pack(dir string, args ...string) error {
	cmd := exec.Command("../../scripts/package.sh", args...)
	cmd.Env = append(os.Environ(), "PACKAGE_DIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("scripts/package.sh: %w\n%s", err, out)
	}
	return nil
}

var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "holdfast-packages-")
	if err != nil {
		panic(err)
	}
	buildDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// box is a Debian that the package goes into, with a systemctl that writes down what it is told.
type box struct {
	*testing.T
	debian testenv.DebianRoot
}

const calls = "/run/systemctl.calls"

func newBox(t *testing.T) box {
	b := box{t, testenv.Debian(t)}
	b.write("/usr/sbin/systemctl", "#!/bin/sh\necho \"$@\" >>"+calls+"\n", 0o755)
	if err := os.MkdirAll(b.at("/run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b box) at(name string) string { return filepath.Join(b.debian.Dir, name) }

func (b box) write(name, text string, mode fs.FileMode) {
	b.Helper()
	if err := os.WriteFile(b.at(name), []byte(text), mode); err != nil {
		b.Fatal(err)
	}
}

func (b box) read(name string) string {
	b.Helper()
	text, err := os.ReadFile(b.at(name))
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// run runs a program as root; it has to end well.
func (b box) run(args ...string) string {
	b.Helper()
	out, err := b.debian.Run(args...)
	if err != nil {
		b.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// install copies a package into the box and installs it.
func (b box) install(deb string) string {
	b.Helper()
	text, err := os.ReadFile(deb)
	if err != nil {
		b.Fatal(err)
	}
	b.write("/holdfast.deb", string(text), 0o644)
	return b.run("dpkg", "--force-confold", "--force-unsafe-io", "-i", "/holdfast.deb")
}

// told returns what systemctl was told since it was last asked.
func (b box) told() string {
	b.Helper()
	text, err := os.ReadFile(b.at(calls))
	if err != nil && !os.IsNotExist(err) {
		b.Fatal(err)
	}
	_ = os.Remove(b.at(calls))
	return string(text)
}

// owned checks the mode and the owners of a file.
func (b box) owned(name, want string) {
	b.Helper()
	if got := strings.TrimSpace(b.run("stat", "-c", "%a %U:%G", name)); got != want {
		b.Errorf("%s is %s, want %s", name, got, want)
	}
}

// The package is installed in a clean Debian, its service works there as its user, goes on after root's commands and after an
// upgrade, and what was collected survives everything but the wish that it goes.
func TestDebianPackage(t *testing.T) {
	deb, _ := built(t)
	b := newBox(t)
	if out := b.install(deb); !strings.Contains(out, "systemctl enable --now holdfast") {
		t.Errorf("the installation does not say what is next:\n%s", out)
	}
	if got := b.told(); strings.Contains(got, "start") || strings.Contains(got, "enable") {
		t.Errorf("the installation starts something: %s", got)
	}
	for name, want := range map[string]string{"/usr/bin/holdfast": "755 root:root", "/etc/holdfast/holdfast.yaml": "640 root:holdfast",
		"/var/lib/holdfast": "750 holdfast:holdfast", "/usr/share/holdfast/monitoring/holdfast.rules.yml": "644 root:root"} {
		b.owned(name, want)
	}
	if got := b.run("getent", "passwd", "holdfast"); !strings.HasSuffix(got, ":/var/lib/holdfast:/usr/sbin/nologin\n") {
		t.Errorf("the user is %s", got)
	}
	b.examples()
	b.units()
	b.service()
	b.upgrade(deb)
	b.moves()
	b.remove()
}

// examples: whatever is given as an example is one.
func (b box) examples() {
	b.Helper()
	b.run("holdfast", "check", "-c", "/etc/holdfast/holdfast.yaml")
	examples, _ := filepath.Glob(b.at("/usr/share/holdfast/examples/*.yaml"))
	if len(examples) < 4 {
		b.Errorf("got the examples %v", examples)
	}
	for _, path := range examples {
		name := "/usr/share/holdfast/examples/" + filepath.Base(path)
		if text := b.read(name); strings.Contains(text, "\nrules:") {
			b.run("holdfast", "supervise", "test", "--rules", name)
			continue
		}
		b.run("env", "FEED_TOKEN=x", "holdfast", "check", "-c", name)
	}
}

// units: systemd understands them where they are, and finds what they name.
func (b box) units() {
	b.Helper()
	units, _ := filepath.Glob(b.at("/usr/lib/systemd/system/holdfast*.service"))
	if len(units) != 3 {
		b.Errorf("got the units %v", units)
	}
	for _, unit := range units {
		out := b.run("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/"+filepath.Base(unit))
		if strings.Contains(out, "holdfast") {
			b.Errorf("%s", out)
		}
	}
	for _, name := range []string{"/usr/share/man/man1/holdfast-crawl.1.gz", "/usr/share/man/man5/holdfast.yaml.5.gz",
		"/usr/share/bash-completion/completions/holdfast", debianZsh + "_holdfast"} {
		if _, err := os.Stat(b.at(name)); err != nil {
			b.Error(err)
		}
	}
}

// start runs the service as its unit does, and waits until it has collected n rows.
func (b box) start(n int) *testenv.Process {
	b.Helper()
	p := testenv.Start(b, b.debian.Command("holdfast", "holdfast", "run", "-c", "/etc/holdfast/holdfast.yaml"))
	defer func() {
		if b.Failed() {
			b.Logf("the service said:\n%s", p.Output())
		}
	}()
	p.WaitFor(b, "runs 1 job ", time.Minute) // audit would open the store itself before
	testenv.Until(b, 30*time.Second, fmt.Sprintf("%d rows are delivered", n), func() bool {
		out, err := b.debian.Run("holdfast", "audit", "--json")
		var a struct {
			Balanced bool
			Jobs     []struct{ Sinks []struct{ Delivered int } }
		}
		return err == nil && json.Unmarshal([]byte(out), &a) == nil && a.Balanced && len(a.Jobs) == 1 &&
			len(a.Jobs[0].Sinks) == 1 && a.Jobs[0].Sinks[0].Delivered == n
	})
	return p
}

func stop(t *testing.T, p *testenv.Process) {
	t.Helper()
	p.Term()
	if code := p.Wait(t, 30*time.Second); code != 0 {
		t.Errorf("the service ended with %d:\n%s", code, p.Output())
	}
}

// row moves a file with one row into the inbox of the example.
func (b box) row(id int) {
	b.Helper()
	b.write("/var/lib/holdfast/new", fmt.Sprintf(`{"id": %d, "time": "2026-01-31T12:00:00Z", "value": 20.5}`+"\n", id), 0o644)
	b.run("mv", "/var/lib/holdfast/new", fmt.Sprintf("/var/lib/holdfast/inbox/%d.jsonl", id))
}

// service: the example collects, as the service's user; and a command of root, with a mask that lets nobody else read, does not
// keep it from starting again.
func (b box) service() {
	b.Helper()
	config := b.read("/etc/holdfast/holdfast.yaml")
	quick := strings.NewReplacer("listen: 127.0.0.1:8420", "listen: none", "table: rows}}", "table: rows}, batch: {every: 100ms}}",
		"mode: once", "mode: once\n          settle: 100ms")
	b.write("/etc/holdfast/holdfast.yaml", quick.Replace(config), 0o640)
	b.run("install", "-d", "-o", "holdfast", "-g", "holdfast", "/var/lib/holdfast/inbox")
	b.row(1)
	p := b.start(1)
	b.owned("/var/lib/holdfast/control.sock", "600 holdfast:holdfast")
	stop(b.T, p)
	b.run("sh", "-c", "umask 077; holdfast status; holdfast checkpoint create; holdfast pause inbox; holdfast resume inbox")
	b.row(2)
	p = b.start(2)
	stop(b.T, p)
	for _, bad := range []string{"damaged", "permission denied"} {
		if strings.Contains(p.Output(), bad) {
			b.Errorf("behind root's commands the service says %s:\n%s", bad, p.Output())
		}
	}
}

// upgrade: a newer package, whose example is another, leaves configuration and data, and has what runs started again.
func (b box) upgrade(deb string) {
	b.Helper()
	before, owner := b.read("/etc/holdfast/holdfast.yaml"), "640 root:holdfast"
	b.told()
	b.install(newer(b.T, deb))
	if got := b.read("/etc/holdfast/holdfast.yaml"); got != before {
		b.Errorf("the configuration is now %s", got)
	}
	b.owned("/etc/holdfast/holdfast.yaml", owner)
	if got := b.told(); !strings.Contains(got, "try-restart holdfast.service") || strings.Contains(got, "enable") {
		b.Errorf("systemctl was told %q", got)
	}
	b.row(3)
	stop(b.T, b.start(3))
}

// moves: a data directory works under another name, and an export in another directory.
func (b box) moves() {
	b.Helper()
	const balanced = "balanced: every row is accounted for"
	b.run("cp", "-a", "/var/lib/holdfast", "/srv/moved")
	b.run("holdfast", "checkpoint", "create", "inbox", "--name", "nightly")
	b.run("holdfast", "checkpoint", "export", "inbox", "nightly", "/srv/inbox.tar")
	b.run("holdfast", "checkpoint", "import", "inbox", "/srv/inbox.tar", "--data-dir", "/srv/restored")
	b.run("holdfast", "checkpoint", "restore", "inbox", "nightly", "--data-dir", "/srv/restored")
	for _, dir := range []string{"/srv/moved", "/srv/restored"} {
		if out := b.run("holdfast", "audit", "--data-dir", dir); !strings.Contains(out, balanced) || !strings.Contains(out, "  local") {
			b.Errorf("%s: %s", dir, out)
		}
	}
}

// newer is the same package as a later version, with another example.
func newer(t *testing.T, deb string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "newer")
	command(t, "dpkg-deb", "-R", deb, dir)
	for name, change := range map[string][2]string{"DEBIAN/control": {"Version: ", "Version: 9"},
		"etc/holdfast/holdfast.yaml": {"# The configuration", "# The new configuration"}} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(text), change[0], change[1], 1)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "dpkg-deb", "-Znone", "-b", dir, dir+".deb")
	return dir + ".deb"
}

func command(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// remove: what was collected stays, until somebody says that it goes.
func (b box) remove() {
	b.Helper()
	b.run("dpkg", "-r", "holdfast")
	if got := b.told(); !strings.Contains(got, "disable --now holdfast.service") {
		b.Errorf("systemctl was told %q", got)
	}
	b.exist(map[string]bool{"/usr/bin/holdfast": false, "/etc/holdfast/holdfast.yaml": true, "/var/lib/holdfast/inbox.sqlite": true})
	if out := b.run("dpkg", "-P", "holdfast"); !strings.Contains(out, "stay") {
		b.Errorf("the purge does not say what stays:\n%s", out)
	}
	b.exist(map[string]bool{"/etc/holdfast": false, "/var/lib/holdfast/inbox.sqlite": true})
	b.run("dpkg", "--force-unsafe-io", "-i", "/holdfast.deb")
	b.owned("/var/lib/holdfast/inbox.sqlite", strings.TrimSpace(b.run("stat", "-c", "%a", "/var/lib/holdfast/inbox.sqlite"))+
		" holdfast:holdfast")
	b.run("env", "HOLDFAST_PURGE=data", "dpkg", "-P", "holdfast")
	b.exist(map[string]bool{"/var/lib/holdfast": false})
}

func (b box) exist(want map[string]bool) {
	b.Helper()
	for name, there := range want {
		if _, err := os.Lstat(b.at(name)); (err == nil) != there {
			b.Errorf("%s: there is %v, want %v", name, err == nil, there)
		}
	}
}

// The rules of Debian find nothing to say. They are asked about the package with a small file for the program, which they would
// read for long, and packed by xz, for Debian's archive takes no zstd.
func TestDebianRules(t *testing.T) {
	if _, err := exec.LookPath("lintian"); err != nil {
		testenv.Missing(t, "Debian's lintian", err)
	}
	deb, _ := built(t)
	dir := filepath.Join(t.TempDir(), "small")
	command(t, "dpkg-deb", "-R", deb, dir)
	if err := os.WriteFile(filepath.Join(dir, "usr/bin/holdfast"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "dpkg-deb", "-Zxz", "--root-owner-group", "-b", dir, dir+".deb")
	out := command(t, "lintian", "--allow-root", "--suppress-tags", "md5sum-mismatch,mismatched-override", dir+".deb")
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "E:") || strings.HasPrefix(line, "W:") {
			t.Error(strings.TrimSpace(line))
		}
	}
}

// Where zsh looks for completions of packages.
const debianZsh, redHatZsh = "/usr/share/zsh/vendor-completions/", "/usr/share/zsh/site-functions/"

// The package of Red Hat has the same files, and the same owners.
func TestRedHatPackage(t *testing.T) {
	if _, err := exec.LookPath("rpm"); err != nil {
		testenv.Missing(t, "Debian's rpm", err)
	}
	deb, rpm := built(t)
	in := map[string]bool{}
	for line := range strings.Lines(command(t, "rpm", "-qpl", rpm)) {
		in[strings.TrimSpace(line)] = true
	}
	dir := filepath.Join(t.TempDir(), "deb")
	command(t, "dpkg-deb", "-x", deb, dir)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, dir)
		name = strings.Replace(name, debianZsh, redHatZsh, 1)
		if err == nil && !d.IsDir() && !strings.Contains(name, "/lintian/") && !in[name] {
			t.Errorf("%s is not in it", name)
		}
		return err
	})
	if !in[redHatZsh+"_holdfast"] || in[debianZsh+"_holdfast"] {
		t.Error("the completion of zsh is not where Red Hat's looks")
	}
	if err != nil || len(in) < 60 {
		t.Errorf("got %d files, %v", len(in), err)
	}
	if got := command(t, "rpm", "-qpc", rpm); got != "/etc/holdfast/holdfast.yaml\n" {
		t.Errorf("configuration files are %q", got)
	}
	for _, want := range []string{"systemd-sysusers", "systemctl try-restart", "systemctl disable --now"} {
		if !strings.Contains(command(t, "rpm", "-qp", "--scripts", rpm), want) {
			t.Errorf("no script says %s", want)
		}
	}
}

// The package of Red Hat is installed, upgraded and removed by rpm, in a root where only the files of the system are Debian's: its
// scripts do what those of the other one do.
func TestRedHatInstallation(t *testing.T) {
	if _, err := exec.LookPath("rpm"); err != nil {
		testenv.Missing(t, "Debian's rpm", err)
	}
	_, file := built(t)
	b := newBox(t)
	rpm := func(args ...string) string {
		t.Helper()
		return command(t, append([]string{"rpm", "--force-debian", "--nodeps", "--root", b.debian.Dir}, args...)...)
	}
	if out := rpm("-i", file); !strings.Contains(out, "systemctl enable --now holdfast") {
		t.Errorf("the installation does not say what is next:\n%s", out)
	}
	if got := b.told(); got != "daemon-reload\n" {
		t.Errorf("the installation tells systemctl %q", got)
	}
	for name, want := range map[string]string{"/usr/bin/holdfast": "755 root:root", "/etc/holdfast/holdfast.yaml": "640 root:holdfast",
		"/var/lib/holdfast": "750 holdfast:holdfast"} {
		b.owned(name, want)
	}
	b.service()
	config := b.read("/etc/holdfast/holdfast.yaml")
	if out := rpm("-U", "--force", file); strings.Contains(out, "enable") {
		t.Errorf("the upgrade says what was said:\n%s", out)
	}
	if got := b.told(); !strings.Contains(got, "try-restart holdfast.service") || strings.Contains(got, "enable") || strings.Contains(got, "disable") {
		t.Errorf("the upgrade tells systemctl %q", got)
	}
	if got := b.read("/etc/holdfast/holdfast.yaml"); got != config {
		t.Errorf("the configuration is now %s", got)
	}
	b.owned("/etc/holdfast/holdfast.yaml", "640 root:holdfast")
	b.row(3)
	stop(b.T, b.start(3))
	rpm("-e", "holdfast")
	if got := b.told(); !strings.Contains(got, "disable --now holdfast.service") {
		t.Errorf("the removal tells systemctl %q", got)
	}
	b.exist(map[string]bool{"/usr/bin/holdfast": false, "/etc/holdfast/holdfast.yaml": false, "/etc/holdfast/holdfast.yaml.rpmsave": true,
		"/var/lib/holdfast/inbox.sqlite": true})
}

// Each relative link of a packaged document leads to a file or a directory of the package, and to a heading that is there.
func TestLinksOfPackagedDocuments(t *testing.T) {
	deb, _ := built(t)
	dir := filepath.Join(t.TempDir(), "deb")
	command(t, "dpkg-deb", "-x", deb, dir)
	link, links := regexp.MustCompile(`(?:\]\(|(?:src|href)=")([^)"\s]+)`), 0
	err := filepath.WalkDir(filepath.Join(dir, "usr/share/doc/holdfast"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(text(t, path), -1) {
			to, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, ":") {
				continue
			}
			links++
			at := path
			if to != "" {
				at = filepath.Join(filepath.Dir(path), to)
			}
			if _, err := os.Stat(at); err != nil {
				t.Errorf("%s leads to %s, which is not there", d.Name(), m[1])
			} else if heading != "" && !hasHeading(text(t, at), heading) {
				t.Errorf("%s leads to %s, and there is no such heading", d.Name(), m[1])
			}
		}
		return nil
	})
	if err != nil || links < 30 {
		t.Errorf("looked at %d links, %v", links, err)
	}
}

// hasHeading reports whether a document has a heading of which a link is made so.
func hasHeading(text, link string) bool {
	other := regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		if strings.ReplaceAll(other.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-") == link {
			return true
		}
	}
	return false
}

// What make package builds is the same for all architectures, and the same every time. It takes minutes.
func TestAllArchitecturesTwice(t *testing.T) {
	if !testenv.Torture() {
		t.Skip("with HOLDFAST_TORTURE=1")
	}
	first, second := t.TempDir(), t.TempDir()
	for _, dir := range []string{first, second} {
		if err := pack(dir); err != nil {
			t.Fatal(err)
		}
	}
	all, err := filepath.Glob(filepath.Join(first, "*"))
	if err != nil || len(all) != 4 {
		t.Fatalf("got %v, %v, want four packages", all, err)
	}
	for _, path := range all {
		if out, err := exec.Command("cmp", path, filepath.Join(second, filepath.Base(path))).CombinedOutput(); err != nil {
			t.Errorf("%v %s", err, out)
		}
	}
}
