package simulator

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Status counts what was served since the start.
type Status struct {
	Newest    uint64     `json:"newest"`
	Oldest    uint64     `json:"oldest"`
	LastAfter uint64     `json:"last_after"` // what the last request asked for
	Last      *time.Time `json:"last,omitempty"`
	Requests  int64      `json:"requests"`
	Pages     int64      `json:"pages"`
	Spots     int64      `json:"spots"`
	Bytes     int64      `json:"bytes"`
	Logins    int64      `json:"logins"`  // asked for
	Refused   int64      `json:"refused"` // logins and requests without a valid session
	Faulty    int64      `json:"faulty"`  // answers that a fault spoiled
	Sessions  int        `json:"sessions"`
	Faults    Faults     `json:"faults"`
}

// Status returns the counts.
func (s *Simulator) Status() Status {
	st := Status{Newest: s.Newest(), Oldest: s.Oldest(), LastAfter: s.served.lastAfter.Load(),
		Requests: s.served.requests.Load(), Pages: s.served.pages.Load(), Spots: s.served.spots.Load(),
		Bytes: s.served.bytes.Load(), Logins: s.served.logins.Load(), Refused: s.served.refused.Load(),
		Faulty: s.served.faults.Load(), Faults: s.Faults()}
	if ns := s.served.last.Load(); ns > 0 {
		t := time.Unix(0, ns)
		st.Last = &t
	}
	s.mu.Lock()
	st.Sessions = len(s.sessions)
	s.mu.Unlock()
	return st
}

func (s *Simulator) statusJSON(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.Status())
}

//go:embed status.html
var statusText string

var statusTemplate = template.Must(template.New("status").Parse(statusText))

// shown is what the status page shows.
type shown struct {
	State, Path, Login string
	On                 bool
	Counts             []count
	Groups             []group
}

type count struct{ Name, Value string }

type group struct {
	Title  string
	Faults []shownFault
}

type shownFault struct {
	Name, Title, Text, Since, Act string
	On                            bool
}

// groupOf says under which heading a fault stands.
var groupOf = map[string]int{"reset": 0, "500": 0, "hang": 0, "garbage": 0, "slow": 0, "retry_after": 0,
	"forbidden": 1, "refuse": 1, "as_text": 1, "truncate": 2, "reverse": 2, "late": 2, "holes": 2}

func (s *Simulator) shown() shown {
	st := s.Status()
	now := time.Now()
	ago := "never"
	if st.Last != nil {
		ago = now.Sub(*st.Last).Round(time.Second).String() + " ago"
	}
	v := shown{State: "in good health", Path: SpotsPath, Login: s.opts.Username,
		Counts: []count{{"spots served", thousands(st.Spots)},
			{"newest spot", strconv.FormatUint(st.Newest, 10)},
			{"last asked after", strconv.FormatUint(st.LastAfter, 10)}, {"last request", ago},
			{"pages", thousands(st.Pages)}, {"megabytes", thousands(st.Bytes >> 20)},
			{"logins", thousands(st.Logins)}, {"turned away", thousands(st.Refused)},
			{"answers spoiled", thousands(st.Faulty)}},
		Groups: []group{{Title: "Outages"}, {Title: "Sessions"}, {Title: "Spoiled pages"}},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, f := range faultList {
		sf := shownFault{Name: f.name, Title: f.title, Text: f.text, Act: "Start", On: f.on(st.Faults)}
		if sf.On {
			names = append(names, strings.ToLower(f.title))
			sf.Act = "Stop"
			sf.Since = now.Sub(s.since[f.name]).Round(time.Second).String()
		}
		g := &v.Groups[groupOf[f.name]]
		g.Faults = append(g.Faults, sf)
	}
	v.Groups[1].Faults = append(v.Groups[1].Faults, shownFault{Name: "expire", Title: "Expire sessions",
		Text: "the next request is not authorized", Act: "Do it"})
	if len(names) > 0 {
		v.On, v.State = true, strings.Join(names, ", ")
	}
	return v
}

// thousands groups digits for reading.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

func (s *Simulator) statusPage(w http.ResponseWriter, _ *http.Request) {
	var page bytes.Buffer
	if err := statusTemplate.Execute(&page, s.shown()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
	_, _ = w.Write(page.Bytes())
}
