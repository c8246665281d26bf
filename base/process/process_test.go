package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/base/fault"
)

func run(t *testing.T, c Command) Result {
	t.Helper()
	r, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestRun(t *testing.T) {
	t.Setenv("HOLDFAST_SECRET", "x")
	r := run(t, Command{Args: sh(`pwd; echo "$0 $1"; env | sort; echo to stderr >&2; exit 7`), Env: []string{"A=b"}, Mark: "m1", Keep: 10_000})
	if r.Code != 7 || r.OK() || r.Late || r.Signal != 0 || r.PID == 0 {
		t.Errorf("got %+v", r)
	}
	out := string(r.Output)
	for _, want := range []string{"/\n", "A=b\n", "HOLDFAST_RUN=m1\n", "LANG=C.UTF-8\n", "to stderr\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	if strings.Contains(out, "HOLDFAST_SECRET") {
		t.Error("our environment is inherited")
	}
	if r := run(t, Command{Args: sh(`kill -9 $$`)}); r.Signal != syscall.SIGKILL || r.OK() || r.Code != -1 {
		t.Errorf("killed: %+v", r)
	}
	// No shell is between: arguments arrive as they are.
	hostile := []string{"$(reboot)", "`id`", "a\nb", "-rf", ";", "\x1b[2J", "\xff\xfe", "", "*"}
	r = run(t, Command{Args: append([]string{"/usr/bin/printf", `%s\0`}, hostile...), Keep: 1 << 10})
	if got := strings.Split(string(r.Output), "\x00"); fmt.Sprintf("%q", got[:len(got)-1]) != fmt.Sprintf("%q", hostile) {
		t.Errorf("arguments arrived as %q", got)
	}
}

func TestNotStarted(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	noProgram := filepath.Join(t.TempDir(), "none")
	if err := os.WriteFile(noProgram, []byte("x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want fault.Kind
	}{
		{[]string{"/none"}, fault.NotFound},
		{[]string{plain}, fault.Credentials},
		{[]string{noProgram}, fault.Permanent},
		{[]string{"/bin/echo", "a\x00b"}, fault.Invalid},
		{[]string{"/bin/echo", strings.Repeat("x", 1<<20)}, fault.Invalid},
	} {
		if _, err := (Command{Args: c.args}).Run(t.Context()); fault.KindOf(err) != c.want {
			t.Errorf("%.20q: got %v, want kind %v", c.args, err, c.want)
		}
	}
}

// Whatever is late ends with all that it started: what ignores to be asked, what has left the group, what went behind its father.
func TestLate(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	r := run(t, Command{Args: sh(`
		trap '' TERM
		setsid /bin/sh -c 'trap "" TERM; echo $$ >> ` + pids + `; sleep 600' &
		/bin/sh -c '/bin/sh -c "trap \"\" TERM; echo \$\$ >> ` + pids + `; sleep 600" &'
		echo $$ >> ` + pids + `
		while [ $(wc -l < ` + pids + `) -lt 3 ]; do sleep 0.01; done
		echo all there
		sleep 600; sleep 600`), Within: 2 * time.Second, Grace: 50 * time.Millisecond, Keep: 100})
	if !r.Late || r.OK() || string(r.Output) != "all there\n" {
		t.Errorf("got %+v", r)
	}
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(b)) {
		n, _ := strconv.Atoi(pid)
		if syscall.Kill(n, 0) == nil && !dead(pid) {
			t.Errorf("process %s still runs", pid)
		}
	}
	if n := len(strings.Fields(string(b))); n != 3 {
		t.Errorf("%d processes instead of 3", n)
	}
}

// dead is whether a process has ended and nobody has waited for it.
func dead(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	return err != nil || bytes.Contains(b, []byte(") Z "))
}

// One that ends when it is asked to has time for it.
func TestGrace(t *testing.T) {
	r := run(t, Command{Args: sh(`trap 'echo tidy; exit 0' TERM; sleep 600 & wait`), Within: 200 * time.Millisecond, Grace: time.Minute, Keep: 100})
	if string(r.Output) != "tidy\n" || !r.Late || r.OK() || r.Took > 30*time.Second {
		t.Errorf("got %+v", r)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	why := errors.New("shutdown")
	time.AfterFunc(100*time.Millisecond, func() { stop(why) })
	if _, err := (Command{Args: sh("sleep 600")}).Run(ctx); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// What a program that ended well leaves behind has some time to end, and is killed then, wherever it went: in a control
// group also what has cleared its environment.
func TestLeftBehind(t *testing.T) {
	for name, grouped := range map[string]bool{"by its group": true, "by its mark": false} {
		t.Run(name, func(t *testing.T) {
			clear := "env -i"
			if !grouped {
				ungrouped.Store(true)
				defer ungrouped.Store(false)
				clear = ""
			} else if g := newGroup(t.Name()); g == nil {
				t.Skip("no control group can be made here")
			} else {
				g.remove()
			}
			out := filepath.Join(t.TempDir(), "out")
			r := run(t, Command{Args: sh(`
				` + clear + ` setsid /bin/sh -c 'trap "" TERM HUP; echo $$ >> ` + out + `; exec >/dev/null 2>&1; sleep 600; sleep 600' &
				(sleep 0.05; echo tidy >> ` + out + `) >/dev/null 2>&1 &
				while ! grep -q . ` + out + `; do sleep 0.01; done`), Mark: t.Name(), Grace: 500 * time.Millisecond})
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Fields(string(b))
			if !r.OK() || r.Left < 1 || len(all) != 2 || all[1] != "tidy" || !dead(all[0]) {
				t.Errorf("got %+v; %q; dead: %v", r, all, dead(all[0]))
			}
			if _, err := os.Stat(filepath.Join(ownGroup(), GroupOf(t.Name()))); ownGroup() != "" && err == nil {
				t.Error("its group is left")
			}
			if r := run(t, Command{Args: sh("exit 0"), Grace: time.Minute}); r.Left != 0 || r.Took > 10*time.Second {
				t.Errorf("nothing was left behind: %+v", r)
			}
		})
	}
}

// The groups of runs whose owner was killed are removed one day, but for those in which somebody is, and those that are new.
func TestSweepGroups(t *testing.T) {
	old, young := newGroup(t.Name()+"old"), newGroup(t.Name()+"young")
	if old == nil || young == nil {
		t.Skip("no control group can be made here")
	}
	defer young.remove()
	defer old.remove()
	long := time.Now().Add(-2 * forgotten)
	if err := os.Chtimes(old.dir, long, long); err != nil {
		t.Fatal(err)
	}
	if _, err := Sweep("none of that name"); err != nil {
		t.Fatal(err)
	}
	_, gone := os.Stat(old.dir)
	_, there := os.Stat(young.dir)
	if gone == nil || there != nil {
		t.Errorf("the old one: %v, the young one: %v", gone, there)
	}
}

// Half of the room is for how the output began, half for how it ended, whatever the sizes of the writes.
func TestOutput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := &output{room: rapid.IntRange(0, 20).Draw(t, "room")}
		var all []byte
		for range rapid.IntRange(0, 12).Draw(t, "writes") {
			b := []byte(rapid.StringMatching(`[a-z]{0,15}`).Draw(t, "b"))
			if n, err := o.Write(b); n != len(b) || err != nil {
				t.Fatal(n, err)
			}
			all = append(all, b...)
		}
		got, cut, dropped := o.kept()
		want := all
		if over := len(all) - o.room; over > 0 {
			want = append(append([]byte{}, all[:o.room/2]...), all[o.room/2+over:]...)
			if cut != o.room/2 || dropped != int64(over) {
				t.Fatalf("cut at %d, dropped %d of %d in room %d", cut, dropped, len(all), o.room)
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// A program dies with its owner, and the owner's next life finds what the program had started.
func TestOwnerIsKilled(t *testing.T) {
	if os.Getenv("PROCESS_OWNER") != "" {
		_, _ = (Command{Args: sh(`sleep 600 & echo $! >&3; echo $$ >&3; wait`), Mark: "owned"}).Run(context.Background())
		return
	}
	owner := exec.Command(os.Args[0], "-test.run", "^TestOwnerIsKilled$")
	owner.Env = append(os.Environ(), "PROCESS_OWNER=1")
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	owner.ExtraFiles = []*os.File{w}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var child, leader int
	if _, err := fmt.Fscan(pipe, &child, &leader); err != nil {
		t.Fatal(err)
	}
	_ = owner.Process.Kill()
	_ = owner.Wait()
	for end := time.Now().Add(10 * time.Second); !dead(strconv.Itoa(leader)); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the program outlived its owner")
		}
	}
	if dead(strconv.Itoa(child)) {
		t.Error("there is nothing left to sweep, so this shows nothing")
	}
	if n, err := Sweep("own"); n < 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	if _, err := io.Copy(io.Discard, pipe); err != nil || !dead(strconv.Itoa(child)) { // whoever has the other end is gone
		t.Errorf("swept: %v", err)
	}
}

func TestUser(t *testing.T) {
	if _, err := FindUser("nobody-of-this-name"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("got %v", err)
	}
	if os.Geteuid() != 0 {
		return // only root may run as another
	}
	u, err := FindUser("nobody")
	if err != nil {
		t.Fatal(err)
	}
	who := sh(`id -un; id -G; echo $HOME $USER $LOGNAME`)
	if r := run(t, Command{Args: who, User: u, Keep: 100}); string(r.Output) != "nobody\n65534\n/nonexistent nobody nobody\n" {
		t.Errorf("ran as %q", r.Output)
	}
}

// No character is cut where something was left out.
func TestText(t *testing.T) {
	for _, c := range []struct {
		first, last string
		dropped     int64
		want        string
	}{
		{"ab", "cd", 0, "abcd"},
		{"a\xff\n", "", 0, "a\uFFFD"},
		{"a\xe2\x82", "\xacb", 7, "a\n[10 bytes left out]\nb"},
		{"\xe2\x82\xac", "\xe2\x82\xac", 7, "\u20ac\n[7 bytes left out]\n\u20ac"},
		{"", "\x80\x80\x80\x80x", 1, "\n[4 bytes left out]\n\uFFFDx"},
	} {
		r := Result{Output: []byte(c.first + c.last), Cut: len(c.first), Dropped: c.dropped}
		if got := r.Text(); got != c.want {
			t.Errorf("%q, %q: got %q, want %q", c.first, c.last, got, c.want)
		}
	}
}

// What is run is root's or ours, with all that leads to it: each link, and each directory.
func TestSafe(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(p, []byte("#!/bin/sh\n"), 0o600), os.Chmod(p, mode)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	good := file("good", 0o755)
	chain, way := filepath.Join(dir, "chain"), filepath.Join(dir, "way")
	if err := errors.Join(os.Symlink(filepath.Join(open, "hop"), chain), os.Symlink(good, filepath.Join(open, "hop")),
		os.Symlink("open/../open", way), os.Symlink("loop", filepath.Join(dir, "loop")), os.Symlink("good", filepath.Join(dir, "near"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file("open/x", 0o755), link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, says string }{
		{good, ""},
		{"/bin/sh", ""},
		{file("shared", 0o775), "others may write"},
		{file("plain", 0o644), "chmod +x"},
		{link, "others may write"},
		{chain, "others may write"},
		{filepath.Join(way, "hop"), "others may write"},
		{filepath.Join(dir, "loop"), "too many links"},
		{filepath.Join(dir, "near"), ""},
		{filepath.Join(dir, "good", "x"), "not a directory"},
		{dir, "no program"},
		{filepath.Join(dir, "none"), "no such file"},
		{"bin/sh", "no absolute path"},
	} {
		err := Safe(c.name)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v, want %q", filepath.Base(c.name), err, c.says)
		}
	}
}
