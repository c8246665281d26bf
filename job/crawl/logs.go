package crawl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

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
	dir     string
	lineage string
	files   map[string]*outfile.File
	text    map[string][]byte // not written yet
}

// logState is what the store knows of the logs: how many bytes of each count.
type logState struct {
	Lineage string           `json:"lineage"`
	Sizes   map[string]int64 `json:"sizes"`
}

var logsKey = store.Key{byte(store.Job), 'L'}

// openLogs opens the logs in a directory, and brings them to what the store says. Those of another time line, that a restore left
// behind, are set aside under another name and not touched.
func openLogs(st *store.Store, dir string) (l *logs, moved []string, err error) {
	if err := disk.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	l = &logs{dir: dir, lineage: st.Lineage().String(), files: map[string]*outfile.File{}, text: map[string][]byte{}}
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
		size, ours := s.Sizes[name]
		if ours = ours && s.Lineage == l.lineage; !ours {
			if err := setAside(path, s.Lineage); err != nil {
				return nil, nil, errors.Join(err, l.close())
			}
			l.files[name], err = outfile.Create(path)
		} else {
			var behind string
			if l.files[name], behind, err = outfile.Open(path, size, filepath.Join(dir, "quarantine")); behind != "" {
				moved = append(moved, behind)
			}
		}
		if err != nil {
			delete(l.files, name)
			return nil, nil, errors.Join(err, l.close())
		}
	}
	return l, moved, nil
}

// setAside gives a log another name that belongs to no store, or to the time line that was left.
func setAside(path, lineage string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Size() == 0: // made by a start that committed nothing
		return os.Remove(path)
	}
	mark := "unknown"
	if lineage != "" {
		mark = lineage[:min(8, len(lineage))]
	}
	err = os.Rename(path, fmt.Sprintf("%s.%s-%s", path, mark, time.Now().UTC().Format("20060102150405.000000")))
	return errors.Join(err, disk.SyncDir(filepath.Dir(path)))
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

// commit says in a transaction how far the logs count.
func (l *logs) commit(tx *store.Tx) error {
	s := logState{Lineage: l.lineage, Sizes: map[string]int64{}}
	for name, f := range l.files {
		s.Sizes[name] = f.Size()
	}
	b, err := json.Marshal(s)
	if err == nil {
		tx.Set(logsKey, b)
	}
	return err
}

func (l *logs) close() (err error) {
	for _, name := range slices.Sorted(maps.Keys(l.files)) {
		err = errors.Join(err, l.files[name].Close())
	}
	return err
}
