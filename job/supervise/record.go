package supervise

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/job/supervise/action"
	"holdfast/job/supervise/decide"
	"holdfast/job/supervise/rule"
	"holdfast/kernel/store"
)

// State is where an action stands.
type State string

// The states of an action.
const (
	Queued    State = "queued"
	Running   State = "running"
	Done      State = "done"
	Failed    State = "failed"    // it was tried as often as its rule says
	Skipped   State = "skipped"   // one that it comes after did not succeed
	Unknown   State = "unknown"   // nobody knows whether it was done, and a person is to say what becomes of it
	Abandoned State = "abandoned" // a person said that it is not to be done
)

// States are all of them.
var States = []State{Queued, Running, Done, Failed, Skipped, Unknown, Abandoned}

// Over reports whether nothing more becomes of an action by itself.
func (s State) Over() bool { return s != Queued && s != Running }

// Record is what is known of an action: why there is one, and how it went.
type Record struct {
	// Number is how people call it: 1 is the first action of the store.
	Number uint64    `json:"number"`
	Call   rule.Call `json:"call"`
	State  State     `json:"state"`
	Queued time.Time `json:"queued"`
	// Life is the lineage of the store in which it was queued. In another life of the store nobody knows what became of it.
	Life string `json:"life"`
	// Epoch is the epoch of the process that runs it, or that ran it last.
	Epoch  string    `json:"epoch,omitempty"`
	Reason string    `json:"reason"` // why it was decided
	Seen   string    `json:"seen"`   // the line, or the value, that led to it
	SeenAt time.Time `json:"seen_at,omitzero"`
	Led    []Led     `json:"led,omitempty"`   // what was seen before that, where it took several
	Tries  int       `json:"tries,omitempty"` // how often it was begun
	// Note says why it is in its state, where the state itself does not.
	Note   string          `json:"note,omitempty"`
	Last   *action.Outcome `json:"last,omitempty"` // of the last try
	Healed *bool           `json:"healed,omitempty"`

	from *decide.Decision // while it is queued
}

// The keys of the job, behind the byte of keyspaces that a job has for itself:
//
//	P source          the position of a watcher
//	O source          what that is a position in, as JSON: see place
//	M ...             the states of the rules, as decide has them
//	A id              a Record, as JSON
//	H time(8) id      (nothing): the records, the newest first: time is the complement of the nanoseconds since 1970
//	S number(8)       the id of the action that people call so
//	Q                 the number that was given last
//	G group           the ids of the actions of one decision, as JSON
//	N state           how many records are in a state
//	F rule            how many actions of a rule have failed since the store began
//	L                 which life of the store this is, and when it began with a checkpoint of another, as JSON
//	B rule 0 list 0 name 0 unit   the Breaker of an action whose last attempt failed, as JSON
//	W rule 0 key      []Led of a rule that waits for more, as JSON
func key(part byte) store.Key             { return store.Key{byte(store.Job), part} }
func positionKey(source string) store.Key { return key('P').Str(source) }
func recordKey(id string) store.Key       { return key('A').Str(id) }
func timeKey(at time.Time) store.Key      { return key('H').U64(^uint64(max(at.UnixNano(), 0))) }
func numberKey(n uint64) store.Key        { return key('S').U64(n) }
func groupKey(group string) store.Key     { return key('G').Str(group) }
func countKey(s State) store.Key          { return key('N').Str(string(s)) }
func failedKey(rule string) store.Key     { return key('F').Str(rule) }

// ReadRecord reads what is known of an action, by its ID or its number.
func ReadRecord(r store.Reader, id string) (rec Record, ok bool, err error) {
	if n, bad := strconv.ParseUint(id, 10, 64); bad == nil {
		if ok, err := r.Look(numberKey(n), func(v []byte) error { id = string(v); return nil }); err != nil || !ok {
			return rec, false, err
		}
	}
	ok, err = r.Look(recordKey(id), func(v []byte) error {
		if err := json.Unmarshal(v, &rec); err != nil {
			return fault.New(fault.Corrupt, "what is known of action %s can't be read: %w", id, err)
		}
		return nil
	})
	return rec, ok, err
}

// putRecord writes a record; was is the state that it had, "" for a new one.
func putRecord(tx *store.Tx, rec *Record, was State) error {
	if was == "" {
		if err := addTo(tx, key('Q'), 1); err != nil {
			return err
		}
		n, err := count(tx, key('Q'))
		if err != nil {
			return err
		}
		rec.Number = n
		tx.Set(numberKey(n), []byte(rec.Call.ID))
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	tx.Set(recordKey(rec.Call.ID), b)
	if was == rec.State {
		return nil
	}
	if rec.State == Failed {
		if err := addTo(tx, failedKey(rec.Call.Rule), 1); err != nil {
			return err
		}
	}
	if was == "" {
		tx.Set(timeKey(rec.Queued).Str(rec.Call.ID), nil)
	} else if err := addTo(tx, countKey(was), -1); err != nil {
		return err
	}
	return addTo(tx, countKey(rec.State), 1)
}

func putGroup(tx *store.Tx, group string, ids []string) error {
	b, err := json.Marshal(ids)
	if err == nil {
		tx.Set(groupKey(group), b)
	}
	return err
}

// readGroup reads the records of one decision, in their order; none if they are forgotten.
func readGroup(r store.Reader, group string) (all []*Record, err error) {
	var ids []string
	_, err = r.Look(groupKey(group), func(v []byte) error {
		if err := json.Unmarshal(v, &ids); err != nil {
			return fault.New(fault.Corrupt, "the actions of %s can't be read: %w", group, err)
		}
		return nil
	})
	for _, id := range ids {
		rec, ok, err := ReadRecord(r, id)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, &rec)
		}
	}
	return all, err
}

// forgetRules drops what this package keeps of rules that no longer exist. The machine drops what is its own.
func forgetRules(tx *store.Tx, known func(rule string) bool) error {
	for _, part := range []byte{'F', 'W'} {
		entries, failed := tx.Scan(key(part), key(part).End())
		for k := range entries {
			if name, _, _ := strings.Cut(string(k[2:]), "\x00"); !known(name) {
				tx.Delete(store.Key(nil).Raw(k))
			}
		}
		if err := failed(); err != nil {
			return err
		}
	}
	return nil
}

// addTo changes a counter.
func addTo(tx *store.Tx, k store.Key, n int64) error {
	now, err := count(tx, k)
	if err == nil {
		tx.Set(k, store.Key(nil).U64(uint64(int64(now)+n)))
	}
	return err
}

func count(r store.Reader, k store.Key) (n uint64, err error) {
	_, err = r.Look(k, func(v []byte) (err error) {
		if len(v) != 8 {
			return fault.New(fault.Corrupt, "a counter of actions has %d bytes", len(v))
		}
		n = binary.BigEndian.Uint64(v)
		return nil
	})
	return n, err
}

// Counts are how many actions are in each state.
func Counts(r store.Reader) (map[State]uint64, error) {
	all := map[State]uint64{}
	for _, s := range States {
		n, err := count(r, countKey(s))
		if err != nil {
			return nil, err
		}
		all[s] = n
	}
	return all, nil
}

// Query asks for actions.
type Query struct {
	Rule   string    // "" is all
	State  State     // "" is all
	Before time.Time // that were queued before; the zero time is all
	Max    int
}

// looksAt is how many records a query looks at, at most.
const looksAt = 20_000

// Actions returns the records that a query asks for, the newest first. If next is not zero there may be more: it is the Before
// to go on with.
func Actions(r store.Reader, q Query) (all []Record, next time.Time, err error) {
	from := timeKey(time.Unix(1<<33, 0))
	if !q.Before.IsZero() {
		from = timeKey(q.Before.Add(-1))
	}
	entries, failed := r.Scan(from, key('H').End())
	looked := 0
	for k := range entries {
		rec, ok, err := ReadRecord(r, string(k[len(from):]))
		if err != nil {
			return nil, next, err
		}
		if ok && (q.Rule == "" || rec.Call.Rule == q.Rule) && (q.State == "" || rec.State == q.State) {
			all = append(all, rec)
		}
		if looked++; ok && (len(all) == q.Max || looked >= looksAt) {
			next = rec.Queued
			break
		}
	}
	return all, next, failed()
}

// forget drops records of decisions that are over and were queued before a time, a limited number at once, and reports whether
// there are more.
func forget(tx *store.Tx, before time.Time) (more bool, err error) {
	const atOnce = 500
	from := timeKey(before)
	entries, failed := tx.Scan(from, key('H').End())
	n := 0
	for k := range entries {
		if n == atOnce {
			more = true
			break
		}
		rec, ok, err := ReadRecord(tx, string(k[len(from):]))
		if err != nil {
			return false, err
		}
		if ok {
			if open, err := isOpen(tx, &rec); err != nil {
				return false, err
			} else if open {
				continue
			}
		}
		n++
		tx.Delete(store.Key(nil).Raw(k))
		if !ok {
			continue
		}
		tx.Delete(recordKey(rec.Call.ID))
		tx.Delete(numberKey(rec.Number))
		tx.Delete(groupKey(rec.Call.Group))
		if err := addTo(tx, countKey(rec.State), -1); err != nil {
			return false, err
		}
	}
	return more, failed()
}

// isOpen reports whether something is still to be done for the decision of a record, or a person is to be asked about it: then
// all of its records are needed.
func isOpen(r store.Reader, rec *Record) (bool, error) {
	all, err := readGroup(r, rec.Call.Group)
	return slices.ContainsFunc(append(all, rec), func(rec *Record) bool { return !rec.State.Over() || rec.State == Unknown }), err
}
