package match

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hundred are 100 patterns as rules for these logs have them: most are about what seldom comes, some about what often does,
// many share their texts.
func hundred() []string {
	all := []string{
		`Failed password for (invalid user )?([a-z]+) from ([0-9.]+) port ([0-9]+)`,
		`Invalid user ([^ ]+) from ([0-9.]+)`,
		`reverse mapping checking getaddrinfo for ([^ ]+) \[([0-9.]+)\] failed`,
		`Received disconnect from ([0-9.]+): 11: Bye Bye`,
		`Connection closed by ([0-9.]+) \[preauth\]`,
		`authentication failure; .* rhost=([^ ]+)`,
		`Did not receive identification string from ([0-9.]+)`,
		`ftpd\[[0-9]+\]: connection from ([0-9.]+)`,
		`session (opened|closed) for user (root|cyrus|news)`,
		`Out of Memory: Killed process ([0-9]+)`,
	}
	units := []string{"bitcoind", "lightningd", "electrs", "bbbmiddleware", "nginx", "redis", "postgres", "grafana", "prometheus"}
	causes := []string{`%s.*connection refused`, `%s: segfault at`, `%s\[[0-9]+\]: (panic|fatal error): (.*)`, `%s.*no reply from daemon`,
		`%s.*Too many open files`, `%s.*disk (full|quota exceeded)`, `%s.service: Main process exited, code=(dumped|killed)`,
		`%s.service: Start request repeated too quickly`, `%s.*certificate (has expired|is not yet valid)`, `%s.*finished full compaction`}
	for _, u := range units {
		for _, c := range causes {
			all = append(all, fmt.Sprintf(c, u))
		}
	}
	return all
}

// logs are the real logs of the tests' data, n times.
func logs(b *testing.B, n int) []byte {
	b.Helper()
	var all []byte
	for _, name := range []string{"OpenSSH_2k.log", "Linux_2k.log"} {
		text, err := os.ReadFile("../../../../shared/data/logs/" + name)
		if err != nil {
			b.Fatalf("the logs that this measures with are not there: %v", err)
		}
		all = append(all, bytes.ReplaceAll(text, []byte("\r"), nil)...)
	}
	return bytes.Repeat(all, n)
}

// BenchmarkLines is how many lines a second go through 100 patterns on one core, and how long grep -E -c takes for the same
// lines and patterns, joined: in one run, because machines differ, and in time of a processor, because others use it too.
func BenchmarkLines(b *testing.B) {
	b.Run("most lines match", func(b *testing.B) { lines(b, hundred()) })
	// A supervisor is there for what seldom comes: without the first ten, others in their place.
	rare := hundred()[10:]
	for i := range 10 {
		rare = append(rare, fmt.Sprintf(`(lightningd|electrs)\[[0-9]+\]: peer ([0-9a-f]+) of channel %d (failed|timed out)`, i))
	}
	b.Run("few lines match", func(b *testing.B) { lines(b, append(rare[:99:99], "klogd [0-9.]+, log source = (.*) started")) })
}

// userTime is the processor time that this process has used.
func userTime(b *testing.B) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano())
}

func lines(b *testing.B, patterns []string) {
	text := logs(b, 100)
	file := filepath.Join(b.TempDir(), "log")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		b.Fatal(err)
	}
	var all []*regexp.Regexp
	for _, p := range patterns {
		all = append(all, regexp.MustCompile(p))
	}
	m := New(all).Matcher()
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	var ours, grep time.Duration
	found, greps := 0, ""
	for b.Loop() {
		begun := userTime(b)
		found = 0
		for _, line := range lines {
			if len(m.Line(line)) > 0 {
				found++
			}
		}
		ours += userTime(b) - begun
		cmd := exec.Command("grep", "-E", "-c", strings.Join(patterns, "|"), file)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		out, err := cmd.Output()
		if err != nil && cmd.ProcessState.ExitCode() != 1 { // 1 is that nothing matches
			b.Fatal(err)
		}
		grep += cmd.ProcessState.UserTime()
		greps = strings.TrimSpace(string(out))
	}
	if fmt.Sprint(found) != greps {
		b.Fatalf("%d lines match, grep finds %s", found, greps)
	}
	n := float64(len(lines) * b.N)
	b.ReportMetric(n/ours.Seconds(), "lines/s")
	b.ReportMetric(n/grep.Seconds(), "grep-lines/s")
	b.ReportMetric(grep.Seconds()/ours.Seconds(), "times-grep")
	b.ReportMetric(float64(found)/float64(len(lines)), "matched")
}
