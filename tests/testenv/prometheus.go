package testenv

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

const prometheus = "/usr/bin/prometheus"

// PrometheusServer is a running Prometheus on loopback.
type PrometheusServer struct {
	t       testing.TB
	command Command
	url     string
	process *Process
}

// Prometheus starts Debian's Prometheus, which scrapes some targets (host:port) every 200 milliseconds as the job "test".
func Prometheus(t testing.TB, targets ...string) *PrometheusServer {
	t.Helper()
	if _, err := os.Stat(prometheus); err != nil {
		Missing(t, "Debian's prometheus", err)
	}
	dir, n := t.TempDir(), port(t)
	config := "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n- job_name: test\n  static_configs:\n"
	config += fmt.Sprintf("  - targets: [%s]\n", quoted(targets))
	if err := os.WriteFile(filepath.Join(dir, "p.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &PrometheusServer{t: t, url: fmt.Sprintf("http://127.0.0.1:%d", n), command: Command{Path: prometheus, Args: []string{
		"--config.file=" + filepath.Join(dir, "p.yml"), "--storage.tsdb.path=" + filepath.Join(dir, "data"),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", n)}}}
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

func quoted(all []string) (s string) {
	for _, x := range all {
		s += fmt.Sprintf("%q, ", x)
	}
	return s
}

// URL is where it is asked.
func (s *PrometheusServer) URL() string { return s.url }

// Kill ends the server at once (kill -9).
func (s *PrometheusServer) Kill() { s.process.Kill() }

// Restart starts the server again with the same data on the same port; one that still runs is killed first.
func (s *PrometheusServer) Restart() {
	s.t.Helper()
	if s.process != nil {
		s.process.Kill()
	}
	s.process = Start(s.t, s.command)
	Until(s.t, startWithin, "Prometheus is ready", func() bool {
		a, err := http.Get(s.url + "/-/ready")
		if err != nil {
			return false
		}
		a.Body.Close()
		return a.StatusCode == http.StatusOK
	})
}

// Freeze stops the server where it stands: it takes connections, and never answers.
func (s *PrometheusServer) Freeze() { s.process.Freeze() }

// Thaw lets a frozen server go on.
func (s *PrometheusServer) Thaw() { s.process.Thaw() }
