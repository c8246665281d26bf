package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/app/desk"
	"holdfast/base/fault"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
)

const hostile = "\x1b[2J\x1b]0;pwned\x07\u009b31mHELLO"

// Nothing that a server answers is a command for the terminal, wherever it is shown.
func TestAnswersFromOutsideAreHarmless(t *testing.T) {
	var out, errs bytes.Buffer
	f := &face{terminal: terminal{out: harmless{&out}, err: harmless{&errs}}}
	f.showReport(desk.Report{Jobs: []engine.Status{{Name: "spots", Error: hostile,
		Gates: []gate.Status{{Name: "main", Cause: hostile, Hint: hostile}}}}}, time.Now())
	f.showDeep([]desk.Comparison{{Job: "spots", Sink: hostile, Error: hostile, Note: hostile}})
	fmt.Fprintf(f.out, "key: %s\n", hostile)
	f.complain(fault.WithHint(fmt.Errorf("got %s", hostile), hostile))
	for _, s := range []string{out.String(), errs.String()} {
		if !strings.Contains(s, `\u001b[2J`) || !strings.Contains(s, "HELLO") {
			t.Errorf("the answer is not shown: %s", s)
		}
		if strings.ContainsAny(s, "\x1b\x07\u009b\r") {
			t.Errorf("got %q", s)
		}
	}
	errs.Reset()
	fmt.Fprintf(f.err, "\r%s\r", "half\rway")
	if errs.String() != "\rhalf\\u000dway\r" {
		t.Errorf("progress: got %q", errs.String())
	}
}

func TestStatusOfAJobThatIsNotThere(t *testing.T) {
	all := []desk.Report{{Jobs: []engine.Status{{Name: "one"}}}, {Jobs: []engine.Status{{Name: "two"}}}}
	got, err := keepJob(all, "two")
	if err != nil || len(got) != 1 || len(got[0].Jobs) != 1 || got[0].Jobs[0].Name != "two" {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = keepJob(all, "nosuch")
	if !fault.Is(err, fault.NotFound) || fault.HintOf(err) != "jobs are: one, two" {
		t.Errorf("got %v, hint %q", err, fault.HintOf(err))
	}
	if code := (&face{terminal: terminal{err: &bytes.Buffer{}}, begun: true}).exit(nil, err); code != Failed {
		t.Errorf("exit code %d, want %d", code, Failed)
	}
}

// TestShortDiskIsTold: of several data directories, for as long as the first of them has been short, and once.
func TestShortDiskIsTold(t *testing.T) {
	now := time.Now()
	var out bytes.Buffer
	f := &face{terminal: terminal{out: &out, err: &out}}
	f.showReport(joinReports([]desk.Report{{}, {ShortSince: now.Add(-time.Hour)}, {ShortSince: now.Add(-3 * time.Hour)}}), now)
	want := "! the disk is short for 3 h: sources that can wait are paused"
	if got := out.String(); strings.Count(got, "short") != 1 || !strings.Contains(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestQueueText: nothing is under way in a process that does not run.
func TestQueueText(t *testing.T) {
	var out bytes.Buffer
	f := &face{terminal: terminal{out: &out, err: &out}}
	j := engine.Status{Name: "frames", State: engine.Stopped}
	j.Balance.Queues = []engine.QueueBooks{{Queue: "prepare"}}
	q := &j.Balance.Queues[0]
	q.Ready, q.Leased, q.Waiting = 1, 2, 4
	for state, want := range map[engine.State]string{engine.Stopped: "prepare: 7 waiting, 0 under way", engine.Running: "prepare: 5 waiting, 2 under way"} {
		out.Reset()
		j.State = state
		f.showReport(desk.Report{Jobs: []engine.Status{j}}, time.Now())
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: got\n%s, want %s", state, out.String(), want)
		}
	}
}

// TestQuotaText: what is still counted as above a mark, because it is not an eighth below, is not said to be above.
func TestQuotaText(t *testing.T) {
	q := engine.Quota{Level: engine.Hard, Policy: "hold", Marks: engine.Marks{Soft: 1 << 20, Hard: 2 << 20}}
	for used, want := range map[int64]string{
		3 << 20:         "! the spool has 3.0 MiB, above its hard mark of 2.0 MiB: intake waits",
		2<<20 - 100<<10: "! the spool has 1.9 MiB, not far enough below its hard mark of 2.0 MiB: intake waits",
	} {
		q.Used = used
		if got := quotaText(q); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestPromisesAreTold: each promise with its sinks, in lines that fit.
func TestPromisesAreTold(t *testing.T) {
	var out bytes.Buffer
	f := &face{terminal: terminal{out: &out, err: &out}}
	j := engine.Status{Name: "spots", Promises: map[string]string{"shop": "at least once", "local": "exactly once",
		"main": "exactly once"}}
	for i := range 10 {
		j.Promises[fmt.Sprintf("another-sink-%d", i)] = "at least once"
	}
	f.showJob(j, desk.Report{}, time.Now())
	for _, want := range []string{"\n  exactly once to local, main\n", "\n  at least once to another-sink-0, "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %q, want %q in it", out.String(), want)
		}
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > width+1 {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
}

// TestNoOpenGapIsNotNoGap: who looks for rows that were lost is told where they are listed.
func TestNoOpenGapIsNotNoGap(t *testing.T) {
	var out bytes.Buffer
	f := &face{terminal: terminal{out: &out, err: &out}}
	lost := desk.Gaps{}
	lost.Totals.Settled, lost.Totals.Lost = 3, 1200
	f.showGaps(lost, false)
	want := "there are no such gaps\n3 are settled (1,200 rows lost): see `--all`\n"
	if got := out.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
