package wsprnet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
)

func withSession(file string) func(*Config) {
	return func(c *Config) { c.Username, c.Password, c.SessionFile = "u", "p", file }
}

func account() simulator.Options {
	return simulator.Options{Backlog: 20, Rate: -1, Keep: -1, Username: "u", Password: "p"}
}

func TestSessionOutlivesTheProcess(t *testing.T) {
	sim, url := serve(t, account())
	file := filepath.Join(t.TempDir(), "new", "session.json")
	for range 3 {
		s := open(t, url, withSession(file))
		if rows, _, _ := collect(t, s, nil); len(rows) != 20 {
			t.Fatalf("got %d rows", len(rows))
		}
	}
	if n := sim.Status().Logins; n != 1 {
		t.Errorf("three starts took %d logins, want 1", n)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("session file: %v, %v, want mode 0600", info, err)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
	if len(left) != 1 {
		t.Errorf("beside the session file: %v", left)
	}
	if data, _ := os.ReadFile(file); strings.Contains(string(data), `"p"`) {
		t.Error("the session file holds the password")
	}
}

func TestSessionFileOfNoUse(t *testing.T) {
	for name, text := range map[string]string{
		"damaged":       `{"session_name":"S","ses`,
		"empty":         "",
		"header break":  `{"session_name":"S","sessid":"x\r\nX: y"}`,
		"other account": `{"session_name":"S","sessid":"x","username":"somebody"}`,
		"zeros":         "\x00\x00\x00\x00",
	} {
		sim, url := serve(t, account())
		file := filepath.Join(t.TempDir(), "s.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, url, withSession(file))
		p, err := s.Fetch(t.Context(), connector.Request{})
		if err != nil || p.Rows.NumRows() != 20 {
			t.Fatalf("%s: %v", name, err)
		}
		if p.Notes["session_file_ignored"] != 1 || sim.Status().Logins != 1 {
			t.Errorf("%s: notes %v, %d logins", name, p.Notes, sim.Status().Logins)
		}
		if got, err := loadSession(file, "u", s.cfg.LoginURL); err != nil || !got.valid() {
			t.Errorf("%s: not replaced: %v", name, err)
		}
	}
}

// The file of the old scraper holds a login's answer, without a user name.
func TestSessionFileOfTheScraper(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s.json")
	old := `{"sessid":"abc","session_name":"SESS1","token":"t","user":{"uid":"1"}}`
	if err := os.WriteFile(file, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := loadSession(file, "u", "http://h/x"); err != nil || s.cookie() != "SESS1=abc" {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestUnwritableSessionFile(t *testing.T) {
	_, url := serve(t, account())
	dir := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, url, withSession(filepath.Join(dir, "s.json")))
	p, err := s.Fetch(t.Context(), connector.Request{})
	if err != nil || p.Rows.NumRows() != 20 || p.Notes["session_file_unwritten"] != 1 {
		t.Errorf("got %v, notes %v; the spots must come all the same", err, p.Notes)
	}
}

func TestExpiredSessionIsRenewedOnce(t *testing.T) {
	for _, asText := range []bool{false, true} {
		sim, url := serve(t, account())
		sim.SetFaults(func(f *simulator.Faults) { f.AsText = asText })
		s := open(t, url, withSession(filepath.Join(t.TempDir(), "s.json")))
		for want := int64(1); want <= 3; want++ {
			if rows, _, _ := collect(t, s, nil); len(rows) != 20 {
				t.Fatalf("as text %v: got %d rows", asText, len(rows))
			}
			if n := sim.Status().Logins; n != want {
				t.Errorf("as text %v: %d logins, want %d", asText, n, want)
			}
			sim.ExpireSessions()
		}
	}
}

func TestNoLoginStorm(t *testing.T) {
	sim, url := serve(t, account())
	s := open(t, url, func(c *Config) { c.Username, c.Password = "u", "wrong" })
	for range 5 {
		_, err := s.Fetch(t.Context(), connector.Request{})
		if !fault.Is(err, fault.Credentials) || strings.Contains(err.Error(), "wrong ") {
			t.Errorf("got %v of kind %v", err, fault.KindOf(err))
		}
		if !strings.Contains(fault.HintOf(err), "username and password") {
			t.Errorf("hint: got %q", fault.HintOf(err))
		}
	}
	if n := sim.Status().Logins; n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	s.RetryLogin()
	_, _ = s.Fetch(t.Context(), connector.Request{})
	if n := sim.Status().Logins; n != 2 {
		t.Errorf("after being told: %d logins, want 2", n)
	}
	// A session that expires while logins are refused: the old one is not tried again.
	sim, url = serve(t, account())
	s = open(t, url, withSession(""))
	collect(t, s, nil)
	before := sim.Status()
	sim.ExpireSessions()
	sim.SetFaults(func(f *simulator.Faults) { f.Refuse = true })
	for range 5 {
		if _, err := s.Fetch(t.Context(), connector.Request{}); !fault.Is(err, fault.Credentials) {
			t.Errorf("expired and refused: got %v", err)
		}
	}
	if n := sim.Status().Requests - before.Requests; n != 2 {
		t.Errorf("expired and refused: %d requests in 5 fetches, want 2", n)
	}
	// A feed that takes the login and refuses all the same: one renewal, and then rest.
	sim, url = serve(t, account())
	sim.SetFaults(func(f *simulator.Faults) { f.Forbidden = true })
	s = open(t, url, withSession(""))
	for range 5 {
		if _, err := s.Fetch(t.Context(), connector.Request{}); !fault.Is(err, fault.Credentials) {
			t.Errorf("forbidden: got %v", err)
		}
	}
	if st := sim.Status(); st.Logins > 2 || st.Requests > 5 {
		t.Errorf("forbidden: %d logins, %d requests", st.Logins, st.Requests)
	}
}

// After a long pause a refused login is tried again.
func TestLoginPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(account())
		s := open(t, "http://feed.test", func(c *Config) { c.Username, c.Password = "u", "wrong" })
		s.client.Transport = direct{sim}
		for want := int64(1); want <= 3; want++ {
			for range 4 {
				if _, err := s.Fetch(t.Context(), connector.Request{}); !fault.Is(err, fault.Credentials) {
					t.Fatalf("got %v", err)
				}
				time.Sleep(10 * time.Minute)
			}
			if n := sim.Status().Logins; n != want {
				t.Errorf("%d logins, want %d", n, want)
			}
			time.Sleep(21 * time.Minute)
		}
	})
}

func TestMissingPassword(t *testing.T) {
	_, url := serve(t, account())
	s := open(t, url, nil) // without a user name there is nothing to log in with
	_, err := s.Fetch(t.Context(), connector.Request{})
	if !fault.Is(err, fault.Credentials) || !strings.Contains(fault.HintOf(err), "set username") {
		t.Errorf("got %v, hint %q", err, fault.HintOf(err))
	}
}

func TestLoginOutages(t *testing.T) {
	for _, c := range []struct {
		fault string
		want  fault.Kind
	}{{"500", fault.Transient}, {"garbage", fault.Transient}, {"reset", fault.Transient},
		{"hang", fault.Transient}, {"retry_after", fault.Throttled}} {
		sim, url := serve(t, account())
		s := open(t, url, func(c *Config) {
			c.Username, c.Password, c.RequestTimeout = "u", "p", 100*time.Millisecond
		})
		if err := sim.Switch(c.fault, true); err != nil {
			t.Fatal(err)
		}
		_, err := s.Fetch(t.Context(), connector.Request{})
		if !fault.Is(err, c.want) || !strings.Contains(err.Error(), "log in to 127.0.0.1") {
			t.Errorf("%s: got %v of kind %v, want %v", c.fault, err, fault.KindOf(err), c.want)
		}
		_ = sim.Switch("all", false)
		if rows, _, _ := collect(t, s, nil); len(rows) != 20 {
			t.Errorf("after %s: got %d rows", c.fault, len(rows))
		}
	}
}
