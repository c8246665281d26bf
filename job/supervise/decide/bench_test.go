package decide

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/connector"
)

// BenchmarkStep is how many lines a second go through 100 rules on one core, decisions and changes of states included: lines of
// real logs, of which few or many lead to something. It counts time of a processor, because others use it too.
func BenchmarkStep(b *testing.B) {
	for name, often := range map[string]string{"few lines match": "gpm startup succeeded", "a third of the lines match": `Failed password for|authentication failure`} {
		b.Run(name, func(b *testing.B) { steps(b, often) })
	}
}

func steps(b *testing.B, often string) {
	text := strings.Builder{}
	text.WriteString("rules:\n")
	for i := range 99 {
		fmt.Fprintf(&text, "  - {name: r%d, from: {journal: {unit: a.service}}, match: 'unit%d.*(connection refused|no reply from daemon)', do: {notify: ops}}\n", i, i)
	}
	fmt.Fprintf(&text, "  - {name: often, from: {journal: {unit: a.service}}, match: '%s', when: {count: 5, within: 1m}, cooldown: 30s, do: {notify: ops}}\n", often)
	set := load(b, text.String())
	var all [][]byte
	for _, name := range []string{"OpenSSH_2k.log", "Linux_2k.log"} {
		log, err := os.ReadFile("../../../../shared/data/logs/" + name)
		if err != nil {
			b.Fatalf("the logs that this measures with are not there: %v", err)
		}
		all = append(all, bytes.Split(bytes.TrimSpace(log), []byte("\n"))...)
	}
	m, now := New(set), time.Now()
	e := connector.Event{Kind: connector.EventLine, ID: "x", Fields: map[string]string{"_SYSTEMD_UNIT": "a.service"}}
	begun, n, decided := userTime(b), 0, 0
	for b.Loop() {
		for range 20 {
			for _, line := range all {
				now = now.Add(time.Millisecond)
				e.Line, e.Time = line, now
				decided += len(m.Step(set.Sources[0].ID, &e, now).Decisions)
			}
			for range m.Changes() { // as one commit for some thousand lines
			}
			n += len(all)
		}
	}
	b.ReportMetric(float64(n)/(userTime(b)-begun).Seconds(), "lines/s")
	b.ReportMetric(float64(decided)/float64(n), "decided")
}

// userTime is the processor time that this process has used.
func userTime(b *testing.B) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano())
}
