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
	At      time.Time        `json:"at"`
	Lost    int64            `json:"lost"`              // rows that gaps have lost
	Expired map[string]int64 `json:"expired,omitempty"` // rows that expired, by sink
}

var keyAcknowledged = store.Meta.K().Str("acknowledged")

// losses is what there is to acknowledge.
func losses(b Books) (a Acknowledged) {
	a.Lost = b.GapSums.Lost
	for _, s := range b.Sinks {
		if s.Expired > 0 {
			if a.Expired == nil {
				a.Expired = map[string]int64{}
			}
			a.Expired[s.Sink] = s.Expired
		}
	}
	return a
}

func (a Acknowledged) rows() (n int64) {
	n = a.Lost
	for _, m := range a.Expired {
		n += m
	}
	return n
}

// Acknowledge records that a person knows of everything that a job has lost until now, durably, and in its history.
func Acknowledge(st *store.Store, job string) error {
	return st.Update(func(tx *store.Tx) error {
		b, err := ReadCounters(tx, job)
		if err != nil {
			return err
		}
		was, err := readAcknowledged(tx)
		if err != nil {
			return err
		}
		now := losses(b)
		if was == nil {
			was = &Acknowledged{}
		}
		if now.Lost == was.Lost && maps.Equal(now.Expired, was.Expired) {
			return fault.New(fault.Conflict, "job %s has lost nothing that is not acknowledged", job)
		}
		now.At = time.Now().UTC()
		v, err := json.Marshal(now)
		if err != nil {
			return fmt.Errorf("write what is acknowledged: %w", err)
		}
		tx.Set(keyAcknowledged, v)
		n := now.rows() - was.rows()
		return AddEvent(tx, Event{At: now.At, Job: job, Kind: "loss.acknowledged",
			Text: fmt.Sprintf("a person knows that %s %s %s lost", plural.Number(n), plural.Noun(n, "row"), plural.Are(n))})
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
