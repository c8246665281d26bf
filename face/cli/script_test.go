package cli

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite"

	"holdfast/app"
	"holdfast/base/logging"
	"holdfast/connector/wsprnet/simulator"
)

// TestMain makes `holdfast` a command of the scripts: this test binary, run as the program itself.
// And `storagefails` is a process whose store can't be written; with an argument, one that works
// once.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"holdfast": func() { os.Exit(Main(os.Args[1:])) },
		"storagefails": func() {
			fmt.Printf("start %d\n", respawns(os.Getenv(respawnVariable), time.Now()))
			respawnPause = time.Millisecond
			p := &process{plan: &app.Plan{Once: len(os.Args) > 1}, log: slog.New(logging.NewHandler(os.Stderr,
				0))}
			p.storageFailed(errors.New("no space left on device"))
		},
	})
}

// TestScripts runs one script a feature. Beside the usual commands of testscript there are:
//
//	feed [key=value...]      start a simulated feed; $FEED is the address of its spots
//	fault NAME on|off        switch a fault of the feed
//	publish N                let N more ids come
//	await FILE PATTERN       wait until a file matches
//	rows FILE N [QUERY]      a database has N rows, or the query gives N
//	change FILE SQL          change a database behind everybody's back
//	notified FILE            be systemd, and write what it is told
//	narrow FILE              no line has more than 80 columns
func TestScripts(t *testing.T) {
	testscript.Run(t, params("testdata/script"))
}

func params(dir string) testscript.Params {
	return testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			for _, dir := range []string{"home", "tmp", "cache"} {
				if err := os.MkdirAll(e.Getenv("WORK")+"/"+dir, 0o700); err != nil {
					return err
				}
			}
			e.Setenv("HOME", e.Getenv("WORK")+"/home")
			e.Setenv("TMPDIR", e.Getenv("WORK")+"/tmp")
			e.Setenv("HOLDFAST_DATA_DIR", e.Getenv("WORK")+"/data")
			e.Setenv("TZ", "UTC")
			e.Setenv("GORACE", os.Getenv("GORACE")) // a script has an environment of its own
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"feed": startFeed, "fault": switchFault, "publish": publish, "await": waitFor, "rows": rows,
			"narrow": narrow, "change": change, "notified": notified,
		},
	}
}

// startFeed starts a feed of our own. Without keys it has 100 spots, no login, and nothing comes.
func startFeed(ts *testscript.TestScript, neg bool, args []string) {
	o := simulator.Options{Seed: 1, Rate: -1, Backlog: 100, Keep: -1}
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		number, _ := strconv.ParseFloat(value, 64)
		switch key {
		case "spots":
			o.Backlog = uint64(number)
		case "rate":
			o.Rate = number
		case "holes":
			o.Holes = number
		case "garbage":
			o.Garbage = number
		case "user":
			o.Username = value
		case "password":
			o.Password = value
		default:
			ts.Fatalf("feed: unknown key %s", key)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	sim := simulator.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sim.Run(ctx, ln) }()
	ts.Defer(func() {
		cancel()
		ts.Check(<-done)
	})
	feeds.set(ts, sim)
	ts.Setenv("FEED", "http://"+ln.Addr().String()+simulator.SpotsPath)
	text := fmt.Sprintf("{\"wsprnet_url\": %q,\n\"max_bytes_per_second\": -1,\n"+
		"\"batch_flush_seconds\": 0.1", ts.Getenv("FEED"))
	ts.Check(os.WriteFile(ts.MkAbs("feed.json"), []byte(text+"}\n"), 0o600))
	if port := ts.Getenv("CLICKHOUSE_PORT"); port != "" {
		text += ",\n\"clickhouse_host\": \"127.0.0.1\", \"clickhouse_port\": " + port
		ts.Check(os.WriteFile(ts.MkAbs("clickhouse.json"), []byte(text+"}\n"), 0o600))
	}
}

func switchFault(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(feeds.get(ts).Switch(args[0], args[1] == "on"))
}

func publish(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.ParseUint(args[0], 10, 64)
	ts.Check(err)
	feeds.get(ts).Publish(n)
}

func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && re.Match(b) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not match %q in time; it holds:\n%s", args[0], args[1], b)
		}
	}
}

func rows(ts *testscript.TestScript, neg bool, args []string) {
	query := "SELECT count(*) FROM spots"
	if len(args) > 2 {
		query = args[2]
	}
	var got string
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := ask(ts.MkAbs(args[0]), query, &got)
		if err == nil && got == args[1] {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: got %q (%v), want %s", query, got, err, args[1])
		}
	}
}

func ask(file, query string, got *string) error {
	if _, err := os.Stat(file); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return err
	}
	return errors.Join(db.QueryRow(query).Scan(got), db.Close())
}

func change(ts *testscript.TestScript, neg bool, args []string) {
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.Exec(args[1])
	ts.Check(errors.Join(err, db.Close()))
}

// notified listens in the place of systemd and writes what it is told to a file.
func notified(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs("n.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	done := make(chan struct{})
	go func() { // ends when the socket is closed
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			fmt.Fprintf(f, "%s\n", b[:n])
		}
	}()
	ts.Defer(func() {
		conn.Close()
		<-done
		f.Close()
	})
	ts.Setenv("NOTIFY_SOCKET", path)
}

func narrow(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		for i, line := range strings.Split(ts.ReadFile(name), "\n") {
			long := strings.Contains(strings.TrimSpace(line), " ") // one word alone can't be broken
			if n := utf8.RuneCountInString(line); n > width && long {
				ts.Fatalf("line %d of %s has %d columns: %s", i+1, name, n, line)
			}
		}
	}
}
