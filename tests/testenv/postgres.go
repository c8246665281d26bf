package testenv

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgresPrograms is where Debian's postgresql (15) puts what the server needs.
const postgresPrograms = "/usr/lib/postgresql/15/bin"

// PostgresServer is a running PostgreSQL on loopback. Its superuser postgres needs no password;
// every other role needs one.
type PostgresServer struct {
	t       testing.TB
	command Command
	addr    string
	process *Process
}

// Postgres starts Debian's PostgreSQL 15 with an empty database. It syncs nothing: what a kill -9
// of its processes leaves is whole, what a power cut leaves is not.
func Postgres(t testing.TB) *PostgresServer {
	t.Helper()
	if _, err := os.Stat(filepath.Join(postgresPrograms, "postgres")); err != nil {
		Missing(t, "Debian's postgresql 15", err)
	}
	owner, dir := postgresHome(t)
	data := filepath.Join(dir, "data")
	initdb := Start(t, Command{Path: filepath.Join(postgresPrograms, "initdb"), Dir: dir, User: owner,
		Args: []string{"-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C",
			"--no-instructions"}})
	if code := initdb.Wait(t, startWithin); code != 0 {
		t.Fatalf("initdb: exit code %d%s", code, tail(initdb.Output()))
	}
	writeFile(t, filepath.Join(data, "pg_hba.conf"),
		"host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
	n := port(t)
	s := &PostgresServer{t: t, addr: fmt.Sprintf("127.0.0.1:%d", n),
		command: Command{Path: filepath.Join(postgresPrograms, "postgres"), Dir: dir, User: owner,
			Args: []string{"-D", data, "-h", "127.0.0.1", "-p", strconv.Itoa(n), "-k", "",
				"-c", "fsync=off", "-c", "shared_buffers=32MB"}}}
	s.start()
	// Frozen children would outlive the server: whoever is stopped does not see its parent end.
	t.Cleanup(s.Thaw)
	return s
}

// postgresHome makes a directory that the server's user owns. It refuses to run as root, and the
// directories of t.TempDir are closed to others.
func postgresHome(t testing.TB) (*syscall.Credential, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "holdfast-postgres-")
	if err != nil {
		t.Fatalf("make directory: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Geteuid() != 0 {
		return nil, dir
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatalf("find a user for PostgreSQL: %v", err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatalf("give directory away: %v", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, dir
}

// start starts the server and waits until it answers. What a killed one leaves may keep it from
// starting for a moment.
func (s *PostgresServer) start() {
	s.t.Helper()
	ready := until(startWithin, func() bool {
		if s.process == nil || !s.process.Running() {
			s.process = Start(s.t, s.command)
		}
		_, err := s.Try(s.t.Context(), "SELECT 1")
		return err == nil
	})
	if !ready {
		s.t.Fatalf("%s does not answer on %s%s", s.command.Path, s.addr, tail(s.process.Output()))
	}
}

// Addr is the server's host:port.
func (s *PostgresServer) Addr() string { return s.addr }

// Running reports whether the server has not ended.
func (s *PostgresServer) Running() bool { return s.process.Running() }

// DSN is the address of the database at host:port (the server's own or a proxy's) for a role.
func (s *PostgresServer) DSN(addr, role, password string) string {
	u := url.URL{Scheme: "postgres", Host: addr, Path: "/postgres", User: url.User(role),
		RawQuery: "sslmode=disable"}
	if password != "" {
		u.User = url.UserPassword(role, password)
	}
	return u.String()
}

// Query runs SQL as the superuser and returns the answer: a line for each row, tabs between its
// columns. An error fails the test.
func (s *PostgresServer) Query(t testing.TB, sql string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := s.Try(ctx, sql)
	if err != nil {
		t.Fatalf("query %q: %v", sql, err)
	}
	return out
}

// Try is Query for SQL that may fail, or for a server that may not answer before ctx ends.
func (s *PostgresServer) Try(ctx context.Context, sql string) (string, error) {
	conn, err := pgx.Connect(ctx, s.DSN(s.addr, "postgres", ""))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	var lines []string
	for _, r := range results {
		for _, row := range r.Rows {
			fields := make([]string, len(row))
			for i, f := range row {
				fields[i] = string(f)
			}
			lines = append(lines, strings.Join(fields, "\t"))
		}
	}
	return strings.Join(lines, "\n"), err
}

// each sends a signal to the server's children: every connection has one, in a group of its own.
func (s *PostgresServer) each(signal syscall.Signal) {
	parent := strconv.Itoa(s.process.PID())
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		b, err := os.ReadFile(name)
		_, rest, ok := strings.Cut(string(b), ") ")
		fields := strings.Fields(rest)
		pid, perr := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil && ok && perr == nil && len(fields) > 1 && fields[1] == parent {
			_ = syscall.Kill(pid, signal)
		}
	}
}

// Kill ends the server and its children at once (kill -9).
func (s *PostgresServer) Kill() {
	s.process.Freeze() // so that it has no more children meanwhile
	s.each(syscall.SIGKILL)
	s.process.Kill()
}

// Stop ends the server in good order, connections included, and returns when it is gone.
func (s *PostgresServer) Stop() {
	s.t.Helper()
	s.Thaw()
	s.process.Signal(syscall.SIGINT)
	if code := s.process.Wait(s.t, startWithin); code != 0 {
		s.t.Errorf("stop %s: exit code %d%s", s.command.Path, code, tail(s.process.Output()))
	}
}

// Restart starts the server again with the same data on the same port, after a Kill or Stop; one
// that still runs is killed first.
func (s *PostgresServer) Restart() {
	s.t.Helper()
	if s.process.Running() {
		s.Kill()
	}
	s.start()
}

// Freeze stops the server and its children where they stand: it takes connections, and never
// answers.
func (s *PostgresServer) Freeze() {
	s.process.Freeze()
	s.each(syscall.SIGSTOP)
}

// Thaw lets a frozen server go on.
func (s *PostgresServer) Thaw() {
	s.each(syscall.SIGCONT)
	s.process.Thaw()
}
