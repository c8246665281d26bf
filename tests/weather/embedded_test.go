package weather

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// sqliteTables reads the tables of a file.
func sqliteTables(path string) tables {
	return func(t testing.TB, table string) (rows []record) {
		t.Helper()
		db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		all, err := db.Query(fmt.Sprintf("SELECT * FROM %q", table))
		if err != nil {
			t.Fatalf("read %s of %s: %v", table, path, err)
		}
		defer all.Close()
		names, err := all.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for all.Next() {
			values, into := make([]any, len(names)), make([]any, len(names))
			for i := range values {
				into[i] = &values[i]
			}
			if err := all.Scan(into...); err != nil {
				t.Fatal(err)
			}
			row := record{}
			for i, name := range names {
				if v := sqliteValue(name, values[i]); v != nil {
					row[name] = v
				}
			}
			rows = append(rows, row)
		}
		if err := all.Err(); err != nil {
			t.Fatal(err)
		}
		return rows
	}
}

// sqliteValue is a value as the other databases give it.
func sqliteValue(name string, v any) any {
	n, whole := v.(int64)
	switch {
	case name == "time" && whole:
		return time.UnixMicro(n).UTC()
	case name == "complete" && whole:
		return n != 0
	case whole:
		return float64(n)
	}
	return v
}

// hosted is a station without any server: one of its roles hosts the broker, and the database is a file.
func hosted(t *testing.T, s shape, host string) *station {
	t.Helper()
	st := bare(t)
	st.secret = ""
	s.write(t, st.input)
	addr := testenv.Address(t)
	for _, name := range []string{streamer, ingester, processor} {
		r := st.role(name)
		r.binary = testenv.PlainBinary(t)
		if r.args = append(r.args, "--once"); name != streamer {
			r.args = append(r.args, "--database", "sqlite:"+st.path("weather.sqlite"))
		}
		if name == host {
			r.args = append(r.args, "--broker-listen", addr)
		} else {
			r.args = append(r.args, "--broker", "nats://"+addr)
		}
	}
	return st
}

// finishFile waits for the end of the stream, and compares the file with the data set.
func (s *station) finishFile() {
	s.t.Helper()
	s.done()
	s.expected().check(s.t, sqliteTables(s.path("weather.sqlite")))
	s.balanced(streamer, ingester, processor)
}

// TestEmbedded has nothing installed but holdfast: one role hosts the broker, whichever it is, and the database is a
// file that they share.
func TestEmbedded(t *testing.T) {
	for _, host := range testenv.Some(t, 1, brokerRoles) {
		t.Run("hosted by the "+host, func(t *testing.T) {
			t.Parallel()
			s := hosted(t, shape{seed: testenv.Seed(t), hours: 24, zips: 60}, host)
			s.with(streamer, "--speedup", "max", "--batch", "20")
			for _, name := range []string{processor, ingester, streamer} {
				s.roles[name].again()
			}
			s.finishFile()
		})
		t.Run("hosted by the "+host+", which is killed", func(t *testing.T) {
			t.Parallel()
			s := hosted(t, shape{seed: testenv.Seed(t), hours: 12, zips: 60}, host)
			s.with(streamer, "--interval", "300ms", "--batch", "20")
			for _, name := range []string{processor, ingester, streamer} {
				s.roles[name].again()
			}
			for range 3 {
				r := s.roles[ingester]
				before, _ := r.status()
				r.await("more rows are taken in", func(st engine.Status) bool {
					return st.Balance.Accepted > before.Balance.Accepted
				})
				s.roles[host].p.Kill()
				s.roles[host].again()
			}
			s.finishFile()
		})
	}
}

// TestOneProcess is the shortest way: one pass in one process, into the file that it names itself. A second one with
// another data set goes on there.
func TestOneProcess(t *testing.T) {
	t.Parallel()
	s := bare(t)
	seed, data := testenv.Seed(t), s.path("data")
	s.passes([]shape{{seed: seed, hours: 24, zips: 60}, {seed: seed + 1, from: theDay.AddDate(0, 0, 1), hours: 24, zips: 60}},
		filepath.Join(data, "weather.sqlite"), func(input string) {
			s.run("weather", "all", "--input", input, "--once", "--speedup", "max", "--data-dir", data)
		})
	if a := s.command("audit", "--deep", "--data-dir", data); a.code != 0 {
		t.Errorf("audit ended with %d:\n%s%s", a.code, a.out, a.err)
	}
}

// passes streams data sets one behind the other, and compares the file with all of them after each.
func (s *station) passes(sets []shape, file string, stream func(input string)) {
	s.t.Helper()
	text := ""
	for i, set := range sets {
		input := s.path(fmt.Sprintf("set%d.csv", i))
		set.write(s.t, input)
		more, err := os.ReadFile(input)
		if err != nil {
			s.t.Fatal(err)
		}
		_, rows, _ := strings.Cut(string(more), "\n")
		if text += rows; i == 0 {
			text = string(more)
		}
		stream(input)
		expect(s.t, text).check(s.t, sqliteTables(file))
	}
}

// TestAnotherDataSet: roles that are done, and started again before the streamer comes with another data set, wait for
// it and go on; also if the broker keeps what was said last of the one before.
func TestAnotherDataSet(t *testing.T) {
	for name, flags := range map[string][]string{"lossy": nil, "kept": {"--broker-streams"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := testenv.Seed(t)
			s := hosted(t, shape{seed: seed, hours: 1, zips: 1}, ingester)
			for _, r := range s.roles {
				r.args = append(r.args, flags...)
			}
			first := s.roles[streamer].args
			s.passes([]shape{{seed: seed, hours: 6, zips: 60}, {seed: seed + 1, from: theDay.AddDate(0, 0, 1), hours: 6, zips: 60}},
				s.path("weather.sqlite"), func(input string) {
					s.roles[streamer].args = append(slices.Clone(first), "--speedup", "max", "--input", input)
					for _, name := range []string{ingester, processor} {
						s.roles[name].again()
					}
					s.roles[processor].await("it hears", func(st engine.Status) bool { return gateOf(st, brokerGate).Open })
					s.roles[streamer].again()
					s.done()
				})
			s.balanced(streamer, ingester, processor)
		})
	}
}

// TestRedisStreams is the whole run over a broker that keeps messages, which ends and comes back in the middle of it.
func TestRedisStreams(t *testing.T) {
	t.Parallel()
	s := newStation(t, shape{seed: testenv.Seed(t), hours: 12, zips: 60})
	s.plain()
	s.kept()
	s.with(streamer, "--interval", "200ms", "--batch", "20")
	for _, name := range []string{server, processor, ingester, streamer} {
		s.roles[name].start()
	}
	s.roles[ingester].await("rows are taken in", func(st engine.Status) bool { return st.Balance.Accepted > 100 })
	s.redis.Kill()
	s.redis.Restart()
	s.finish()
	for _, name := range brokerRoles { // what is done is not done again, and nobody waits for who has ended
		s.roles[name].again()
	}
	s.done()
	s.checkInflux()
	s.roles[processor].again() // also when it is alone
	s.done(processor)
}

// TestHostLeavesLast: a role that hosts the broker and is done stays until the others are.
func TestHostLeavesLast(t *testing.T) {
	t.Parallel()
	s := hosted(t, shape{seed: testenv.Seed(t), hours: 6, zips: 60}, streamer)
	s.with(streamer, "--speedup", "max", "--batch", "20")
	s.roles[streamer].again()
	s.roles[processor].again()
	s.roles[processor].await("it runs", func(st engine.Status) bool { return gateOf(st, brokerGate).Open })
	s.roles[processor].p.Freeze()
	s.roles[ingester].again()
	testenv.Until(t, soon, "the streamer is done", func() bool {
		return strings.Contains(s.roles[streamer].p.Output(), "all is done")
	})
	s.roles[processor].p.Thaw()
	s.finishFile()
}
