package logfile

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/connector/watchertest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// log is a log file that is watched, and what was kept of it.
type log struct {
	*watchertest.Keeper
	t   *testing.T
	cfg Config
}

func newLog(t *testing.T) *log {
	return &log{watchertest.New(t), t, Config{Path: filepath.Join(t.TempDir(), "app.log"), Settle: 30 * time.Millisecond}}
}

func (l *log) start() {
	l.t.Helper()
	f, err := New(l.cfg)
	must(l.t, err)
	l.Start(f)
}

func (l *log) path(suffix string) string { return l.cfg.Path + suffix }

func (l *log) write(text string) { appendTo(l.t, l.cfg.Path, text) }

func appendTo(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, err)
	must(t, f.Close())
}

func (l *log) rename(from, to string) { must(l.t, os.Rename(l.path(from), l.path(to))) }

func (l *log) copyTruncate(to string) {
	b, err := os.ReadFile(l.cfg.Path)
	must(l.t, err)
	must(l.t, os.WriteFile(l.path(to), b, 0o600))
	must(l.t, os.Truncate(l.cfg.Path, 0))
}

// pack does what gzip does: the packed file has the time of the other.
func pack(t testing.TB, path string) {
	b, err := os.ReadFile(path)
	must(t, err)
	info, err := os.Stat(path)
	must(t, err)
	f, err := os.Create(path + ".gz")
	must(t, err)
	z := gzip.NewWriter(f)
	_, err = z.Write(b)
	must(t, err)
	must(t, z.Close())
	must(t, f.Close())
	must(t, os.Chtimes(path+".gz", time.Time{}, info.ModTime()))
	must(t, os.Remove(path))
}
