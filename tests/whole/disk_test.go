package whole

import (
	"path/filepath"
	"strings"
	"testing"

	"holdfast/connector/wsprnet/simulator"
	"holdfast/face/cli"
	"holdfast/tests/testenv"
)

// TestDiskThatFails lets every sync of something new fail, in a file system that says it has room. By
// itself holdfast starts again until the disk is well; under systemd it ends with 75, and the next start
// goes on. Nothing is lost, nothing is doubled.
func TestDiskThatFails(t *testing.T) {
	t.Parallel()
	disk := testenv.Disk(t, 96<<20)
	r := newRig(t, simulator.Options{Seed: 11, Backlog: 500})
	r.data = filepath.Join(disk.Dir, "data")
	r.run(r.sqlite("local"))
	r.args = append(r.args, "--data-dir", r.data)
	p := r.up()
	r.drained(p)

	disk.Fail()
	r.feedUntil(p, "starting again")
	disk.Heal()
	r.drained(p)
	r.end(p)
	r.balanced()

	p = testenv.Start(t, testenv.Command{Path: testenv.Binary(t), Args: r.args, Dir: r.dir,
		Env: append(r.env(), "INVOCATION_ID=a-unit-of-systemd")})
	r.drained(p)
	disk.Fail()
	r.feedUntil(p, "exit code 75")
	if code := p.Wait(t, soon); code != cli.StorageFailed {
		t.Errorf("under systemd it ended with %d, want %d:\n%s", code, cli.StorageFailed, p.Output())
	}
	disk.Heal()
	p = r.up()
	r.drained(p)
	r.end(p)
	compare(t, "sqlite", r.sqliteRows("local"), r.expected())
	r.balanced()
}

// feedUntil publishes spots until holdfast says what is awaited.
func (r *rig) feedUntil(p *testenv.Process, said string) {
	r.t.Helper()
	testenv.Until(r.t, soon, "it says "+said, func() bool {
		r.sim.Publish(200)
		return strings.Contains(p.Output(), said)
	})
}
