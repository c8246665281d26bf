package engine

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// outline is what a job last said of itself, kept in the store for the time in which it does not run.
type outline struct {
	Needs    []string          `json:"needs,omitempty"` // names of its gates
	Promises map[string]string `json:"promises,omitempty"`
	// Sinks are those of Tasks, as they were at the end of the run. A run that was killed leaves none.
	Sinks []SinkBooks `json:"sinks,omitempty"`
}

var keyOutline = store.Meta.K().Str("outline")

// keepOutline writes what a job says of itself, at the beginning of a run and, with its sinks, behind its end. It may be
// missing after a crash. A store that can't keep it goes without, and says elsewhere what ails it.
func keepOutline(st *store.Store, job Job, ended bool) {
	o := outline{Promises: job.Promises()}
	for _, g := range job.Gates() {
		o.Needs = append(o.Needs, g.Name)
	}
	_ = st.UpdateLazy(func(tx *store.Tx) error {
		if ended {
			t, err := job.Tasks(tx)
			if err != nil {
				return err
			}
			o.Sinks = t.Sinks
		}
		was, err := readOutline(tx)
		if err == nil && reflect.DeepEqual(was, o) {
			return nil
		}
		text, err := json.Marshal(o)
		if err == nil {
			tx.Set(keyOutline, text)
		}
		return err
	})
}

func readOutline(r store.Reader) (o outline, err error) {
	text, ok, err := r.Get(keyOutline)
	if err != nil || !ok {
		return o, err
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return o, fault.New(fault.Corrupt, "read the outline of the job: %w", err)
	}
	return o, nil
}

// recall adds what the job said when it last ran.
func (s *Status) recall(r store.Reader) error {
	o, err := readOutline(r)
	if err != nil {
		return fmt.Errorf("read what the job last said: %w", err)
	}
	s.Needs, s.Promises = o.Needs, o.Promises
	s.Balance.addKept(o.Sinks)
	s.weigh(o.Sinks, time.Now())
	return nil
}
