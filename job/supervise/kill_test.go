package supervise

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

const killedRules = `
rules:
  - name: ask
    from: {tape: a}
    match: 'ask (?P<n>[0-9]+)'
    do: [{run: [/bin/sh, -c, 'echo ask $0 >> OUT', "{{n}}"]}]
  - name: repeat
    from: {tape: a}
    match: 'repeat (?P<n>[0-9]+)'
    unknown: repeat
    do: [{run: [/bin/sh, -c, 'echo repeat $0 >> OUT', "{{n}}"]}]
limit: {max: 1000000, within: 1s}
`

// killedLines are lines of which two in three lead to an action.
func killedLines(n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf([]string{"ask %d", "repeat %d", "nothing %d"}[i%3], i))
	}
	return lines
}

// TestKilledChild is the process that is killed.
func TestKilledChild(t *testing.T) {
	dir := os.Getenv("SUPERVISE_CHILD")
	if dir == "" {
		return // it is not that
	}
	var n int
	if _, err := fmt.Sscan(os.Getenv("SUPERVISE_LINES"), &n); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, killedRules)
	r.dir, r.out = dir, dir+"/out"
	r.tapes["a"].add(killedLines(n)...)
	r.start()
	fmt.Println("begun")
	for {
		if tasks := r.tasks(); tasks.Open == 0 && tasks.Taken == int64(n-n/3) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	r.end()
}

// TestKilled kills the job at random moments until all is done. Every line that matches leads to one action; one that is
// done was done once; one of which nobody knows whether it was done was done once at most, and nobody else's.
func TestKilled(t *testing.T) {
	kills, lines := 10, 300
	if os.Getenv("HOLDFAST_TORTURE") != "" {
		kills, lines = 100, 6000
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	for range kills {
		cmd := killedChild(t, dir, lines)
		// Some have done something by then, others begin only.
		most, was := int64(random.IntN(300)), size(dir+"/out")
		for end := time.Now().Add(5 * time.Second); size(dir+"/out") < was+most && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if err := killedChild(t, dir, lines).Wait(); err != nil {
		t.Fatalf("the last one: %v", err)
	}
	r := newRig(t, killedRules)
	r.dir, r.out = dir, dir+"/out"
	r.start()
	defer r.end()
	written := map[string]int{}
	for line := range strings.Lines(r.written()) {
		written[strings.TrimSpace(line)]++
	}
	records := map[string]Record{}
	for _, rec := range r.records() {
		if _, twice := records[rec.Seen]; twice {
			t.Errorf("%s led to two actions", rec.Seen)
		}
		records[rec.Seen] = rec
	}
	unknown, again := 0, 0
	for _, line := range killedLines(lines) {
		rec, ok := records[line]
		n := written[line]
		switch {
		case strings.HasPrefix(line, "nothing"):
			if ok || n > 0 {
				t.Errorf("%s led to something", line)
			}
		case !ok:
			t.Errorf("%s led to nothing", line)
		case rec.State == Unknown && strings.HasPrefix(line, "ask"):
			if unknown++; n > 1 {
				t.Errorf("%s: unknown, and done %d times", line, n)
			}
		case rec.State != Done || n < 1 || n > rec.Tries:
			t.Errorf("%s: %s after %d tries, done %d times", line, rec.State, rec.Tries, n)
		case n > 1 && strings.HasPrefix(line, "ask"):
			t.Errorf("%s: done %d times", line, n)
		case n > 1:
			again++
		}
	}
	if unknown+again == 0 {
		t.Error("nothing was under way when it was killed, so this shows nothing")
	}
	t.Logf("%d kills, %d actions: %d unknown, %d done again as their rule says", kills, len(records), unknown, again)
	// The counters are those of a recount.
	counts := map[State]uint64{}
	for _, rec := range records {
		counts[rec.State]++
	}
	if tasks := r.tasks(); tasks.Taken != int64(len(records)) || tasks.Open != 0 {
		b, _ := json.Marshal(counts)
		t.Errorf("counted %+v; there are %s", tasks, b)
	}
}

func size(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return info.Size()
}

// tasks are the actions, as they are counted.
func (r *rig) tasks() (tasks engine.Tasks) {
	r.Helper()
	err := r.st.Latest(func(rd store.Reader) (err error) {
		tasks, err = r.job.Tasks(rd)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return tasks
}

func killedChild(t *testing.T, dir string, lines int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledChild$")
	cmd.Env = append(os.Environ(), "SUPERVISE_CHILD="+dir, fmt.Sprintf("SUPERVISE_LINES=%d", lines),
		"TMPDIR="+t.TempDir()) // what it leaves there goes with this test
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := out.Read(b[:]); err != nil { // it has begun
		t.Fatal(err)
	}
	go func() {
		for buf := make([]byte, 1<<10); ; {
			if _, err := out.Read(buf); err != nil {
				return
			}
		}
	}()
	return cmd
}
