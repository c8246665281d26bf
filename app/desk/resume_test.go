package desk

import (
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/connector/wsprnet/simulator"
)

// A login that the feed refused is not tried again for an hour, but at once when somebody says so.
func TestResumeTriesARefusedLoginAgain(t *testing.T) {
	sim := simulator.New(simulator.Options{Rate: -1, Backlog: 20, Keep: -1, Username: "AA1A",
		Password: "geheim123"})
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	sim.SetFaults(func(f *simulator.Faults) { f.Refuse = true })
	t.Setenv("USER_NAME", "AA1A")
	t.Setenv("SECRET", "geheim123")
	text := strings.Replace(configText(srv.URL+simulator.SpotsPath), "max_bytes",
		`username: "${USER_NAME}", password: "${SECRET}", max_bytes`, 1)
	c, err := app.Parse("t.yaml", []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	p := &app.Plan{Place: datadir.Place{Dir: t.TempDir(), Explicit: true}, Jobs: c.Jobs,
		Log: slog.New(slog.DiscardHandler)}
	d, stop := running(t, p)
	until(t, "the login is refused", func() bool {
		all, err := d.Gates(t.Context(), "spots") // closed by that: else there is nothing to try again
		return err == nil && len(all) > 0 && all[0].Kind == "credentials"
	})
	sim.SetFaults(func(f *simulator.Faults) { f.Refuse = false })
	until(t, "the job can be told", func() bool { return d.Resume("spots") == nil })
	until(t, "the spots are there", func() bool {
		a, err := d.Audit(t.Context(), "spots", false, nil)
		return err == nil && a.Jobs[0].Accepted == 20
	})
	stop()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("10 s, and not yet: %s", what)
		}
	}
}
