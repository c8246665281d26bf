package whole

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/connector/wsprnet/simulator"
	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// TestSecondProcessIsRefused starts a second process on a data directory: it ends at once and names
// the first, also after the first and others have read every file of the store.
func TestSecondProcessIsRefused(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 2, Backlog: 500, PageLimit: 50})
	r.run(r.sqlite("local"))
	p := r.up()
	r.drained(p)
	refused := func(when string) {
		t.Helper()
		began := time.Now()
		a := r.ask(r.args...)
		took := time.Since(began)
		if a.code != 1 || !strings.Contains(a.err, "process "+strconv.Itoa(p.PID())) {
			t.Errorf("%s: the second process ended with %d, want 1 and process %d named:\n%s", when, a.code,
				p.PID(), a.err)
		}
		if took > replayWithin() { // a second, on a quiet machine
			t.Errorf("%s: the second process took %v to end", when, took)
		}
	}
	refused("at first")
	readAll(t, r.data)
	refused("when others had read every file")
	// Now the owner itself opens and closes every file of the store.
	r.must("checkpoint", "create", "--name", "one")
	r.must("checkpoint", "verify", "one")
	r.must("checkpoint", "export", job, "one", r.path("backup"))
	r.must("spool", "verify")
	r.must("audit", "--deep")
	refused("when the owner had read every file")
	r.sim.Publish(100)
	r.drained(p)
	r.end(p)
	compare(t, "sqlite", r.sqliteRows("local"), r.expected())
}

// readAll opens, reads and closes every file below a directory.
func readAll(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // it went away, or is no file
		}
		f, err := os.Open(path)
		if err != nil {
			return nil
		}
		_, err = io.Copy(io.Discard, f)
		files++
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		return err
	})
	if err != nil || files < 5 {
		t.Fatalf("read %d files of %s: %v", files, dir, err)
	}
}

// TestTermDrains ends holdfast by SIGTERM in the midst of work; the next start goes on from there.
func TestTermDrains(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Seed: 2, Backlog: 4000, PageLimit: 50})
	r.run(r.sqlite("local", "batch: {rows: 100, every: 10ms}"))
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := r.start()
		p.WaitFor(t, "Inserted|replayed", soon)
		p.Signal(sig)
		code := p.Wait(t, soon)
		if code != 0 || !strings.Contains(p.Output(), "finishing what is under way") {
			t.Errorf("%v: it ended with %d, want 0:\n%s", sig, code, p.Output())
		}
		if a := r.audit(true); !a.Balanced {
			t.Errorf("audit after %v: %+v", sig, a)
		}
		if _, err := os.Stat(filepath.Join(r.data, "control.sock")); err == nil {
			t.Errorf("%v: the control socket is still there", sig)
		}
		r.sim.Publish(1000)
	}
	p := r.up()
	r.drained(p)
	r.end(p)
	compare(t, "sqlite", r.sqliteRows("local"), r.expected())
}

// TestSecondSignalEndsAtOnce signals twice while a delivery hangs.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	ch := testenv.ClickHouse(t)
	proxy := testenv.Proxy(t, ch.Addr())
	r := newRig(t, simulator.Options{Seed: 2, Backlog: 100, PageLimit: 50})
	patient := strings.Replace(string(clickHouse("main", proxy.Addr())), "timeout: 4s",
		"timeout: 90s", 1)
	r.run(sinkText(patient))
	p := r.up()
	r.drained(p)
	proxy.Toxic(t, "hole", "timeout", "upstream", map[string]any{"timeout": 0})
	r.sim.Publish(100)
	r.await(p, "a delivery hangs", func(s engine.Status) bool {
		return sinkOf(s, "main").Pending == 100
	})
	p.Term()
	p.WaitFor(t, "finishing what is under way", soon)
	began := time.Now()
	p.Term()
	code := p.Wait(t, soon)
	if took := time.Since(began); code != 1 || took > 5*time.Second { // it waits 10 s for the delivery
		t.Errorf("the second signal: it ended with %d after %v, want 1 at once:\n%s", code, took,
			p.Output())
	}
	proxy.Remove(t, "hole")
	p = r.up()
	r.drained(p)
	r.end(p)
	compare(t, "clickhouse", clickHouseRows(t, ch), r.expected())
	r.balanced()
}

// TestQuitShowsGoroutines asks for the stacks; the store is whole after it.
func TestQuitShowsGoroutines(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Seed: 2, Backlog: 1000, PageLimit: 50})
	r.run(r.sqlite("local"))
	p := r.start()
	p.WaitFor(t, "Inserted|replayed", soon)
	p.Signal(syscall.SIGQUIT)
	if code := p.Wait(t, soon); code != 1 || strings.Count(p.Stderr(), "\ngoroutine ") < 5 ||
		!strings.Contains(p.Stderr(), "collect.(*delivery)") {
		t.Errorf("SIGQUIT: it ended with %d, want 1 and the stacks:\n%s", code, p.Output())
	}
	p = r.up()
	r.drained(p)
	r.end(p)
	compare(t, "sqlite", r.sqliteRows("local"), r.expected())
}
