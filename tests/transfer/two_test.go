package transfer

import (
	"database/sql"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	_ "modernc.org/sqlite" // as the product has it

	"holdfast/connector"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/tests/testenv"
	"holdfast/tests/testenv/frames"
)

// pair are two Holdfasts on one directory, with one ledger.
type pair struct {
	*observatory // the first
	second       *observatory
	query        func(text string) string // asks the ledger
	link         *testenv.FaultyProxy     // of both to the remote host
	table        string
}

// TestTwoHoldfasts: of two on one directory with one ledger each file is brought by one, once; and when one is killed while it
// brings files, the other takes them over as soon as its claims are stale, and what the dead one left half done is no hindrance.
func TestTwoHoldfasts(t *testing.T) {
	t.Parallel()
	ledgers := map[string]func(*testing.T) *pair{"PostgreSQL": twoWithPostgres, "SQLite": twoWithSQLite}
	for _, name := range testenv.Some(t, 1, slices.Sorted(maps.Keys(ledgers))) {
		make := ledgers[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := make(t)
			rnd := rand.New(rand.NewPCG(testenv.Seed(t), 7))
			both := []*observatory{p.observatory, p.second}
			p.start()
			p.until("it has asked the ledger", func(s engine.Status) bool {
				return slices.ContainsFunc(s.Gates, func(g gate.Status) bool { return g.Name == "ledger" && g.Open })
			})
			owner := p.query("select owner from goto_holdfast_owners")
			p.second.start()
			p.second.watches()
			files := 0
			write := func(n, size int) {
				for range n {
					p.write(fmt.Sprintf("d%d/f%04d.dat", files%3, files), frames.Noise(rnd, 1+rnd.IntN(size)))
					files++
				}
			}
			write(40, 50_000)
			for _, o := range both {
				o.await(files)
				o.noneDead()
			}
			shipped := func(o *observatory) (n int64) {
				s, _, _ := o.status()
				for _, q := range s.Balance.Queues {
					if q.Queue == "ship-remote" {
						n = q.Put
					}
				}
				return n
			}
			one, two := shipped(p.observatory), shipped(p.second)
			t.Logf("one brought %d files, the other %d", one, two)
			if one+two != int64(files) {
				t.Errorf("%d and %d files were brought, want each of %d by one", one, two, files)
			}
			p.link.Toxic(t, "narrow", "bandwidth", "upstream", map[string]any{"rate": 500}) // or it takes no time at all
			write(16, 2_000_000)
			p.until("it has claimed some, and not brought them", func(s engine.Status) bool {
				return s.Balance.Queues[1].Open() > 0
			})
			p.p.Kill()
			p.link.Remove(t, "narrow")
			killed := time.Now()
			if !testenv.Torture() { // else it is waited for
				p.stale(owner)
			}
			p.second.await(files)
			t.Logf("the other has all %v after the kill", time.Since(killed).Round(time.Millisecond))
			p.second.noneDead()
			p.start() // it finds that all is done
			p.await(files)
			p.noneDead()
			for _, o := range both {
				o.stop()
			}
			p.checkPlace(p.to)
			p.checkSource()
			p.second.checkSource()
			for table, want := range map[string]int{"": files, "_holdfast_files": files, "_holdfast_locks": 0} {
				if got := p.count(table); got != fmt.Sprint(want) {
					t.Errorf("table %s%s has %s rows, want %d", p.table, table, got, want)
				}
			}
		})
	}
}

func (p *pair) count(table string) string { return p.query("select count(*) from " + p.table + table) }

// stale makes an owner's claims as old as they would be a minute later.
func (p *pair) stale(owner string) {
	p.t.Helper()
	by := fmt.Sprint(connector.StaleAfter.Microseconds())
	if p.pg != nil {
		by = fmt.Sprintf("interval '%d seconds'", int(connector.StaleAfter.Seconds()))
	}
	p.query("update goto_holdfast_owners set renewed_at = renewed_at - " + by + " where owner = '" + owner + "' returning 1")
}

// newPair has two Holdfasts with the flags of a ledger.
func newPair(t *testing.T, o *observatory, ledger []string) *pair {
	t.Helper()
	link := testenv.Proxy(t, o.sshd.Addr())
	o.gateway(link.Addr())
	o.args = append([]string{"transfer", o.from, o.remote(), "--after", "keep"}, ledger...)
	other := newPlace(t, t.TempDir())
	other.from, other.to, other.sshd, other.dir, other.args = o.from, o.to, o.sshd, o.dir, o.args
	return &pair{observatory: o, second: other, link: link, table: "goto"}
}

func twoWithPostgres(t *testing.T) *pair {
	t.Helper()
	o := newObservatory(t, testenv.SSHDOptions{})
	p := newPair(t, o, o.ledger())
	p.query = func(text string) string { return o.pg.Query(t, text) }
	return p
}

func twoWithSQLite(t *testing.T) *pair {
	t.Helper()
	o := newPlace(t, t.TempDir())
	o.sshd = testenv.SSHD(t, testenv.SSHDOptions{})
	path := filepath.Join(o.dir, "shared.sqlite")
	p := newPair(t, o, nil)
	config := filepath.Join(o.dir, "holdfast.yaml")
	o.file(config, fmt.Sprintf("jobs: {frames: {transfer: {from: %s, to: %q, ledger: {sqlite: {path: %s, table: goto}}}}}\n",
		o.from, o.remote(), path))
	o.args = []string{"run", "-c", config, "--listen", "none"}
	p.second.args = o.args
	p.query = func(text string) (answer string) {
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(20000)")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.QueryRow(text).Scan(&answer); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return answer
	}
	return p
}
