package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/kernel/store"
)

// Acknowledged is what a person has been told of a job's losses. It stays in the books, and is no news any more.
type Acknowledged struct {
	At time.Time `json:"at"`
	Loss
}

// Loss is what a job has lost, ever.
type Loss struct {
	Lost    int64            `json:"lost"`              // rows that gaps have lost; of most jobs, rows that expired are among them
	Expired map[string]int64 `json:"expired,omitempty"` // rows that expired, by sink
}

var keyAcknowledged = store.Meta.K().Str("acknowledged")

// LossOf is what the books have as lost.
func LossOf(b Books) (l Loss) {
	l.Lost = b.GapSums.Lost
	for _, s := range b.Sinks {
		if s.Expired > 0 {
			if l.Expired == nil {
				l.Expired = map[string]int64{}
			}
			l.Expired[s.Sink] = s.Expired
		}
	}
	return l
}

// Rows is how many rows that are, each counted once for a sink.
func (l Loss) Rows() (n int64) {
	for _, m := range l.Expired {
		n += m
	}
	return max(n, l.Lost)
}

// Acknowledge records, durably and in its history, that a person knows of what a job has lost: of so much as that person
// was shown, for more may be lost meanwhile. nil is all of it.
func Acknowledge(st *store.Store, job string, shown *Loss) error {
	return st.Update(func(tx *store.Tx) error {
		b, err := ReadCounters(tx, job)
		if err != nil {
			return err
		}
		was, err := readAcknowledged(tx)
		if err != nil {
			return err
		}
		if was == nil {
			was = &Acknowledged{}
		}
		now := Acknowledged{At: time.Now().UTC(), Loss: LossOf(b)}
		if shown != nil {
			now.Lost = min(now.Lost, shown.Lost)
			expired := maps.Clone(shown.Expired) // of some jobs, only the running one knows them
			for sink, n := range now.Expired {
				if _, told := expired[sink]; told {
					expired[sink] = min(expired[sink], n)
				}
			}
			now.Expired = expired
		}
		n := now.Rows() - was.Rows()
		if n <= 0 {
			return fault.New(fault.Conflict, "job %s has lost nothing that is not acknowledged", job)
		}
		v, err := json.Marshal(now)
		if err != nil {
			return fmt.Errorf("write what is acknowledged: %w", err)
		}
		tx.Set(keyAcknowledged, v)
		return AddEvent(tx, Event{At: now.At, Job: job, Kind: "loss.acknowledged",
			Text: fmt.Sprintf("a person knows that %s %s lost", plural.Of(n, "row"), plural.Are(n))})
	})
}

// readAcknowledged returns nil if nothing is.
func readAcknowledged(r store.Reader) (*Acknowledged, error) {
	v, ok, err := r.Get(keyAcknowledged)
	if err != nil || !ok {
		return nil, err
	}
	a := new(Acknowledged)
	if err := json.Unmarshal(v, a); err != nil {
		return nil, fault.New(fault.Corrupt, "read what is acknowledged: %w", err)
	}
	return a, nil
}
