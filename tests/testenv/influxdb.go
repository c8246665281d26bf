package testenv

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const influxd = "/usr/bin/influxd"

// InfluxServer is a running InfluxDB 1.6.7 on loopback. It wants credentials: the user admin with the
// password geheim123.
type InfluxServer struct {
	t       testing.TB
	command Command
	addr    string
	process *Process
}

// Influx starts Debian's InfluxDB 1.6.7, empty, with its data below dir ("" for a directory of its own).
// It syncs what it takes before it answers. Settings are environment variables as InfluxDB names them.
func Influx(t testing.TB, dir string, settings ...string) *InfluxServer {
	t.Helper()
	if _, err := os.Stat(influxd); err != nil {
		Missing(t, "Debian's influxdb 1.6.7", err)
	}
	dir = cmp.Or(dir, t.TempDir())
	addr := fmt.Sprintf("127.0.0.1:%d", port(t))
	s := &InfluxServer{t: t, addr: addr, command: Command{Path: influxd, Dir: dir,
		Args: []string{"run", "-config", "/dev/null"}, Env: append([]string{
			"INFLUXDB_REPORTING_DISABLED=true", "INFLUXDB_BIND_ADDRESS=127.0.0.1:0",
			"INFLUXDB_META_DIR=" + filepath.Join(dir, "meta"), "INFLUXDB_DATA_DIR=" + filepath.Join(dir, "data"),
			"INFLUXDB_DATA_WAL_DIR=" + filepath.Join(dir, "wal"), "INFLUXDB_HTTP_BIND_ADDRESS=" + addr,
			"INFLUXDB_MONITOR_STORE_ENABLED=false", "INFLUXDB_HTTP_AUTH_ENABLED=true",
			"INFLUXDB_HTTP_LOG_ENABLED=false", "INFLUXDB_DATA_QUERY_LOG_ENABLED=false"}, settings...)}}
	s.start()
	// A directory can't be removed under a server that still writes to it.
	t.Cleanup(s.Kill)
	s.Query(t, "", "CREATE USER admin WITH PASSWORD 'geheim123' WITH ALL PRIVILEGES")
	return s
}

func (s *InfluxServer) start() {
	s.t.Helper()
	s.process = Start(s.t, s.command)
	Until(s.t, startWithin, "influxd answers", func() bool {
		if !s.process.Running() {
			s.t.Fatalf("influxd ended:%s", tail(s.process.Output()))
		}
		res, err := http.Get("http://" + s.addr + "/ping")
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil && res.StatusCode == http.StatusNoContent
	})
}

// Addr is the server's host:port.
func (s *InfluxServer) Addr() string { return s.addr }

// Query runs a statement as admin and returns the answer, JSON with times in nanoseconds.
func (s *InfluxServer) Query(t testing.TB, database, statement string) string {
	t.Helper()
	text, err := s.post("/query", url.Values{"db": {database}, "epoch": {"ns"}}, url.Values{"q": {statement}}.Encode(),
		"application/x-www-form-urlencoded")
	if err != nil || strings.Contains(text, `"error"`) {
		t.Fatalf("query %s: %v %s", statement, err, text)
	}
	return text
}

// Write writes lines, whose times are nanoseconds.
func (s *InfluxServer) Write(t testing.TB, database, lines string) {
	t.Helper()
	if err := s.Post(database, lines); err != nil {
		t.Fatal(err)
	}
}

// Post is Write for a goroutine that can't end the test.
func (s *InfluxServer) Post(database, lines string) error {
	text, err := s.post("/write", url.Values{"db": {database}}, lines, "text/plain")
	if err != nil || text != "" {
		return fmt.Errorf("write: %v %s", err, text)
	}
	return nil
}

func (s *InfluxServer) post(path string, q url.Values, body, kind string) (string, error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+s.addr+path+"?"+q.Encode(), strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.SetBasicAuth("admin", "geheim123")
	req.Header.Set("Content-Type", kind)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

// Kill ends the server at once (kill -9).
func (s *InfluxServer) Kill() { s.process.Kill() }

// Restart starts the server again with the same data on the same port; one that still runs is killed
// first.
func (s *InfluxServer) Restart() {
	s.t.Helper()
	s.process.Kill()
	s.start()
}

// Freeze stops the server where it stands: it takes connections, and never answers.
func (s *InfluxServer) Freeze() { s.process.Freeze() }

// Thaw lets a frozen server go on.
func (s *InfluxServer) Thaw() { s.process.Thaw() }
