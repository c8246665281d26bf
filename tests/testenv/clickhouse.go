package testenv

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// clickHouseBinary is where Debian's clickhouse-server (18.16) puts the server. It has no client.
const clickHouseBinary = "/usr/sbin/clickhouse-server"

// ClickHouseOptions tunes a ClickHouse server. The zero value is a server whose user "default"
// has no password and may do everything.
type ClickHouseOptions struct {
	// DataDir holds the server's files, for example on a SmallDisk; "" is a temporary directory.
	DataDir string
	// Users are added to "default". Debian's 18.16 takes any number; the modern engine takes one,
	// which then is the only one, and ignores ReadOnly.
	Users []ClickHouseUser
	// Settings are the default profile's, such as max_memory_usage. Debian's 18.16 only.
	Settings map[string]string
	// Config is added to the server's configuration as XML. Debian's 18.16 only.
	Config string
}

// ClickHouseUser is a user that may log in from loopback.
type ClickHouseUser struct {
	Name     string
	Password string
	ReadOnly bool // may only SELECT, and may not change settings
}

// ClickHouseServer is a running ClickHouse that speaks HTTP on loopback.
type ClickHouseServer struct {
	t        testing.TB
	command  Command
	addr     string
	user     ClickHouseUser // whom Query asks as
	dir      string
	process  *Process
	started  time.Duration
	attempts *http.Client
}

// ClickHouse starts Debian's ClickHouse 18.16, the oldest that is supported. Never ask it for
// packed answers: with compress=1 it leaves out the last block, in silence.
func ClickHouse(t testing.TB) *ClickHouseServer {
	t.Helper()
	return ClickHouseWith(t, ClickHouseOptions{})
}

// ClickHouseWith starts Debian's ClickHouse 18.16 with options.
func ClickHouseWith(t testing.TB, o ClickHouseOptions) *ClickHouseServer {
	t.Helper()
	if _, err := os.Stat(clickHouseBinary); err != nil {
		Missing(t, "Debian's clickhouse-server 18.16", err)
	}
	dir := t.TempDir()
	if o.DataDir == "" {
		o.DataDir = filepath.Join(dir, "data")
	}
	n := port(t)
	config := filepath.Join(dir, "config.xml")
	writeFile(t, config, serverConfig(n, o))
	writeFile(t, filepath.Join(dir, "users.xml"), usersConfig(o))
	s := &ClickHouseServer{
		t:       t,
		command: Command{Path: clickHouseBinary, Args: []string{"--config-file=" + config}, Dir: dir},
		addr:    fmt.Sprintf("127.0.0.1:%d", n),
		user:    ClickHouseUser{Name: "default"},
		dir:     o.DataDir,
	}
	s.start()
	return s
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatalf("write %s: %v", name, err)
	}
}

// serverConfig is what 18.16 needs and no more: no native port, no cluster, log to the console.
func serverConfig(port int, o ClickHouseOptions) string {
	return fmt.Sprintf(`<yandex>
  <logger><level>information</level><console>1</console></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>%d</http_port>
  <path>%s/</path>
  <tmp_path>%[2]s/tmp/</tmp_path>
  <users_config>users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <mark_cache_size>67108864</mark_cache_size>
  <timezone>UTC</timezone>
  <builtin_dictionaries_reload_interval>3600</builtin_dictionaries_reload_interval>
  %s
</yandex>
`, port, escape(o.DataDir), o.Config)
}

func usersConfig(o ClickHouseOptions) string {
	var settings, users strings.Builder
	for _, name := range slices.Sorted(maps.Keys(o.Settings)) {
		fmt.Fprintf(&settings, "<%s>%s</%[1]s>", name, escape(o.Settings[name]))
	}
	for _, u := range append([]ClickHouseUser{{Name: "default"}}, o.Users...) {
		profile := "default"
		if u.ReadOnly {
			profile = "readonly"
		}
		fmt.Fprintf(&users, `
    <%s>
      <password>%s</password>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>%s</profile>
      <quota>default</quota>
    </%[1]s>`, u.Name, escape(u.Password), profile)
	}
	return fmt.Sprintf(`<yandex>
  <profiles>
    <default><max_memory_usage>2000000000</max_memory_usage>%s</default>
    <readonly><readonly>1</readonly></readonly>
  </profiles>
  <users>%s
  </users>
  <quotas><default></default></quotas>
</yandex>
`, settings.String(), users.String())
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

// start starts the server and waits until it answers.
func (s *ClickHouseServer) start() {
	s.t.Helper()
	begun := time.Now()
	s.process = Start(s.t, s.command)
	// No connection is kept: an idle one delays the server's stop by ten seconds.
	s.attempts = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ready := until(startWithin, func() bool { return !s.process.Running() || s.Ping() == nil })
	if !ready || !s.process.Running() {
		s.t.Fatalf("%s does not answer on %s%s", s.command.Path, s.addr, tail(s.process.Output()))
	}
	s.started = time.Since(begun)
}

// Addr is the server's host:port.
func (s *ClickHouseServer) Addr() string { return s.addr }

// URL is the server's HTTP address, without a user.
func (s *ClickHouseServer) URL() string { return "http://" + s.addr }

// Dir is where the server keeps its data.
func (s *ClickHouseServer) Dir() string { return s.dir }

// Process is the server's process; after a Restart it is another.
func (s *ClickHouseServer) Process() *Process { return s.process }

// Startup is how long the last start took until the first answer.
func (s *ClickHouseServer) Startup() time.Duration { return s.started }

// Ping asks once whether the server answers.
func (s *ClickHouseServer) Ping() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/ping", nil)
	if err != nil {
		return err
	}
	body, err := s.do(req)
	if err == nil && body != "Ok.\n" {
		err = fmt.Errorf("ping: got %q", body)
	}
	return err
}

// Query runs SQL as a user who may do everything, and returns the answer (TabSeparated unless the
// SQL says otherwise) without its last line end. An error fails the test.
func (s *ClickHouseServer) Query(t testing.TB, sql string) string {
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
func (s *ClickHouseServer) Try(ctx context.Context, sql string) (string, error) {
	return s.TryAs(ctx, s.user.Name, s.user.Password, sql)
}

// TryAs is Try as another user.
func (s *ClickHouseServer) TryAs(ctx context.Context, user, password, sql string) (string, error) {
	q := url.Values{"user": {user}, "password": {password}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/?"+q.Encode(),
		strings.NewReader(sql))
	if err != nil {
		return "", err
	}
	body, err := s.do(req)
	return strings.TrimSuffix(body, "\n"), err
}

func (s *ClickHouseServer) do(req *http.Request) (string, error) {
	res, err := s.attempts.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %s", res.StatusCode, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}

// Kill ends the server at once (kill -9).
func (s *ClickHouseServer) Kill() { s.process.Kill() }

// Stop ends the server in good order and returns when it is gone.
func (s *ClickHouseServer) Stop() {
	s.t.Helper()
	s.process.Thaw()
	s.process.Term()
	if code := s.process.Wait(s.t, startWithin); code != 0 {
		s.t.Errorf("stop %s: exit code %d%s", s.command.Path, code, tail(s.process.Output()))
	}
}

// Restart starts the server again with the same data on the same port, after a Kill or Stop; one
// that still runs is killed first.
func (s *ClickHouseServer) Restart() {
	s.t.Helper()
	s.process.Kill()
	s.start()
}

// Freeze stops the server where it stands: it takes connections, and never answers.
func (s *ClickHouseServer) Freeze() { s.process.Freeze() }

// Thaw lets a frozen server go on.
func (s *ClickHouseServer) Thaw() { s.process.Thaw() }
