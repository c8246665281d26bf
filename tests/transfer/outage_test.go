package transfer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/tests/testenv"
	"holdfast/tests/testenv/frames"
)

// steps of a file's way at which something goes away.
var steps = []string{"lock", "ship", "verify", "rename", "record", "unlock"}

// way is how a server, or the link to it, goes away and comes back.
type way struct {
	closes bool // the gate says so, until it is mended
	loses  bool // what was on its way
	strike func(s *side)
	mend   func(s *side)
}

// ways that each server can be away.
var ways = map[string]way{
	"cut": {closes: true, loses: true, strike: func(s *side) { s.proxy.Down() }, mend: func(s *side) { s.proxy.Up() }},
	"slow": {strike: func(s *side) {
		s.proxy.Toxic(s.o.t, "late", "latency", "downstream", map[string]any{"latency": 100})
		s.proxy.Toxic(s.o.t, "narrow", "bandwidth", "upstream", map[string]any{"rate": 200})
	}, mend: func(s *side) {
		s.proxy.Remove(s.o.t, "late")
		s.proxy.Remove(s.o.t, "narrow")
	}},
	// Connections stay, and nothing comes through. When it is over none of them goes on: the proxy has dropped what it got.
	"black hole": {closes: true, loses: true, strike: func(s *side) {
		s.proxy.Toxic(s.o.t, "up", "timeout", "upstream", map[string]any{"timeout": 0})
		s.proxy.Toxic(s.o.t, "down", "timeout", "downstream", map[string]any{"timeout": 0})
	}, mend: func(s *side) {
		s.proxy.Down()
		s.proxy.Remove(s.o.t, "up")
		s.proxy.Remove(s.o.t, "down")
		s.proxy.Up()
	}},
	"reset": {closes: true, loses: true, strike: func(s *side) {
		s.proxy.Toxic(s.o.t, "reset", "reset_peer", "upstream", map[string]any{"timeout": 0})
	}, mend: func(s *side) { s.proxy.Remove(s.o.t, "reset") }},
	"killed":    {closes: true, loses: true, strike: func(s *side) { s.server.Kill() }, mend: func(s *side) { s.server.Restart() }},
	"frozen":    {closes: true, strike: func(s *side) { s.server.Freeze() }, mend: func(s *side) { s.server.Thaw() }},
	"restarted": {loses: true, strike: func(s *side) { s.server.Restart() }, mend: func(*side) {}},
}

// side is a server, and what stands in front of it.
type side struct {
	o      *outpost
	gate   string
	server faulty
	proxy  *testenv.FaultyProxy
	tap    *tap
}

// faulty is what testenv's servers have in common.
type faulty interface {
	Kill()
	Restart()
	Freeze()
	Thaw()
}

// outpost is an observatory with two destinations, a remote one and a disk, and a database.
type outpost struct {
	*observatory
	spare            string
	centre, database *side
	files            int
}

func newOutpost(t *testing.T) *outpost {
	t.Helper()
	o := &outpost{observatory: newPlace(t, t.TempDir())}
	o.observatory.database()
	o.sshd = testenv.SSHD(t, testenv.SSHDOptions{})
	o.centre = o.side("remote", o.sshd, o.sshd.Addr())
	o.database = o.side("ledger", o.pg, o.pg.Addr())
	o.spare = filepath.Join(o.dir, "spare")
	if err := os.Mkdir(o.spare, 0o755); err != nil {
		t.Fatal(err)
	}
	o.gateway(o.centre.tap.addr)
	config := filepath.Join(o.dir, "holdfast.yaml")
	o.file(config, fmt.Sprintf(`
jobs:
  frames:
    transfer:
      from: %s
      to:
        remote: {sftp: {host: gateway, directory: %s, silence: 2s, connect_timeout: 3s}}
        spare: {directory: {path: %s}}
      layout: keep
      attempts: 1
      ledger: {postgres: {host: 127.0.0.1, port: %d, user: postgres, name: postgres, table: goto, timeout: 3s}}
`, o.from, o.to, o.spare, portOf(t, o.database.tap.addr)))
	o.args = []string{"run", "-c", config, "--listen", "none"}
	return o
}

func (o *outpost) side(gate string, server faulty, addr string) *side {
	o.t.Helper()
	proxy := testenv.Proxy(o.t, addr)
	return &side{o: o, gate: gate, server: server, proxy: proxy, tap: newTap(o.t, proxy.Addr())}
}

// TestOutages takes the data centre, the database, and the links to them away, in each of the ways that they can be away, at each
// step of a file. Nobody does anything, and all is there once in the end; meanwhile the gate says why, the other destination
// goes on, and no attempt is spent.
func TestOutages(t *testing.T) {
	t.Parallel()
	var cells []string
	for name := range ways {
		for _, step := range steps {
			cells = append(cells, name+" at "+step)
		}
	}
	slices.Sort(cells)
	for name, of := range map[string]func(o *outpost) *side{"the data centre": func(o *outpost) *side { return o.centre },
		"the database": func(o *outpost) *side { return o.database }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOutpost(t)
			o.start()
			rnd := rand.New(rand.NewPCG(testenv.Seed(t), 3))
			for _, cell := range testenv.Some(t, 3, cells) {
				how, step, _ := strings.Cut(cell, " at ")
				o.outage(of(o), how, step, rnd)
				if t.Failed() {
					t.Fatalf("at %q", cell)
				}
			}
			o.stop()
			o.checkPlace(o.to)
			o.checkPlace(o.spare)
			o.checkLedger(2)
			o.checkSource()
		})
	}
}

// outage takes a side away in a way when a file comes to a step.
func (o *outpost) outage(s *side, how, step string, rnd *rand.Rand) {
	o.t.Helper()
	o.until("all gates were open for a while", func(s engine.Status) bool { // else they open later and later
		return !slices.ContainsFunc(s.Gates, func(g gate.Status) bool {
			return !g.Open || time.Since(g.Since) < 1100*time.Millisecond
		})
	})
	w, answer := ways[how], rnd.IntN(2) == 1
	began := time.Now()
	lost := s.tap
	if !w.loses {
		lost = nil
	}
	m := o.arm(step, lost, answer, rnd)
	defer m.release()
	o.write(m.name, frames.Noise(rnd, momentSize))
	select {
	case <-m.reached:
	case <-o.p.Ended():
		o.t.Fatalf("it ended:\n%s", o.p.Output())
	case <-time.After(soon):
		o.t.Fatalf("no file came to the step within %v:\n%s", soon, o.p.Output())
	}
	w.strike(s)
	m.release()
	for i := range 3 {
		o.write(fmt.Sprintf("%s.%d", m.name, i), frames.Noise(rnd, 1000+rnd.IntN(20_000)))
	}
	o.files += 4
	if w.closes {
		o.closed(s.gate, "outage")
		if s == o.centre {
			testenv.Until(o.t, soon, "the other destination has all", func() bool { return len(whole(o.t, o.spare)) == o.files })
		}
	} else if how == "slow" {
		o.await(o.files)
	}
	w.mend(s)
	mended := time.Now()
	status := o.await(o.files)
	o.noneDead()
	for _, g := range status.Gates {
		if late := g.Since.Sub(mended); !g.Open || late > 10*time.Second {
			o.t.Errorf("gate %s: open %v, %v after the end of the outage: %s", g.Name, g.Open, late, g.Cause)
		}
	}
	o.t.Logf("%s %s at %s (answer %v): %v, %v of them after it was mended", s.gate, how, step, answer,
		time.Since(began).Round(time.Millisecond), time.Since(mended).Round(time.Millisecond))
}

// moment is when a file comes to a step. Whoever reads along is held up then, until it is released.
type moment struct {
	name    string // of the file
	reached chan struct{}
	release func()
}

// momentSize is how many bytes the file of a moment has.
const momentSize = 300_000

// arm waits for a file, which is to be written now, to come to a step: before the servers hear of it, or when they answer. What
// goes through the tap that is lost then, goes no further.
func (o *outpost) arm(step string, lost *tap, answer bool, rnd *rand.Rand) *moment {
	m := &moment{name: fmt.Sprintf("n%d/f%05d.dat", o.files%10, o.files), reached: make(chan struct{})}
	struck := make(chan struct{})
	m.release = sync.OnceFunc(func() { close(struck) })
	is := o.recognise(step, m.name, rnd)
	var mu sync.Mutex
	var due, done bool
	watch := func(which *tap) watcher {
		var asked bool // by this way
		return func(up bool, part []byte) bool {
			mu.Lock()
			if up && !done && !due && is(which == o.centre.tap, part) {
				due, asked = true, true
			}
			now := due && !done && asked && up != answer
			done = done || now
			mu.Unlock()
			if !now {
				return true
			}
			close(m.reached)
			<-struck
			return which != lost
		}
	}
	o.centre.tap.watch(watch(o.centre.tap))
	o.database.tap.watch(watch(o.database.tap))
	return m
}

// recognise tells the step of a file by what goes to the servers: by its words in SQL, and by how much went over SSH, which nobody
// can read.
func (o *outpost) recognise(step, name string, rnd *rand.Rand) func(ssh bool, part []byte) bool {
	source, there := []byte(filepath.Join(o.from, name)), []byte(filepath.Join(o.to, name))
	sent, after, behind := 0, 0, 0
	switch step {
	case "verify":
		behind = 1
	case "rename":
		behind = 2 + rnd.IntN(3) // syncing, linking and removing are some parts
	}
	return func(ssh bool, part []byte) bool {
		if ssh {
			if sent += len(part); sent >= momentSize {
				after++
			}
		}
		switch step {
		case "lock":
			return !ssh && bytes.Contains(part, source) && bytes.Contains(part, []byte("FOR UPDATE"))
		case "ship":
			return ssh && sent >= momentSize/2
		case "verify", "rename":
			return ssh && after > behind
		case "record":
			return !ssh && bytes.Contains(part, there)
		}
		return !ssh && bytes.Contains(part, source) && bytes.Contains(part, []byte("WITH gone"))
	}
}
