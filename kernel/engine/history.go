package engine

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// Event is one change of state in the life of a job.
type Event struct {
	ID   uint64    `json:"id"`
	At   time.Time `json:"at"`
	Job  string    `json:"job"`
	Kind string    `json:"kind"` // a word with dots: job.started, gate.closed, gap.filled
	Text string    `json:"text"` // one sentence for a person
	Warn bool      `json:"warn,omitempty"`
}

// keptEvents is how many events a job remembers.
const keptEvents = 100_000

// History is the events of one job, in its store and in the log.
type History struct {
	st  *store.Store
	job string
	log *slog.Logger

	forRoom atomic.Int32 // goroutines of the job that wait for room on the disk
}

func newHistory(st *store.Store, job string, log *slog.Logger) *History {
	return &History{st: st, job: job, log: log}
}

// HistoryOf is the history of a job that no engine runs, in its store.
func HistoryOf(st *store.Store, job string, log *slog.Logger) *History {
	return newHistory(st, job, log)
}

var keyNextEvent = store.Meta.K().Str("next-event")

// keyDamage holds the last event that told of damage, until a verification finds everything whole.
var keyDamage = store.Meta.K().Str("damage")

// Note records an event. It is not worth a wait for the disk: after a crash the last half second of
// the history may be missing, but nothing that the history tells of.
func (h *History) Note(kind, format string, args ...any) { h.record(kind, false, format, args...) }

// Warn is Note for what a person should look at.
func (h *History) Warn(kind, format string, args ...any) { h.record(kind, true, format, args...) }

// What stands behind the name of a gate that opened. Outages knows them by it.
const (
	isBack       = " is back"
	countsAsBack = " counts as back, on the word of a person"
)

// Gate tells that something that the job depends on went away, or came back.
func (h *History) Gate(s gate.Status) {
	if s.Open {
		text := isBack
		if s.Forced {
			text = countsAsBack
		}
		h.Note("gate.opened", "%s%s", s.Name, text)
		return
	}
	h.Warn("gate.closed", "%v", s)
}

// shortOfRoom records that the job waits for room on the disk: once, however many of its goroutines do.
func (h *History) shortOfRoom(dir string, free, want uint64) {
	if h.forRoom.Add(1) == 1 {
		h.Warn("disk.short", "disk: %s has %s left; sources that can wait are paused until there are %s", dir, disk.Size(free), disk.Size(want))
	}
}

// roomAgain records that one of those goroutines goes on.
func (h *History) roomAgain(dir string, free uint64) {
	if h.forRoom.Add(-1) == 0 {
		h.Note("disk.roomy", "disk: %s has %s left; sources go on", dir, disk.Size(free))
	}
}

// gone is that one of them ended with its run.
func (h *History) gone() { h.forRoom.Add(-1) }

func (h *History) record(kind string, warn bool, format string, args ...any) {
	e := Event{At: time.Now().UTC(), Job: h.job, Kind: kind, Text: secret.Mask(fmt.Sprintf(format, args...)), Warn: warn}
	say := h.log.Info
	if warn {
		say = h.log.Warn
	}
	say(e.Text)
	err := h.st.UpdateLazy(func(tx *store.Tx) error { return AddEvent(tx, e) })
	if err != nil {
		h.log.Error("history: " + err.Error())
	}
}

// AddEvent records an event in the transaction of what it tells of.
func AddEvent(tx *store.Tx, e Event) error {
	e.ID, e.Text = 1, secret.Mask(e.Text)
	v, ok, err := tx.Get(keyNextEvent)
	if err != nil {
		return fmt.Errorf("read next event: %w", err)
	}
	if ok && len(v) == 8 {
		e.ID = binary.BigEndian.Uint64(v)
	}
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	tx.Set(store.Events.K().U64(e.ID), b)
	if strings.HasPrefix(e.Kind, "damage.") {
		tx.Set(keyDamage, b)
	}
	tx.Set(keyNextEvent, store.Key(nil).U64(e.ID+1))
	if e.ID > keptEvents {
		tx.Delete(store.Events.K().U64(e.ID - keptEvents))
	}
	return nil
}

// NoteVerified remembers what a verification of a job's spool found: what, if it is not empty, is shown
// with the job from now on; else what was shown before is not any more.
func NoteVerified(st *store.Store, job, what string) error {
	return st.Update(func(tx *store.Tx) error {
		if what != "" {
			return AddEvent(tx, Event{At: time.Now().UTC(), Job: job, Kind: "damage.found", Text: what, Warn: true})
		}
		_, had, err := tx.Get(keyDamage)
		if had {
			tx.Delete(keyDamage)
		}
		return err
	})
}

// readDamage returns the last event that told of damage, nil if there is none.
func readDamage(r store.Reader) (*Event, error) {
	v, ok, err := r.Get(keyDamage)
	if err != nil || !ok {
		return nil, err
	}
	e := new(Event)
	if err := json.Unmarshal(v, e); err != nil {
		return nil, fault.New(fault.Corrupt, "read the last damage: %w", err)
	}
	return e, nil
}

// ReadEvents returns the newest max events behind id after, oldest first.
func ReadEvents(r store.Reader, after uint64, max int) ([]Event, error) {
	var out []Event
	seq, fail := r.ScanBack(store.Events.K().U64(after+1), store.Events.K().End())
	for k, v := range seq {
		e, err := decodeEvent(k, v)
		if err != nil {
			return nil, err
		}
		if out = append(out, e); len(out) == max {
			break
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out, fail()
}

// Position is a position in the history of a job: behind an event, or before all of them if it is zero. At is the
// time of that event: if the store has gone back since, another event has the id. A zero At is not compared.
type Position struct {
	ID uint64
	At time.Time
}

// Position is the one behind the event.
func (e Event) Position() Position { return Position{e.ID, e.At} }

// EventsBehind returns at most max events behind a position, oldest first. Behind one that a restore took
// away are the events that are younger.
func EventsBehind(r store.Reader, p Position, max int) ([]Event, error) {
	went, err := wentBack(r, p)
	if err != nil {
		return nil, err
	}
	first := p.ID + 1
	if went {
		first = 0
	}
	var out []Event
	seq, fail := r.Scan(store.Events.K().U64(first), store.Events.K().End())
	for k, v := range seq {
		e, err := decodeEvent(k, v)
		if err != nil {
			return nil, err
		}
		if went && !e.At.After(p.At) {
			continue
		}
		if out = append(out, e); len(out) == max {
			break
		}
	}
	return out, fail()
}

// wentBack reports whether a restore took the event of a position away: another has its id, or none has and
// all that are left are older. One that is only too old to be kept is no such thing.
func wentBack(r store.Reader, p Position) (bool, error) {
	if p.ID == 0 || p.At.IsZero() {
		return false, nil
	}
	v, ok, err := r.Get(store.Events.K().U64(p.ID))
	if err != nil {
		return false, err
	}
	if ok {
		e, err := decodeEvent(store.Events.K().U64(p.ID), v)
		return err == nil && !e.At.Equal(p.At), err
	}
	last, err := ReadEvents(r, 0, 1)
	return len(last) > 0 && last[0].ID < p.ID, err
}

func decodeEvent(k, v []byte) (e Event, err error) {
	if err := json.Unmarshal(v, &e); err != nil {
		return e, fault.New(fault.Corrupt, "read event %x: %w", k, err)
	}
	return e, nil
}
