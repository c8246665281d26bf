package site

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/tests/testenv"
)

// TestNastyIsDeterministic: the same seed makes the same site, but for the addresses.
func TestNastyIsDeterministic(t *testing.T) {
	describe := func(n *Nasty) []string {
		hosts := map[string]string{}
		for i, seed := range n.Seeds {
			_, address, _ := strings.Cut(seed, "//")
			hosts[address] = fmt.Sprintf("host-%d/", i)
		}
		var all []string
		for _, c := range n.Cases {
			for address, name := range hosts {
				c.URL = strings.Replace(c.URL, address, name, 1)
			}
			if strings.Contains(c.URL, "/elsewhere/") || strings.Contains(c.URL, "/names/") || strings.Contains(c.URL, "/place/") {
				c.Why, c.Payload = "", "" // they name addresses
			}
			c.Leads = nil
			all = append(all, fmt.Sprint(c))
		}
		return all
	}
	one, two := describe(NewNasty(t, 7)), describe(NewNasty(t, 7))
	if !slices.Equal(one, two) {
		for i := range one {
			if one[i] != two[i] {
				t.Errorf("got %.300s\nand %.300s", one[i], two[i])
			}
		}
	}
	t.Logf("%d cases", len(one))
}

// TestNastyCases: they are told apart, and what they lead to is a case.
func TestNastyCases(t *testing.T) {
	n := NewNasty(t, testenv.Seed(t))
	all := map[string]Case{}
	for _, c := range n.Cases {
		if _, ok := all[c.URL]; ok {
			t.Errorf("%s is two cases", brief(c.URL))
		}
		all[c.URL] = c
		if c.Why == "" || c.Most < c.Least || c.Least > 0 && len(c.Status) == 0 && c.Archived == Must {
			t.Errorf("what is expected of %s makes no sense: %+v", brief(c.URL), c)
		}
	}
	for _, c := range n.Cases {
		for _, lead := range c.Leads {
			if to, ok := all[lead]; !ok || to.Archived != Must || to.Least == 0 {
				t.Errorf("%s leads to %s, of which nothing is expected", c.URL, lead)
			}
		}
	}
	t.Logf("%d cases, %d hosts, %d traps", len(n.Cases), len(n.Hosts), len(n.Traps))
	if faults := n.Faults(); len(faults) < len(n.Cases)/2 {
		t.Errorf("nothing was asked for, and that is %d faults", len(faults))
	}
}

// ask sends a request and returns the first line that comes in time.
func ask(t *testing.T, h *Host, target string, patience time.Duration) string {
	t.Helper()
	conn, err := net.Dial("tcp", hostOf(h))
	if err != nil {
		t.Error(err)
		return ""
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Error(err)
	}
	if _, err := io.WriteString(conn, "GET "+target+" HTTP/1.1\r\nHost: "+hostOf(h)+"\r\n\r\n"); err != nil {
		t.Error(err)
	}
	line, _ := bufio.NewReader(conn).ReadString('\n') // ended by whatever comes first
	return line
}

// TestNastyAnswers: each case of HTTP/1.1 is answered with a status that it expects, or not at all.
func TestNastyAnswers(t *testing.T) {
	n := NewNasty(t, testenv.Seed(t))
	var asking errgroup.Group
	asking.SetLimit(16)
	asked := 0
	for _, c := range n.Cases {
		h := n.Hosts[c.URL[:strings.IndexByte(c.URL[len("https://"):], '/')+len("https:///")]]
		if h == nil || !strings.HasPrefix(h.URL, "http://") || strings.HasSuffix(c.URL, "/robots.txt") || c.Most == 0 {
			continue
		}
		asked++
		asking.Go(func() error {
			line := ask(t, h, "/"+strings.TrimPrefix(c.URL, h.URL), 3*time.Second)
			var status int
			if _, err := fmt.Sscanf(line, "HTTP/1.%d %d", new(int), &status); err != nil {
				status = -3
			}
			puts := slices.ContainsFunc([]string{"/broken/once", "/head/before", "/head/early", "/later"}, func(s string) bool {
				return strings.HasSuffix(c.URL, s)
			})
			if !puts && len(c.Status) > 0 && c.Status[0] > 0 && !slices.Contains(c.Status, status) {
				t.Errorf("%s: got %.100q, want %v", brief(c.URL), line, c.Status)
			}
			if h.Count(c.URL) != 1 {
				t.Errorf("%s: counted %d times", brief(c.URL), h.Count(c.URL))
			}
			return nil
		})
	}
	_ = asking.Wait() // they say what is wrong by themselves
	t.Logf("asked for %d cases of %d", asked, len(n.Cases))
	if h := n.Forbidden[0]; !strings.HasPrefix(ask(t, h, "/", time.Second), "HTTP/1.1 200") || h.Conns() != 1 {
		t.Errorf("%s is not there", h.URL)
	}
	if faults := n.Faults(); !slices.ContainsFunc(faults, func(s string) bool { return strings.HasPrefix(s, n.Forbidden[0].URL) }) {
		t.Errorf("that a forbidden host was asked is no fault: %q", faults)
	}
}

// TestJudge: each thing that a crawl may get wrong is told, and what it gets right is not.
func TestJudge(t *testing.T) {
	n := NewNasty(t, 1)
	n.Cases = []Case{
		{URL: "https://a/good", Why: "x", Status: []int{200}, Truncated: whole, Payload: digest("body")},
		{URL: "https://a/no", Why: "x", Status: []int{-3, -4}, Archived: Never},
		{URL: "https://a/may", Why: "x", Archived: May, Truncated: []string{"", "time"}},
	}
	right := Outcome{Status: 200, Archived: true, Payload: digest("body")}
	for _, c := range []struct {
		url  string
		o    Outcome
		want string
	}{
		{"good", right, ""}, {"no", Outcome{Status: -4}, ""}, {"may", Outcome{Archived: true, Truncated: "time", Status: 7}, ""},
		{"may", Outcome{}, ""},
		{"good", Outcome{Status: 404, Archived: true, Payload: right.Payload}, "https://a/good: its status is 404, want [200]: x"},
		{"good", Outcome{Status: 200, Payload: right.Payload}, "https://a/good: it is not archived: x"},
		{"good", Outcome{Status: 200, Archived: true, Payload: "sha1:A"}, "https://a/good: its payload is sha1:A, want " +
			right.Payload + ": x"},
		{"good", Outcome{200, true, "time", right.Payload}, `https://a/good: it is cut by "time", want [""]: x`},
		{"no", Outcome{Status: -3, Archived: true}, "https://a/no: it is archived: x"},
	} {
		all := map[string]Outcome{"https://a/good": right, "https://a/no": {Status: -3}}
		all["https://a/"+c.url] = c.o
		if got := strings.Join(n.Judge(all, false), "\n"); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.o, got, c.want)
		}
	}
	if got := n.Judge(map[string]Outcome{n.Seeds[0]: right}, false); len(got) != 3 || !strings.Contains(got[0], "never asked for") {
		t.Errorf("archived out of nowhere, and all else unknown: got %q", got)
	}
	n.Cases = []Case{{URL: n.Seeds[0], Why: "x", Status: []int{200}, Least: 1, Most: 1}}
	if got := n.Judge(map[string]Outcome{}, true); len(got) != 2 {
		t.Errorf("nothing asked for: got %q", got)
	}
}

// TestTraps: what comes to more of a trap than it should is told, and so is what asks again too soon.
func TestTraps(t *testing.T) {
	n := NewNasty(t, 1)
	for i := range 50 {
		ask(t, n.main, fmt.Sprintf("/count/?n=%d", i), time.Second)
	}
	soon := n.Cases[slices.IndexFunc(n.Cases, func(c Case) bool { return c.Gap > 0 })].URL
	h := n.Hosts[strings.TrimSuffix(soon, "later")]
	ask(t, h, "/later", time.Second)
	ask(t, h, "/later", time.Second)
	faults := strings.Join(n.Faults(), "\n")
	for _, want := range []string{"50 URLs of " + n.main.URL + "count/ were asked for, want at most 21", soon +
		" was asked for again after "} {
		if !strings.Contains(faults, want) {
			t.Errorf("want %q", want)
		}
	}
}

// TestBomb: it is gzip, of a quarter of a gigabyte, with a good sum.
func TestBomb(t *testing.T) {
	unpack := exec.CommandContext(t.Context(), "sh", "-c", "gzip -dc | wc -c")
	unpack.Stdin = strings.NewReader(bomb())
	out, err := unpack.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != fmt.Sprint(1<<28) || len(bomb()) > MaxBytes {
		t.Errorf("%d bytes unpack to %s, %v", len(bomb()), out, err)
	}
}

// TestNothingIsLeft: servers end with the test, whatever their clients do.
func TestNothingIsLeft(t *testing.T) {
	before := stacks()
	outer := t // whose clients hang up when the servers have gone
	t.Run("", func(t *testing.T) {
		n := NewNasty(t, 1)
		for _, h := range n.Hosts {
			for range 2 {
				conn, err := net.Dial("tcp", strings.TrimSuffix(strings.Split(h.URL, "//")[1], "/"))
				if err != nil {
					t.Fatal(err)
				}
				outer.Cleanup(func() { _ = conn.Close() })
				_, _ = io.WriteString(conn, "GET /slow/never HTTP/1.1\r\n\r\n")
			}
		}
		s := Docs(t, small(t), Options{})
		s.Freeze()
		conn, err := net.Dial("tcp", s.Host)
		if err != nil {
			t.Fatal(err)
		}
		outer.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		testenv.Until(t, 10*time.Second, "a request that waits", func() bool { return s.AtOnce() == 1 })
	})
	testenv.Until(t, 10*time.Second, "no goroutine of ours", func() bool { return stacks() <= before })
}

// stacks counts the goroutines, those aside that wait for a test.
func stacks() int {
	b := make([]byte, 4<<20)
	b = b[:runtime.Stack(b, true)]
	return bytes.Count(b, []byte("\ngoroutine ")) - bytes.Count(b, []byte("testing.(*T).Run"))
}
