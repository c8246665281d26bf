package crawl

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"holdfast/base/disk"
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

// logs are the logs of a crawl, in step with its store: a line is there if and only if what it tells of was committed.
type logs struct {
	lineage string
	files   map[string]*outfile.Log
	text    map[string][]byte // not written yet
}

// logState is what the store knows of the logs.
type logState struct {
	Lineage string                   `json:"lineage"`
	Logs    map[string]outfile.State `json:"logs"`
}

var logsKey = store.Key{byte(store.Job), 'L'}

// openLogs opens the logs in a directory, and brings them to what the store says. Those of another time line, that a restore left
// behind, are set aside under another name and not touched.
func openLogs(st *store.Store, d outfile.Disk, dir string) (l *logs, moved []string, err error) {
	if err := d.MkdirAll(dir); err != nil {
		return nil, nil, err
	}
	l = &logs{lineage: st.Lineage().String(), files: map[string]*outfile.Log{}, text: map[string][]byte{}}
	var s logState
	err = st.Latest(func(r store.Reader) error {
		_, err := r.Look(logsKey, func(v []byte) error {
			if err := json.Unmarshal(v, &s); err != nil {
				return fault.New(fault.Corrupt, "what is known of the logs is %q: %w", v, err)
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{crawlLog, errorsLog, progressLog} {
		path := filepath.Join(dir, name)
		state, ours := s.Logs[name]
		if ours = ours && s.Lineage == l.lineage; !ours {
			state = outfile.State{}
			if err := outfile.SetAside(d, path, l.lineage); err != nil {
				return nil, nil, errors.Join(err, l.close())
			}
		}
		f, behind, err := outfile.OpenLog(d, path, state, nil, filepath.Join(dir, "quarantine"))
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

// write puts text behind what a log has.
func (l *logs) write(name string, with func(b []byte) []byte) { l.text[name] = with(l.text[name]) }

// sync writes what is there, and makes it durable. It comes before commit.
func (l *logs) sync() error {
	for name, text := range l.text {
		if len(text) == 0 {
			continue
		}
		f := l.files[name]
		was := f.Size()
		if _, err := f.Write(text); err != nil {
			err = errors.Join(err, f.CutBack(was))
			if disk.NoRoom(err) {
				return fault.New(fault.Full, "write %s: %w", name, err)
			}
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync %s: %w", name, err)
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
	return nil
}

// commit says in a transaction how far the logs count.
func (l *logs) commit(tx *store.Tx) error {
	s := logState{Lineage: l.lineage, Logs: map[string]outfile.State{}}
	for name, f := range l.files {
		s.Logs[name] = f.State()
	}
	b, err := json.Marshal(s)
	if err == nil {
		tx.Set(logsKey, b)
	}
	return err
}

// committed comes behind the transaction of a commit.
func (l *logs) committed() (err error) {
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
