package journald

import (
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"holdfast/connector/watchertest"
	"holdfast/tests/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testenv.ProcessLeaks()...) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// watched is a journal that is watched, and what was kept of it.
type watched struct {
	*watchertest.Keeper
	t   *testing.T
	cfg Config
}

func (w *watched) start() {
	w.t.Helper()
	j, err := New(w.cfg)
	must(w.t, err)
	w.Start(j)
}

// fields are those of the nth event.
func (w *watched) fields(n int) map[string]string { return w.Events()[n].Fields }

func signal(t *testing.T, pid, sig string) {
	t.Helper()
	must(t, exec.Command("/bin/kill", sig, pid).Run())
}
