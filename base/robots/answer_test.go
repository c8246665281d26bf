package robots

import (
	"net/http"
	"testing"
	"time"
)

func TestAnswer(t *testing.T) {
	const file = "user-agent: *\ndisallow: /a\n"
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for _, c := range []struct {
		name   string
		answer Answer
		state  State
		a, b   bool // /a and /b are allowed
		valid  time.Duration
	}{
		{"good", Answer{Status: 200}, Parsed, false, true, day},
		{"partial", Answer{Status: 206}, Parsed, false, true, day},
		{"broken", Answer{Status: 200, Broken: true}, Unreachable, false, false, Again},
		{"fresh", Answer{Status: 200, Header: header("Cache-Control", "public, Max-Age=7200")}, Parsed, false, true, 2 * time.Hour},
		{"quoted", Answer{Status: 200, Header: header("Cache-Control", `max-age="7200"`)}, Parsed, false, true, 2 * time.Hour},
		{"too fresh", Answer{Status: 200, Header: header("Cache-Control", "no-cache, max-age=0")}, Parsed, false, true, time.Hour},
		{"for long", Answer{Status: 200, Header: header("Cache-Control", "max-age=31536000")}, Parsed, false, true, day},
		{"not a number", Answer{Status: 200, Header: header("Cache-Control", "max-age=x, s-maxage=5")}, Parsed, false, true, day},
		{"redirects", Answer{Status: 302}, Missing, true, true, day},
		{"not modified", Answer{Status: 304}, Unreachable, false, false, Again},
		{"not there", Answer{Status: 404}, Missing, true, true, day},
		{"forbidden", Answer{Status: 403, Header: header("Cache-Control", "max-age=5000")}, Missing, true, true, 5000 * time.Second},
		{"throttled", Answer{Status: 429}, Unreachable, false, false, Again},
		{"throttled for long", Answer{Status: 429, Header: header("Retry-After", "7200")}, Unreachable, false, false, 2 * time.Hour},
		{"throttled for a moment", Answer{Status: 429, Header: header("Retry-After", "1")}, Unreachable, false, false, Again},
		{"down", Answer{Status: 500}, Unreachable, false, false, Again},
		{"down until", Answer{Status: 503, Header: header("Retry-After", now.Add(time.Hour).Format(http.TimeFormat))}, Unreachable,
			false, false, time.Hour},
		{"down for years", Answer{Status: 503, Header: header("Retry-After", "2000000000")}, Unreachable, false, false, day},
		{"down for ever", Answer{Status: 503, Header: header("Retry-After", "99999999999")}, Unreachable, false, false, day},
		{"down by its own clock", Answer{Status: 503, Header: http.Header{"Date": {now.Add(-3 * time.Hour).Format(http.TimeFormat)},
			"Retry-After": {now.Add(-2 * time.Hour).Format(http.TimeFormat)}}}, Unreachable, false, false, time.Hour},
		{"no answer", Answer{Status: -2}, Unreachable, false, false, Again},
		{"nonsense", Answer{Status: 700}, Unreachable, false, false, Again},
		{"early hints", Answer{Status: 103}, Unreachable, false, false, Again},
	} {
		c.answer.Body = []byte(file)
		r, valid := c.answer.Rules("x", now)
		a, _ := r.Allowed("/a")
		b, _ := r.Allowed("/b")
		if robots, _ := r.Allowed("/robots.txt"); !robots {
			t.Errorf("%s: /robots.txt itself is forbidden", c.name)
		}
		if r.State() != c.state || a != c.a || b != c.b || valid != c.valid {
			t.Errorf("%s: got %v, %v, %v for %v; want %v, %v, %v for %v", c.name, r.State(), a, b, valid, c.state, c.a, c.b, c.valid)
		}
		if again, err := Decode(r.Encode()); err != nil || again != r {
			t.Errorf("%s: read back as %v, %v", c.name, again, err)
		}
	}
}

func header(key, value string) http.Header { return http.Header{key: {value}} }

func TestPolicy(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		fixed  bool
		state  State
		a      bool
		faults int
	}{
		{Policy{}, false, Missing, true, 0},
		{Policy{Mode: Obey}, false, Missing, true, 0},
		{Policy{Mode: Ignore}, true, Ignored, true, 0},
		{Policy{Mode: Own, Text: "user-agent: *\ndisallow: /a\ncrawl-delay: 7"}, true, Custom, false, 0},
		{Policy{Mode: "robotsTxtOnly"}, false, Missing, true, 1},
		{Policy{Mode: Own}, true, Custom, true, 1},
		{Policy{Mode: Ignore, Text: "x"}, true, Ignored, true, 1},
		{Policy{Mode: Own, Text: string(make([]byte, MaxBytes+1))}, true, Custom, true, 1},
	} {
		r, ok := c.policy.Rules("x")
		a, _ := r.Allowed("/a")
		if n := len(c.policy.Validate()); ok != c.fixed || r.State() != c.state || a != c.a || n != c.faults {
			t.Errorf("%.60v: got %v, %v, %v, %d faults: %.100v", c.policy, ok, r.State(), a, n, c.policy.Validate())
		}
		if again, err := Decode(r.Encode()); err != nil || again != r {
			t.Errorf("%.60v: read back as %v, %v", c.policy, again, err)
		}
	}
}

func TestStates(t *testing.T) {
	seen := map[string]bool{}
	for s := Missing; s <= Custom; s++ {
		seen[s.String()] = true
	}
	if len(seen) != 5 || State(200).String() != "custom" {
		t.Errorf("the words of the states: %v", seen)
	}
}
