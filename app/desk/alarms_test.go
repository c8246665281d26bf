package desk

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/app"
	"holdfast/base/disk"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
)

// watched is a job at work whose state a test changes between two looks.
type watched struct {
	t   *testing.T
	a   *alarms
	now time.Time
	g   Gauges
}

func watching(t *testing.T) *watched {
	return &watched{t, newAlarms(app.Alerts{Summary: app.NoSummary}), time.Unix(1_000_000, 0), Gauges{
		Disk: disk.Room{Free: 100, Total: 1000}, Marks: engine.RoomLimits{Soft: 50, Hard: 20},
		Jobs: []engine.Status{{Name: "spots", State: engine.Running, Readable: true,
			Gates: []gate.Status{{Name: "main", Open: true}}, Lag: map[string]float64{"main": 0},
			Balance: engine.Books{Sinks: []engine.SinkBooks{{Sink: "main"}}}}}}}
}

func (w *watched) job() *engine.Status { return &w.g.Jobs[0] }

// after lets time go by, looks, and checks what is told.
func (w *watched) after(d time.Duration, news []engine.Event, want ...string) {
	w.t.Helper()
	w.now = w.now.Add(d)
	w.a.look(w.now, w.g, news)
	if len(w.a.out) != len(want) {
		w.t.Fatalf("got %q, want %q", w.a.out, want)
	}
	for i, text := range want {
		if !strings.Contains(w.a.out[i], text) {
			w.t.Errorf("got %q, want %q", w.a.out[i], text)
		}
	}
	w.a.out = nil
}

func (w *watched) gate(open bool) {
	w.job().Gates[0] = gate.Status{Name: "main", Open: open, Since: w.now, Cause: "connection refused"}
}

func TestAlarmsOfAGate(t *testing.T) {
	w := watching(t)
	w.after(0, nil)
	w.gate(false)
	w.after(9*time.Minute, nil)
	w.after(2*time.Minute, nil, "job spots: main is away for 11m0s: connection refused")
	w.after(time.Hour, nil)
	w.gate(true)
	w.after(time.Minute, nil, "main is back")
	w.gate(false) // a short one is not told
	w.after(time.Minute, nil)
	w.gate(true)
	w.after(time.Minute, nil)
}

// Of a job of files it is told what waits, for how long a gate was closed, and that nothing comes any more.
func TestAlarmsOfFiles(t *testing.T) {
	w := watching(t)
	*w.job() = engine.Status{Name: "frames", Kind: app.TransferKind, State: engine.Running, Readable: true,
		Gates: []gate.Status{{Name: "main", Open: true}}, Bytes: map[string]int64{"main": 0}}
	w.after(0, nil)
	w.gate(false)
	w.after(11*time.Minute, nil, "job frames: main is away for 11m0s")
	w.job().Backlog = engine.Backlog{Rows: 1234, Seconds: 3601}
	w.after(time.Hour, nil, "job frames: a file has waited for 1h0m1s; 1234 files wait")
	w.gate(true)
	w.after(0, nil, "job frames: main is back after 1h11m0s; 1234 files wait")
	w.job().Backlog = engine.Backlog{}
	for range pulsesKnown + 1 {
		w.job().Taken++
		w.after(2*time.Minute, nil)
	}
	w.after(21*time.Minute, nil, "job frames: nothing new for 21m0s")
}

// Once a day, at its time, it is told how things stand; a process that was down then tells it at its start, once.
func TestSummary(t *testing.T) {
	w := watching(t)
	w.a = newAlarms(app.Alerts{Summary: "09:00", Gate: 1000 * time.Hour})
	w.now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.Local)
	frames := engine.Status{Name: "frames", Kind: app.TransferKind, State: engine.Running, Readable: true,
		Bytes: map[string]int64{"centre": 5e9}, Taken: 100, Lag: map[string]float64{}}
	w.g.Jobs = append(w.g.Jobs, frames)
	w.after(0, nil) // the day before is not known
	w.job().Balance.Accepted, w.job().Balance.Sinks[0].Delivered = 1000, 990
	w.job().Backlog = engine.Backlog{Rows: 10, Seconds: 61}
	w.g.Jobs[1].Taken, w.g.Jobs[1].Bytes = 101, map[string]int64{"centre": 7e9}
	w.g.Jobs[1].Gates = []gate.Status{{Name: "centre", Since: w.now}}
	w.after(20*time.Hour+59*time.Minute, nil)
	w.after(time.Minute, nil, "summary since 2026-06-01 09:00\n"+
		"job spots (running): 1000 rows came, 990 rows to main; 10 rows wait, the first for 1m1s\n"+
		"job frames (running): 1 file came, 1.9 GiB to centre; centre is away")
	w.after(time.Minute, nil)
	b, err := json.Marshal(w.a.book)
	if err != nil {
		t.Fatal(err)
	}
	w.a = newAlarms(app.Alerts{Summary: "09:00", Gate: 1000 * time.Hour})
	w.a.load(b)
	w.after(time.Minute, nil)
	w.after(3*24*time.Hour, nil, "summary since 2026-06-02 09:00")
	w.after(time.Minute, nil)
}

// What comes again and again is told once an hour, with the number of those that were held back.
func TestAlarmsDoNotFlood(t *testing.T) {
	w := watching(t)
	w.after(0, nil)
	dead := func(n int64) { w.job().Balance.Sinks[0].Dead += n }
	dead(3)
	w.after(time.Minute, nil, "3 more dead letters")
	for range 5 {
		dead(1)
		w.after(time.Minute, nil)
	}
	w.after(time.Hour, nil, "1 more dead letters; see `holdfast dead ls spots` (4 more of the kind were held back)")
	w.after(2*time.Hour, nil)
	dead(-4) // a person decided
	w.after(time.Hour, nil)
}

// A process that starts again and again tells what lasts only once: what it told is remembered.
func TestAlarmsSurviveACrashLoop(t *testing.T) {
	w := watching(t)
	w.gate(false)
	w.after(11*time.Minute, nil, "main is away")
	damage := []engine.Event{{Job: "spots", Kind: "damage.salvaged", Text: "the store was damaged"}}
	w.after(time.Second, damage, "the store was damaged")
	for range 10 {
		b, err := json.Marshal(w.a.book)
		if err != nil {
			t.Fatal(err)
		}
		w.a = newAlarms(app.Alerts{})
		w.a.load(b)
		w.after(time.Second, damage)
	}
	w.gate(true)
	w.after(time.Second, nil, "main is back")
	w.a.load([]byte("{")) // a damaged file keeps nobody from telling
	w.gate(false)
	w.after(11*time.Minute, nil)
}

func TestAlarmsOfLagDiskAndSilence(t *testing.T) {
	w := watching(t)
	w.after(0, nil)
	w.job().Lag["main"] = 3601
	w.after(time.Minute, nil, "rows have waited for sink main for 1h0m1s")
	w.job().Lag["main"] = 0
	w.g.Short, w.g.Disk.Free = true, 40
	w.after(time.Minute, nil, "the disk is short")
	w.g.Disk.Free = 10
	w.after(time.Minute, nil, "the disk is full")
	w.g.Short, w.g.Disk.Free = false, 100
	w.after(time.Minute, nil, "left again")
	for range pulsesKnown + 1 {
		w.job().Balance.Accepted += 10
		w.after(2*time.Minute, nil)
	}
	w.after(19*time.Minute, nil)
	w.after(2*time.Minute, nil, "nothing new for 21m0s, where something comes every 2m0s")
	w.job().Balance.Intake = balance.Intake{Accepted: 1000}
	w.after(time.Minute, nil, "something comes again")
	w.job().State = engine.Paused // a paused job is quiet because it is told to be
	w.after(time.Minute, nil)
	w.after(24*time.Hour, nil)
}

// A target that is down is tried again, then given up, and the one beside it does not wait.
func TestATargetThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		d := New(&app.Plan{Log: slog.New(slog.NewTextHandler(&log, nil))}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		q, tries := make(chan string, 1), 0
		q <- "the feed is away"
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			d.sendAll(ctx, "ops", func(string) error { tries++; return errors.New("refused") }, q)
		}()
		time.Sleep(time.Hour)
		cancel()
		<-ended
		if tries != len(sendPauses)+1 || !strings.Contains(log.String(), "dropped: the feed is away") {
			t.Errorf("got %d tries and %q", tries, log.String())
		}
		full := make(chan string) // nobody takes from it
		a := newAlarms(app.Alerts{})
		a.raise(time.Now(), "dead", "spots", "x")
		d.plan.Place.Dir = t.TempDir()
		d.hand(a, []chan string{full}) // does not block
		if len(a.out) != 0 || !strings.Contains(log.String(), "too much waits") {
			t.Errorf("got %q, log %q", a.out, log.String())
		}
	})
}
