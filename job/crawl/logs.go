package crawl

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"holdfast/base/fault"
	"holdfast/job/crawl/outfile"
	"holdfast/kernel/store"
)

// The logs of a crawl.
const (
	crawlLog    = "crawl.log"
	errorsLog   = "uri-errors.log"
	progressLog = "progress-statistics.log"
)

var logNames = []string{crawlLog, errorsLog, progressLog}

// logs are the logs of a crawl, in step with its store: a line is there if and only if what it tells of was committed.
//
// A checkpoint ends them, and its snapshot is taken a moment later. The lines in between stand in files that the other
// time line goes on with, and a store that goes back must not touch those. So the store has these lines too, until the
// snapshot stands.
type logs struct {
	lineage  string
	files    map[string]*outfile.Log
	text     map[string][]byte // not written yet
	restored bool              // the store was taken back to a checkpoint, and opens its logs for the first time

	keeping bool              // a checkpoint is being made
	kept    map[string][]byte // lines of the next commit, for the store; only while keeping
	tail    int               // pieces that the store has
	stale   bool              // the store's lines are not needed any more
}

// logState is what the store knows of the logs.
type logState struct {
	Lineage string                   `json:"lineage"`
	Logs    map[string]outfile.State `json:"logs"`
	// Tail is how many pieces of lines the store has. Owed says that they are to stand behind what the logs have.
	Tail int  `json:"tail,omitempty"`
	Owed bool `json:"owed,omitempty"`
}

// Keys: L is the state, L name 0 number (4) a piece of lines.
var logsKey = store.Key{byte(store.Job), 'L'}

// tailsFrom is before all keys of such pieces.
var tailsFrom = logsKey.U8(1)

func tailKey(name string, n int) store.Key { return logsKey.Str(name).U8(0).U32(uint32(n)) }

// tailOf are the lines that the store has of a log.
func (s *logState) tailOf(r store.Reader, name string) (tail []byte, err error) {
	for n := range s.Tail {
		if _, err := r.Look(tailKey(name, n), func(v []byte) error { tail = append(tail, v...); return nil }); err != nil {
			return nil, err
		}
	}
	return tail, nil
}

func readLogState(r store.Reader) (s logState, err error) {
	_, err = r.Look(logsKey, func(v []byte) error {
		if err := json.Unmarshal(v, &s); err != nil {
			return fault.New(fault.Corrupt, "what is known of the logs is %q: %w", v, err)
		}
		return nil
	})
	return s, err
}

func (s logState) put(tx *store.Tx) error {
	b, err := json.Marshal(s)
	if err == nil {
		tx.Set(logsKey, b)
	}
	return err
}

// openLogs opens the logs in a directory, and brings them in step with the store. Logs of another time line, left behind by a
// restore, get another name and are not touched.
func openLogs(st *store.Store, d outfile.Disk, dir string) (l *logs, moved []string, err error) {
	if err := d.MkdirAll(dir); err != nil {
		return nil, nil, err
	}
	l = &logs{lineage: st.Lineage().String(), files: map[string]*outfile.Log{}, text: map[string][]byte{}, kept: map[string][]byte{}}
	s, err := l.begin(st, d, dir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range logNames {
		f, behind, err := l.openOne(st, d, dir, name, s)
		if behind != "" {
			moved = append(moved, behind)
		}
		if err != nil {
			return nil, nil, errors.Join(err, l.close())
		}
		l.files[name] = f
	}
	return l, moved, nil
}

// begin reads what the store knows. A store that was taken back to a checkpoint begins logs of its own, with the lines that
// they are owed.
func (l *logs) begin(st *store.Store, d outfile.Disk, dir string) (s logState, err error) {
	err = st.Latest(func(r store.Reader) (err error) { s, err = readLogState(r); return err })
	if err != nil {
		return s, err
	}
	l.tail, l.stale = s.Tail, true
	if s.Lineage == l.lineage {
		return s, nil
	}
	for _, name := range logNames {
		if err := outfile.SetAside(d, filepath.Join(dir, name), l.lineage); err != nil {
			return s, err
		}
	}
	l.restored = s.Lineage != ""
	s = logState{Lineage: l.lineage, Logs: map[string]outfile.State{}, Tail: s.Tail, Owed: s.Tail > 0}
	return s, st.Update(func(tx *store.Tx) error { return s.put(tx) })
}

func (l *logs) openOne(st *store.Store, d outfile.Disk, dir, name string, s logState) (f *outfile.Log, moved string, err error) {
	path := filepath.Join(dir, name)
	state, ours := s.Logs[name]
	if !ours && !s.Owed {
		if err := outfile.SetAside(d, path, l.lineage); err != nil {
			return nil, "", err
		}
	}
	var tail []byte
	if s.Owed {
		err = st.Latest(func(r store.Reader) (err error) { tail, err = s.tailOf(r, name); return err })
		if err != nil {
			return nil, "", err
		}
	}
	return outfile.OpenLog(d, path, state, tail, filepath.Join(dir, "quarantine"))
}

// lostLogs are the logs of a directory that are gone, or have less than a store of that lineage knows of.
func lostLogs(r store.Reader, lineage, dir string) (names []string, err error) {
	s, err := readLogState(r)
	if err != nil || s.Lineage != lineage {
		return nil, err
	}
	for _, name := range logNames {
		if lost, err := s.Logs[name].Lost(filepath.Join(dir, name)); err != nil {
			return nil, err
		} else if lost {
			names = append(names, name)
		}
	}
	return names, nil
}

// giveUpLog makes the store forget a log, so that the next start sets aside what is left of it and begins another.
func giveUpLog(tx *store.Tx, name string) error {
	s, err := readLogState(tx)
	if err != nil {
		return err
	}
	delete(s.Logs, name)
	return s.put(tx)
}

// write appends text to a log.
func (l *logs) write(name string, with func(b []byte) []byte) { l.text[name] = with(l.text[name]) }

// sync writes what is pending, and makes it durable. It is called before commit.
func (l *logs) sync() error {
	for name, text := range l.text {
		if len(text) == 0 {
			continue
		}
		if err := l.files[name].AppendSync(text); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if l.keeping {
			l.kept[name] = append(l.kept[name], text...)
		}
		l.text[name] = text[:0]
	}
	return nil
}

// rotate ends the logs that have anything in them: with the next commit they keep the name of a checkpoint behind their own.
func (l *logs) rotate(checkpoint string) error {
	if err := l.sync(); err != nil {
		return err
	}
	for name, f := range l.files {
		if f.Size() == 0 {
			continue
		}
		if err := f.Rotate(name + "." + checkpoint); err != nil {
			return err
		}
	}
	l.keeping, l.stale = true, true
	clear(l.kept)
	return nil
}

// checkpointed ends what rotate began: the snapshot stands, or there will be none.
func (l *logs) checkpointed() {
	l.keeping, l.stale = false, true
	clear(l.kept)
}

// commit says in a transaction how far the logs count.
func (l *logs) commit(tx *store.Tx) error {
	s := logState{Lineage: l.lineage, Logs: map[string]outfile.State{}, Tail: l.tail}
	for name, f := range l.files {
		s.Logs[name] = f.State()
	}
	if l.stale && l.tail > 0 {
		tx.DeleteRange(tailsFrom, logsKey.End())
		s.Tail = 0
	}
	if l.keeping && len(l.kept) > 0 {
		for name, text := range l.kept {
			tx.Set(tailKey(name, s.Tail), text)
		}
		s.Tail++
	}
	tx.OnDurable(func() { l.tail, l.stale = s.Tail, false })
	return s.put(tx)
}

// committed is called after the transaction of a commit.
func (l *logs) committed() (err error) {
	clear(l.kept)
	for _, f := range l.files {
		err = errors.Join(err, f.Committed())
	}
	return err
}

func (l *logs) close() (err error) {
	for _, name := range slices.Sorted(maps.Keys(l.files)) {
		err = errors.Join(err, l.files[name].Close())
	}
	return err
}
