package simulator

import (
	"encoding/json"
	"net/http"
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

func (s *Simulator) statusPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_ = json.NewEncoder(w).Encode(s.Status())
}
