package action

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/base/process"
	"holdfast/job/supervise/rule"
)

// Lines are ours by what journald says of who wrote them.
func TestOrigin(t *testing.T) {
	now := time.Now()
	o := &Origins{self: self{pid: "100", boot: "b", invocation: "inv", unit: "holdfast.service"}, runs: []*origin{
		{id: "long", mark: "m1", group: process.GroupOf("m1"), pid: 201, begun: now.Add(-time.Hour)},
		{id: "over", mark: "m2", group: process.GroupOf("m2"), pid: 202, begun: now.Add(-5 * time.Second), ended: now.Add(-4 * time.Second)},
	}}
	for _, c := range []struct {
		what   string
		fields string
		at     time.Duration
		want   string
	}{
		{"a line of a file", "_PATH=/x", 0, ""},
		{"another's", "_PID=7 _BOOT_ID=b _SYSTEMD_UNIT=other.service _SYSTEMD_INVOCATION_ID=other", 0, ""},
		{"our own log", "_PID=100 _BOOT_ID=b", 0, Self},
		{"who had our number in another life of the machine", "_PID=100 _BOOT_ID=c", 0, ""},
		{"a program", "_PID=201 _BOOT_ID=b", 0, "long"},
		{"one that has ended", "_PID=202 _BOOT_ID=b", -4 * time.Second, "over"},
		{"who has its number now", "_PID=202 _BOOT_ID=b _SYSTEMD_UNIT=other.service", 0, ""},
		{"what a program started, by its group", "_PID=999 _BOOT_ID=b _SYSTEMD_CGROUP=/system.slice/holdfast.service/" + process.GroupOf("m2"), 0, "over"},
		{"what a program started, by our unit", "_PID=999 _BOOT_ID=b _SYSTEMD_INVOCATION_ID=inv", 0, "long"},
		{"and when another one ran too", "_PID=999 _BOOT_ID=b _SYSTEMD_INVOCATION_ID=inv", -4500 * time.Millisecond, "over"},
		{"who ended before journald looked", "_PID=999 _BOOT_ID=b", 0, "long"},
		{"who did too, and is older than the program", "_PID=150 _BOOT_ID=b", 0, ""},
		{"who did too, when nothing ran", "_PID=999 _BOOT_ID=b", -2 * time.Hour, ""},
		{"our unit, before all that is known", "_PID=999 _BOOT_ID=b _SYSTEMD_UNIT=holdfast.service", -2 * time.Hour, Self},
	} {
		fields := map[string]string{}
		for f := range strings.FieldsSeq(c.fields) {
			name, value, _ := strings.Cut(f, "=")
			fields[name] = value
		}
		if got := o.Of(fields, now.Add(c.at)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
}

// What a program that runs has started is known by its mark, and which files it writes to by the kernel.
func TestOriginOfProcesses(t *testing.T) {
	dir := t.TempDir()
	out, end := filepath.Join(dir, "out"), filepath.Join(dir, "end")
	tools := &Tools{Life: "life" + t.Name(), Origins: NewOrigins()}
	tools.Origins.self.unit = ""
	done := make(chan Outcome)
	go func() {
		c := rule.Call{ID: "a/b", Timeout: time.Minute,
			Run: sh(fmt.Sprintf(`exec 3>>%s; (sh -c 'echo $$ >&3; exec sleep 600') & while ! [ -e %s ]; do sleep 0.01; done; kill $!`, out, end))}
		o, _ := tools.Do(t.Context(), &c)
		done <- o
	}()
	var pid string
	for begun := time.Now(); pid == "" && time.Since(begun) < 20*time.Second; time.Sleep(time.Millisecond) {
		b, _ := os.ReadFile(out)
		pid = strings.TrimSpace(string(b))
	}
	if n, err := strconv.Atoi(pid); err != nil || n == 0 {
		t.Fatalf("no process: %q", pid)
	}
	if got := tools.Origins.Of(map[string]string{"_PID": pid}, time.Now()); got != "a/b" {
		t.Errorf("its child wrote for %q", got)
	}
	if got := tools.Origins.Writes(out); got != "a/b" {
		t.Errorf("%q writes to its file", got)
	}
	if got := tools.Origins.Writes(end); got != "" {
		t.Errorf("%q writes to another", got)
	}
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if o := <-done; o.Failed != "" {
		t.Errorf("got %+v", o)
	}
	if got := tools.Origins.Writes(out); got != "" {
		t.Errorf("%q writes to its file behind its end", got)
	}
}
