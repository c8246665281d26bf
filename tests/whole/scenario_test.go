package whole

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"holdfast/connector/wsprnet/simulator"
	"holdfast/tests/testenv"
)

// scraper is `holdfast wsprnet` in the place of wsprnet_scraper.py: its JSON file, its flags, its
// log.
type scraper struct {
	*rig
	ch  *testenv.ClickHouseServer
	p   *testenv.Process
	log string
}

func newScraper(t *testing.T) *scraper {
	t.Helper()
	s := &scraper{rig: newRig(t, simulator.Options{Seed: 5, Backlog: 200, PageLimit: 100,
		Username: "AA1A", Password: "geheim"}), ch: testenv.ClickHouse(t)}
	s.log = s.path("log/wsprnet_scraper.log")
	k := into(s.ch.Addr())
	k["username"], k["password"] = "AA1A", "geheim"
	s.wsprnet(k, "--loop", "1", "--log-file", s.log)
	return s
}

// lines are the lines of the log that hold a text.
func (s *scraper) lines(text string) (found []string) {
	b, _ := os.ReadFile(s.log)
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, text) {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found
}

func (s *scraper) says(n int, text string) {
	s.t.Helper()
	testenv.Until(s.t, soon, "the log says "+strconv.Quote(text), func() bool {
		return len(s.lines(text)) >= n || !s.p.Running()
	})
	if len(s.lines(text)) < n {
		s.t.Fatalf("holdfast ended, and the log says %q %d times, want %d:\n%s", text,
			len(s.lines(text)), n, strings.Join(s.lines(""), "\n"))
	}
}

// cycle lets spots come while the sink is away, and waits until the log says that they are cached.
func (s *scraper) cycle(n int) {
	s.t.Helper()
	want := s.cached() + n
	s.sim.Publish(uint64(n))
	testenv.Until(s.t, soon, "the log says that the spots are cached", func() bool {
		return s.cached() >= want || !s.p.Running()
	})
	if got := s.cached(); got != want {
		s.t.Fatalf("the log tells of %d cached spots, want %d:\n%s", got, want,
			strings.Join(s.lines(""), "\n"))
	}
}

func (s *scraper) cached() int { return sum(s.t, s.lines("Cached "), `Cached (\d+) spots`) }

// whole waits for the end of the replay, and compares table, log and books.
func (s *scraper) whole(cached int) {
	s.t.Helper()
	s.drained(s.p)
	s.says(1, "still pending")
	s.end(s.p)
	compare(s.t, "clickhouse", clickHouseRows(s.t, s.ch), s.expected())
	s.balanced()

	replayed := sum(s.t, s.lines("Successfully replayed"), `Successfully replayed (\d+) `)
	if replayed < cached {
		s.t.Errorf("the log tells of %d replayed spots, want at least %d", replayed, cached)
	}
	succeeded := sum(s.t, s.lines("Cache replay: "),
		`Cache replay: (\d+) succeeded, \d+ still pending`)
	if succeeded != replayed {
		s.t.Errorf("the log sums up %d replayed spots, and tells of %d", succeeded, replayed)
	}
	format := regexp.MustCompile(`^(\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] ` +
		`(DEBUG|INFO|WARNING|ERROR): |    )\S`)
	for _, line := range s.lines("") {
		if !format.MatchString(line) {
			s.t.Errorf("a line of the log is not as the old one's: %q", line)
		}
	}
	if secret := s.lines("geheim"); len(secret) > 0 {
		s.t.Errorf("the log holds the password: %q", secret)
	}
}

func sum(t *testing.T, lines []string, pattern string) (n int) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for _, line := range lines {
		m := re.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("a line of the log is not as wanted: %q", line)
			continue
		}
		k, _ := strconv.Atoi(m[1])
		n += k
	}
	return n
}

// TestScenarioClickHouseRestart is the first scenario of the old scraper's document.
func TestScenarioClickHouseRestart(t *testing.T) {
	t.Parallel()
	s := newScraper(t)
	s.p = s.up()
	s.drained(s.p)
	s.ch.Stop()
	s.cycle(50)
	s.cycle(50)
	s.ch.Restart()
	s.whole(100)
}

// TestScenarioClickHouseUpgrade is the second: an outage of many cycles.
func TestScenarioClickHouseUpgrade(t *testing.T) {
	t.Parallel()
	s := newScraper(t)
	s.p = s.up()
	s.drained(s.p)
	s.ch.Stop()
	for range 5 {
		s.cycle(120)
	}
	s.ch.Restart()
	s.whole(600)
}

// TestScenarioReboot is the third: everything is killed, and started again, ClickHouse last.
func TestScenarioReboot(t *testing.T) {
	t.Parallel()
	s := newScraper(t)
	s.p = s.up()
	s.drained(s.p)
	s.ch.Kill()
	s.cycle(80)
	s.p.Kill()
	s.sim.Publish(30) // while nothing runs
	s.p = s.up()
	testenv.Until(t, soon, "the spots of the reboot are cached", func() bool {
		return s.cached() == 110
	})
	s.cycle(40)
	s.ch.Restart()
	s.whole(150)
}
