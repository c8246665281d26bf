package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Faults are what is wrong with the feed at the moment. The zero Faults is a feed in good health.
type Faults struct {
	// Outage is one of Outages: the feed does not work at all. "" is none.
	Outage string `json:"outage"`
	// Forbidden answers every request for spots with "not authorized", whatever the session.
	Forbidden bool `json:"forbidden"`
	// Refuse turns down every login.
	Refuse bool `json:"refuse"`
	// AsText says "not authorized" in a 200 and not as a 403.
	AsText bool `json:"as_text"`
	// Truncate cuts every page at a random byte, every second time by breaking the connection.
	Truncate bool `json:"truncate"`
	// Reverse gives the spots of a page in descending order.
	Reverse bool `json:"reverse"`
	// RetryAfter answers 429 and asks for so many seconds; 0 is off.
	RetryAfter int `json:"retry_after"`
	// Late lets one id in 200 appear after its successors; Holes hides one in 50 while it is on.
	Late  bool `json:"late"`
	Holes bool `json:"holes"`
}

// outages are the ways in which a feed can be away: it resets the connection, answers 500, never
// answers, answers garbage, or drips.
var outages = []string{"reset", "500", "hang", "garbage", "slow"}

// SetFaults changes what is wrong. Requests that hang are let go and see the new state.
func (s *Simulator) SetFaults(change func(*Faults)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.faults
	change(&s.faults)
	for _, f := range faultList {
		switch on := f.on(s.faults); {
		case on && !f.on(was):
			s.since[f.name] = time.Now()
		case !on:
			delete(s.since, f.name)
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// Faults returns what is wrong now.
func (s *Simulator) Faults() Faults {
	f, _, _ := s.state()
	return f
}

// state is Faults with when Late was switched on, and a channel that closes at the next change.
func (s *Simulator) state() (f Faults, late time.Time, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults, s.since["late"], s.changed
}

// ExpireSessions ends every session: the next request is not authorized.
func (s *Simulator) ExpireSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

// switchable is a fault with a name that a form or a script can use.
type switchable struct {
	name, title, text string
	set               func(*Faults, bool)
	on                func(Faults) bool
}

var faultList = func() (l []switchable) {
	texts := map[string][2]string{
		"reset":   {"Gone", "every connection is reset"},
		"500":     {"Error 500", "every request is answered 500"},
		"hang":    {"Hang", "requests are taken and never answered"},
		"garbage": {"Garbage", "answers are bytes that mean nothing"},
		"slow":    {"Slow", "pages drip, a kilobyte a second"},
	}
	for _, o := range outages {
		l = append(l, switchable{o, texts[o][0], texts[o][1], func(f *Faults, on bool) {
			if on {
				f.Outage = o
			} else if f.Outage == o {
				f.Outage = ""
			}
		}, func(f Faults) bool { return f.Outage == o }})
	}
	flag := func(name, title, text string, at func(*Faults) *bool) {
		l = append(l, switchable{name, title, text, func(f *Faults, on bool) { *at(f) = on },
			func(f Faults) bool { return *at(&f) }})
	}
	flag("forbidden", "Forbidden", "no session is accepted",
		func(f *Faults) *bool { return &f.Forbidden })
	flag("refuse", "Refuse logins", "user name and password are wrong",
		func(f *Faults) *bool { return &f.Refuse })
	flag("as_text", "Refusal as text", "\u201cnot authorized\u201d comes in a 200, not a 403",
		func(f *Faults) *bool { return &f.AsText })
	flag("truncate", "Cut pages", "every page ends somewhere in its middle",
		func(f *Faults) *bool { return &f.Truncate })
	flag("reverse", "Reverse order", "the newest spot comes first",
		func(f *Faults) *bool { return &f.Reverse })
	flag("late", "Late spots", "one id in 200 appears after its successors",
		func(f *Faults) *bool { return &f.Late })
	flag("holes", "Hidden spots", "one id in 50 is hidden until this is switched off",
		func(f *Faults) *bool { return &f.Holes })
	l = append(l, switchable{"retry_after", "Ask for rest", "429 with Retry-After: 30",
		func(f *Faults, on bool) {
			if f.RetryAfter = 0; on {
				f.RetryAfter = 30
			}
		}, func(f Faults) bool { return f.RetryAfter > 0 }})
	return l
}()

// faultNames are the names that Switch knows.
func faultNames() (names []string) {
	for _, f := range faultList {
		names = append(names, f.name)
	}
	return names
}

// Switch turns a fault on or off by its name; "expire" ends all sessions, "all" with on false
// mends everything.
func (s *Simulator) Switch(name string, on bool) error {
	if name == "expire" {
		s.ExpireSessions()
		return nil
	}
	if name == "all" && !on {
		s.SetFaults(func(f *Faults) { *f = Faults{} })
		return nil
	}
	i := slices.IndexFunc(faultList, func(f switchable) bool { return f.name == name })
	if i < 0 {
		return fmt.Errorf("switch fault %q: want one of %s, expire", name,
			strings.Join(faultNames(), ", "))
	}
	s.SetFaults(func(f *Faults) { faultList[i].set(f, on) })
	return nil
}

// postFault is the form: name and on=true or false.
func (s *Simulator) postFault(w http.ResponseWriter, r *http.Request) {
	if err := s.Switch(r.FormValue("name"), r.FormValue("on") != "false"); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.Header.Get("Accept") == "application/json" {
		_ = json.NewEncoder(w).Encode(s.Status())
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
