package postgres

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/ledgertest"
	"holdfast/tests/testenv"
)

func TestLedgerValidate(t *testing.T) {
	good := LedgerConfig{DSN: "postgres://u:geheim123@h/x", Owner: "one"}
	for _, c := range []struct {
		change func(c *LedgerConfig)
		want   string
	}{
		{func(*LedgerConfig) {}, ""},
		{func(c *LedgerConfig) { c.DSN, c.Host, c.User, c.Name, c.Port = "", "h", `o'b\`, "a b", 5432 }, ""},
		{func(c *LedgerConfig) { c.Table = "goto.frames" }, ""},
		{func(c *LedgerConfig) { c.Host = "h" }, "dsn: stands beside host"},
		{func(c *LedgerConfig) { c.DSN = "postgres://u:geheim123@h:geheim123/x" }, "dsn: it can't be read"},
		{func(c *LedgerConfig) { c.DSN, c.Port = "", 70000 }, "port: got 70000"},
		{func(c *LedgerConfig) { c.Table = strings.Repeat("x", 48) }, "table: got"},
		{func(c *LedgerConfig) { c.Table = ".x" }, "table: schema: got"},
		{func(c *LedgerConfig) { c.Table = "x." }, "table: got"},
		{func(c *LedgerConfig) { c.Columns = map[string]string{"tel": "int; drop table x"} }, "columns: tel: got"},
		{func(c *LedgerConfig) { c.Timeout = -1 }, "timeout: got -1ns"},
		{func(c *LedgerConfig) { c.Owner = "" }, "owner: missing"},
	} {
		cfg := good
		c.change(&cfg)
		errs := cfg.Validate()
		if c.want == "" && len(errs) > 0 || c.want != "" && (len(errs) != 1 ||
			!strings.HasPrefix(errs[0].Error(), c.want)) {
			t.Errorf("%+v: got %v, want %q", cfg, errs, c.want)
		}
		if _, err := OpenLedger(cfg); strings.Contains(fmt.Sprint(err, errs), "geheim123") ||
			(err == nil) != (c.want == "") {
			t.Errorf("%+v: open: got %v", cfg, err)
		}
	}
}

// ledgerPassword: the flags of rawtransfer, its password file, and what else libpq knows.
func ledgerPassword(t *testing.T, pg *testenv.PostgresServer) {
	r := newLedgerRig(t, pg)
	host, port, err := net.SplitHostPort(r.pg.Addr())
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	file := filepath.Join(home, ".pgpass")
	if err := os.WriteFile(file, []byte(host+":"+port+":postgres:writer:geheim123\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(port)
	for name, c := range map[string]struct {
		cfg LedgerConfig
		env map[string]string
	}{
		"flags and ~/.pgpass": {LedgerConfig{Host: host, Port: n, User: "writer", Name: "postgres"},
			map[string]string{"HOME": home}},
		"dsn and ~/.pgpass": {LedgerConfig{DSN: secret.Text(r.pg.DSN(r.pg.Addr(), "writer", ""))},
			map[string]string{"HOME": home}},
		"variables": {LedgerConfig{}, map[string]string{"HOME": t.TempDir(), "PGHOST": host, "PGPORT": port,
			"PGUSER":     "writer",
			"PGDATABASE": "postgres", "PGPASSWORD": "geheim123"}},
		"another file": {LedgerConfig{Host: host, User: "writer", Name: "postgres"},
			map[string]string{"HOME": t.TempDir(), "PGPORT": port,
				"PGPASSFILE": file}},
	} {
		t.Run(name, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			c.cfg.Table, c.cfg.Create, c.cfg.Owner, c.cfg.Timeout = r.table, true, "one", 10*time.Second
			l, err := OpenLedger(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if err := l.Check(t.Context(), nil); err != nil {
				t.Errorf("%v (%v)", err, fault.KindOf(err))
			}
			want := "postgres://writer@" + r.pg.Addr() + "/postgres table wspr.goto"
			if got := l.Traits().Name; got != want {
				t.Errorf("its name is %s, want %s", got, want)
			}
		})
	}
}

// ledgerErrors: each has its kind, and the SQL of its hint puts it right.
func ledgerErrors(t *testing.T, pg *testenv.PostgresServer) {
	for _, c := range []struct{ name, sql, want, hint string }{
		{"no table", "DROP TABLE wspr.goto", "there is no such table", "CREATE TABLE"},
		{"no right to make it",
			"DROP TABLE wspr.goto; ALTER SCHEMA wspr OWNER TO postgres; GRANT USAGE ON SCHEMA wspr TO writer",
			"no right to make", "GRANT USAGE, CREATE ON SCHEMA"},
		{"no metadata", "ALTER TABLE wspr.goto DROP run", "it has no column run",
			`ALTER TABLE "wspr"."goto" ADD COLUMN "run" int;`},
		{"no column", "ALTER TABLE wspr.goto DROP filepath", "it has no column filepath", "ALTER TABLE"},
		{"no key", "ALTER TABLE wspr.goto DROP CONSTRAINT goto_pkey", "no unique index", "ALTER TABLE"},
		{"one needed more", "ALTER TABLE wspr.goto ADD more text NOT NULL", "column more must not be null",
			"ALTER TABLE"},
		{"another type", "ALTER TABLE wspr.goto ALTER filepath TYPE integer USING 1",
			"column filepath is integer", "ALTER TABLE"},
		{"no right", "ALTER TABLE wspr.goto OWNER TO postgres; GRANT SELECT, INSERT ON wspr.goto TO writer",
			"no right to read", "GRANT"},
		{"no right to the schema",
			"REVOKE ALL ON SCHEMA wspr FROM writer; ALTER SCHEMA wspr OWNER TO postgres", "permission denied",
			"GRANT USAGE"},
		{"no right beside it",
			"CREATE TABLE wspr.goto_holdfast_files (x int); CREATE TABLE wspr.goto_holdfast_locks (x int); " +
				"CREATE TABLE wspr.goto_holdfast_owners (x int)", "no right to use", "GRANT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newLedgerRig(t, pg)
			r.documented(t)
			r.pg.Query(t, "ALTER TABLE wspr.goto OWNER TO writer;"+c.sql)
			cfg := r.config("one")
			r.asWriter(&cfg)
			cfg.Create = c.name == "no right to make it"
			l, err := OpenLedger(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			err = l.Check(t.Context(), ledgertest.Columns)
			hint := fault.HintOf(err)
			if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), c.want) ||
				!strings.Contains(hint, c.hint) {
				t.Fatalf("got %v (%v), hint %s; want %s, hint %s", err, fault.KindOf(err), hint, c.want, c.hint)
			}
			if c.name == "no right beside it" {
				return // their columns are wrong too
			}
			_, text, ok := strings.Cut(hint, "make it: ")
			if !ok || c.name == "no right to make it" {
				text, _, _ = strings.Cut(hint, " or make it")
			}
			if strings.Contains(c.hint, "CREATE TABLE") {
				_, text, _ = strings.Cut(hint, "make it: ")
				text = "SET ROLE writer; " + text
			}
			r.pg.Query(t, text)
			if err := l.Check(t.Context(), ledgertest.Columns); err != nil {
				t.Errorf("after %s: %v", text, err)
			}
		})
	}
	r := newLedgerRig(t, pg)
	for name, c := range map[string]struct {
		dsn  string
		want fault.Kind
	}{
		"wrong password": {r.pg.DSN(r.pg.Addr(), "writer", "falsch456"), fault.Credentials},
		"no password":    {r.pg.DSN(r.pg.Addr(), "writer", ""), fault.Credentials},
		"no server":      {r.pg.DSN("127.0.0.1:1", "writer", "falsch456"), fault.Transient},
		"no database": {strings.Replace(r.pg.DSN(r.pg.Addr(), "postgres", ""), "/postgres?", "/none?", 1),
			fault.Permanent},
	} {
		t.Setenv("HOME", t.TempDir())
		cfg := r.config("one")
		cfg.DSN = secret.Text(c.dsn)
		l, err := OpenLedger(cfg)
		if err != nil {
			t.Fatal(err)
		}
		err = l.Check(t.Context(), nil)
		if !fault.Is(err, c.want) || c.want != fault.Transient && fault.HintOf(err) == "" ||
			strings.Contains(fmt.Sprint(err), "falsch456") {
			t.Errorf("%s: got %v (%v), hint %q; want %v", name, err, fault.KindOf(err), fault.HintOf(err), c.want)
		}
		if _, err := l.Lock(t.Context(), ledgertest.File("/a", "a"), false); !fault.Is(err, fault.Transient) {
			t.Errorf("%s: lock without a look at the tables: %v", name, err)
		}
		_ = l.Close()
		if err := l.Check(t.Context(), nil); !fault.Is(err, fault.Permanent) {
			t.Errorf("%s: after Close: got %v", name, err)
		}
	}
}

// ledgerTables: a table that is there is used as it is.
func ledgerTables(t *testing.T, pg *testenv.PostgresServer) {
	for name, sql := range map[string]string{
		"as its document says": "",
		"char":                 "ALTER TABLE wspr.goto ALTER sha1_hash TYPE char(40)",
		"text":                 "ALTER TABLE wspr.goto ALTER sha1_hash TYPE text; ALTER TABLE wspr.goto ALTER source_filepath SET NOT NULL",
		"varchar and zones": `ALTER TABLE wspr.goto ALTER source_filepath TYPE varchar(200),
			ALTER file_created_at TYPE timestamptz,
			ALTER file_transferred_at TYPE timestamptz(6), ALTER created_at TYPE timestamptz`,
		"unique": "ALTER TABLE wspr.goto DROP CONSTRAINT goto_pkey; CREATE UNIQUE INDEX ON wspr.goto (sha1_hash)",
		"more columns": `ALTER TABLE wspr.goto ADD id bigserial, ADD "more ""x""" text, ADD obs text
			NOT NULL DEFAULT 'GOTO'`,
		"other metadata": `ALTER TABLE wspr.goto ALTER tel TYPE numeric, ALTER run TYPE bigint,
			ALTER note TYPE char(4)`,
		// No transaction outlives us for long, and none is committed before it is durable.
		"a trigger": `ALTER DATABASE postgres SET synchronous_commit = off; CREATE FUNCTION wspr.stamp()
			RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF
			'0' IN (current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout'))
			OR current_setting('synchronous_commit')
				= 'off' THEN RAISE EXCEPTION 'settings'; END IF; RETURN new; END $$;
			CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON wspr.goto FOR EACH ROW EXECUTE FUNCTION wspr.stamp()`,
	} {
		t.Run(name, func(t *testing.T) {
			r := newLedgerRig(t, pg)
			r.documented(t)
			if sql != "" {
				r.pg.Query(t, sql)
			}
			for _, change := range []func(*LedgerConfig){without, func(*LedgerConfig) {}} {
				l := r.ledger(t, "one", change)
				content := fmt.Sprint("content ", l.Traits().Extra)
				o := ledgertest.File("/data/"+content, content)
				d := ledgertest.To(o, "here", "/raw/a")
				r.transfer(t, l, o, d)
				e, err := l.Find(t.Context(), []string{o.Source})
				got := e[o.Source]
				if err != nil || len(e) != 1 || got.SHA1 != o.SHA1 || !reflect.DeepEqual(got.Meta, o.Meta) ||
					!got.Created.Truncate(time.Microsecond).Equal(o.Created.Truncate(time.Microsecond)) ||
					!got.Shipments[0].At.Equal(d.At) {
					t.Errorf("found %+v %v, want %+v %+v", e, err, o, d)
				}
				if c, err := l.Lock(t.Context(), o, false); err != nil || c.Done == nil {
					t.Errorf("lock: got %+v %v", c, err)
				}
				if err := l.Probe(t.Context()); err != nil {
					t.Errorf("probe: %v", err)
				}
			}
		})
	}
}

func (r *ledgerRig) transfer(t *testing.T, l *Ledger, o connector.Original, d connector.Shipment) {
	t.Helper()
	c, err := l.Lock(t.Context(), o, false)
	if err != nil || !c.Held {
		t.Fatalf("lock: %+v %v", c, err)
	}
	if err := l.Record(t.Context(), o, d, true, false); err != nil {
		t.Fatalf("record: %v", err)
	}
	if err := l.Unlock(t.Context(), o); err != nil {
		t.Fatalf("unlock: %v", err)
	}
}

// ledgerDefaultSchema: without a schema it is public.
func ledgerDefaultSchema(t *testing.T, pg *testenv.PostgresServer) {
	r := newLedgerRig(t, pg)
	l := r.ledger(t, "one", func(c *LedgerConfig) { c.Table = "" })
	o := ledgertest.File("/a", "a")
	r.transfer(t, l, o, ledgertest.To(o, "here", "/raw/a"))
	if n := r.pg.Query(t,
		"SELECT count(*) FROM public.transfers JOIN public.transfers_holdfast_files ON sha1 = sha1_hash"); n != "1" {
		t.Errorf("public.transfers has %s rows, want 1", n)
	}
}

// ledgerWest: in a zone where it is earlier, what rawtransfer locked now is not hours old.
func ledgerWest(t *testing.T, pg *testenv.PostgresServer) {
	r := newLedgerRig(t, pg)
	r.documented(t)
	r.pg.Query(t, "ALTER DATABASE postgres SET timezone = 'America/Los_Angeles'")
	l, o := r.ledger(t, "one"), ledgertest.File("/a", "a")
	r.pg.Query(t, fmt.Sprintf("INSERT INTO wspr.goto (sha1_hash, source_filepath) VALUES ('%x', '/a')", o.SHA1))
	for _, c := range []struct {
		age  time.Duration
		held bool
	}{{0, false}, {59 * time.Minute, false}, {61 * time.Minute, true}} {
		r.pg.Query(t, fmt.Sprintf("UPDATE wspr.goto SET created_at = now() - interval '%f seconds'",
			c.age.Seconds()))
		claim, err := l.Lock(t.Context(), o, false)
		if err != nil || claim.Held != c.held {
			t.Errorf("%v old: got %+v %v, want held %v", c.age, claim, err, c.held)
		}
	}
}

// ledgerMeanwhile: rawtransfer, which takes none of our locks, locks a file while we claim it.
func ledgerMeanwhile(t *testing.T, pg *testenv.PostgresServer) {
	r := newLedgerRig(t, pg)
	r.documented(t)
	l, o := r.ledger(t, "one"), ledgertest.File("/a", "a")
	old, err := pgx.Connect(t.Context(), r.pg.DSN(r.pg.Addr(), "postgres", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close(context.Background())
	if _, err := old.Exec(t.Context(),
		fmt.Sprintf("BEGIN; INSERT INTO wspr.goto (sha1_hash, source_filepath) VALUES ('%x', '/a')",
			o.SHA1)); err != nil {
		t.Fatal(err)
	}
	claimed := make(chan error, 1)
	var c connector.Claim
	go func() { var err error; c, err = l.Lock(t.Context(), o, false); claimed <- err }()
	r.until(t, "SELECT count(*) FROM pg_locks WHERE NOT granted", "1")
	if _, err := old.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-claimed; err != nil || c.Held || c.By != "rawtransfer" {
		t.Errorf("got %+v %v, want it to be rawtransfer's", c, err)
	}
}

// ledgerLostAnswers: what was done and not heard of is found when it is asked again.
func ledgerLostAnswers(t *testing.T, pg *testenv.PostgresServer) {
	for name, change := range map[string]func(*LedgerConfig){"extra": func(*LedgerConfig) {}, "without": without} {
		t.Run(name, func(t *testing.T) {
			r := newLedgerRig(t, pg)
			l, o := r.ledger(t, "one", change), ledgertest.File("/a", "a")
			d := ledgertest.To(o, "here", "/raw/a")
			for what, f := range r.calls(t, l, o, d) {
				r.lossy.Lose.Store(true)
				if err := f(); !fault.Is(err, fault.Transient) {
					t.Fatalf("call %d: got %v (%v), want an outage", what, err, fault.KindOf(err))
				}
				if err := f(); err != nil {
					t.Fatalf("call %d again: %v", what, err)
				}
			}
			if r.lossy.Lost.Load() != 3 {
				t.Errorf("%d answers were lost, want 3", r.lossy.Lost.Load())
			}
			r.once(t, o)
		})
	}
}

// calls are the three of a file's life.
func (r *ledgerRig) calls(t *testing.T, l *Ledger, o connector.Original, d connector.Shipment) []func() error {
	return []func() error{func() error {
		c, err := l.Lock(t.Context(), o, false)
		if err == nil && !c.Held {
			err = fmt.Errorf("it is not held: %+v", c)
		}
		return err
	}, func() error { return l.Record(t.Context(), o, d, true, false) }, func() error { return l.Unlock(t.Context(), o) }}
}

// once wants one file in the tables, once, done.
func (r *ledgerRig) once(t *testing.T, o connector.Original) {
	t.Helper()
	if got := r.pg.Query(t,
		"SELECT sha1_hash, source_filepath, filepath, tel, file_transferred_at IS NULL FROM wspr.goto"); got !=
		fmt.Sprintf("%x\t%s\t/raw/a\t3\tf", o.SHA1, o.Source) {
		t.Errorf("the table has %q", got)
	}
	if r.pg.Query(t, "SELECT to_regclass('wspr.goto_holdfast_files') IS NULL") == "t" {
		return
	}
	if got := r.pg.Query(t,
		"SELECT (SELECT count(*) FROM wspr.goto_holdfast_files), (SELECT count(*) FROM wspr.goto_holdfast_locks)"); got != "1\t0" {
		t.Errorf("%q files and locks, want one and none", got)
	}
}

// ledgerKilled: the server dies in the middle of each call, and it is made again.
func ledgerKilled(t *testing.T, pg *testenv.PostgresServer) {
	for name, change := range map[string]func(*LedgerConfig){"extra": func(*LedgerConfig) {}, "without": without} {
		t.Run(name, func(t *testing.T) {
			r := newLedgerRig(t, pg)
			r.documented(t)
			l, o := r.ledger(t, "one", change), ledgertest.File("/a", "a")
			// Behind each change of the table, who makes it waits for whoever has this lock.
			r.pg.Query(t, `CREATE FUNCTION wspr.wait() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END $$;
				CREATE TRIGGER wait AFTER INSERT OR UPDATE ON wspr.goto FOR EACH ROW EXECUTE FUNCTION wspr.wait()`)
			for what, f := range r.calls(t, l, o, ledgertest.To(o, "here", "/raw/a"))[:2] {
				blocker, err := pgx.Connect(t.Context(), r.pg.DSN(r.pg.Addr(), "postgres", ""))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := blocker.Exec(t.Context(), "SELECT pg_advisory_lock(42)"); err != nil {
					t.Fatal(err)
				}
				failed := make(chan error, 1)
				go func() { failed <- f() }()
				r.until(t, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted", "1")
				r.pg.Kill()
				if err := <-failed; !fault.Is(err, fault.Transient) {
					t.Fatalf("call %d: got %v (%v), want an outage", what, err, fault.KindOf(err))
				}
				_ = blocker.Close(t.Context())
				r.pg.Restart()
				if err := f(); err != nil {
					t.Fatalf("call %d again: %v", what, err)
				}
			}
			if err := l.Unlock(t.Context(), o); err != nil {
				t.Error(err)
			}
			r.once(t, o)
		})
	}
}

// ledgerRoundTrips: far away, a claim takes two, and all else one.
func ledgerRoundTrips(t *testing.T, pg *testenv.PostgresServer) {
	r := newLedgerRig(t, pg)
	l, o := r.ledger(t, "one"), ledgertest.File("/a", "a")
	const trip = 200 * time.Millisecond
	r.proxy.Toxic(t, "far", "latency", "downstream", map[string]any{"latency": trip.Milliseconds()})
	for what, f := range append(r.calls(t, l, o, ledgertest.To(o, "here", "/raw/a")),
		func() error { _, err := l.Renew(t.Context()); return err },
		func() error { _, err := l.Find(t.Context(), []string{"/a"}); return err },
		func() error { return l.Probe(t.Context()) }) {
		most := 2 * trip
		if what == 0 {
			most += trip
		}
		begun := time.Now()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took >= most {
			t.Errorf("call %d took %v, want less than %v", what, took, most)
		}
	}
}

// until waits for an answer.
func (r *ledgerRig) until(t *testing.T, sql, want string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); r.pg.Query(t, sql) != want; {
		if time.Now().After(end) {
			t.Fatalf("%s: got %q, want %q", sql, r.pg.Query(t, sql), want)
		}
	}
}

// ledgerHangs: a server that does not answer, and a row that somebody else does not let go, end a call in time,
// and leave nothing behind.
func ledgerHangs(t *testing.T, pg *testenv.PostgresServer) {
	r := newLedgerRig(t, pg)
	r.documented(t)
	const timeout = time.Second
	l := r.ledger(t, "one", func(c *LedgerConfig) { c.Timeout = timeout })
	o := ledgertest.File("/a", "a")
	within := func(what string, f func() error) {
		t.Helper()
		begun := time.Now()
		err := f()
		if took := time.Since(begun); !fault.Is(err, fault.Transient) || took > 5*timeout {
			t.Errorf("%s: got %v (%v) after %v, want an outage within %v", what, err, fault.KindOf(err), took,
				timeout)
		}
	}
	lock := func() error { _, err := l.Lock(t.Context(), o, false); return err }
	r.pg.Query(t, fmt.Sprintf("INSERT INTO wspr.goto (sha1_hash, source_filepath) VALUES ('%x', '/a')", o.SHA1))
	other, err := pgx.Connect(t.Context(), r.pg.DSN(r.pg.Addr(), "postgres", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	if _, err := other.Exec(t.Context(), "BEGIN; UPDATE wspr.goto SET tel = 1"); err != nil {
		t.Fatal(err)
	}
	within("a row that is held", lock)
	r.until(t, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holdfast' AND state <> 'idle'", "0")
	if _, err := other.Exec(t.Context(), "ROLLBACK; DELETE FROM wspr.goto"); err != nil {
		t.Fatal(err)
	}
	r.pg.Freeze()
	var frozen sync.WaitGroup
	for what, f := range map[string]func() error{
		"lock": lock, "record": func() error {
			return l.Record(t.Context(), o, ledgertest.To(o, "here",
				"/raw/a"), true, false)
		},
		"unlock": func() error { return l.Unlock(t.Context(), o) },
		"find":   func() error { _, err := l.Find(t.Context(), []string{"/a"}); return err },
		"each": func() error {
			return l.Each(t.Context(), time.Time{},
				func(connector.Entry) error { return nil })
		},
		"renew": func() error { _, err := l.Renew(t.Context()); return err },
		"probe": func() error { return l.Probe(t.Context()) },
		"check": func() error { return l.Check(t.Context(), ledgertest.Columns) },
	} {
		frozen.Go(func() { within("a frozen server, "+what, f) })
	}
	frozen.Wait()
	r.pg.Thaw()
	r.transfer(t, l, o, ledgertest.To(o, "here", "/raw/a"))
}
