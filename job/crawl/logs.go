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
	ended   []endedLog        // that have not the name yet that they keep
}

// logState is what the store knows of the logs: how many bytes of each count.
type logState struct {
	Lineage string           `json:"lineage"`
	Sizes   map[string]int64 `json:"sizes"`
	Ended   []endedLog       `json:"ended,omitempty"`
}

// endedLog is a log that a checkpoint ended.
type endedLog struct {
	Log  string `json:"log"`
	As   string `json:"as"` // the name that it keeps
	Size int64  `json:"size"`
}

// allLogs are the names of the logs.
var allLogs = []string{crawlLog, errorsLog, progressLog}

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
	ours := s.Lineage == l.lineage
	if ours {
		for _, e := range s.Ended {
			if err := l.end(e, &moved); err != nil {
				return nil, nil, err
			}
		}
	}
	for _, name := range allLogs {
		if err := l.open(name, s, ours, &moved); err != nil {
			return nil, nil, errors.Join(err, l.close())
		}
	}
	return l, moved, nil
}

// open opens a log where the store says that it ends; what is not the store's own is set aside.
func (l *logs) open(name string, s logState, ours bool, moved *[]string) (err error) {
	path := filepath.Join(l.dir, name)
	size, known := s.Sizes[name]
	begun := slices.ContainsFunc(s.Ended, func(e endedLog) bool { return e.Log == name })
	if _, err := os.Lstat(path); ours && known && !(begun && size == 0 && errors.Is(err, fs.ErrNotExist)) {
		f, behind, err := outfile.Open(path, size, l.quarantine())
		if behind != "" {
			*moved = append(*moved, behind)
		}
		if err == nil {
			l.files[name] = f
		}
		return err
	}
	if err := setAside(path, s.Lineage); err != nil {
		return err
	}
	f, err := outfile.Create(path)
	if err == nil {
		l.files[name] = f
	}
	return err
}

func (l *logs) quarantine() string { return filepath.Join(l.dir, "quarantine") }

// end gives a log that has ended the name that it keeps.
func (l *logs) end(e endedLog, moved *[]string) error {
	behind, err := outfile.End(filepath.Join(l.dir, e.Log), filepath.Join(l.dir, e.As), e.Size, l.quarantine())
	if behind != "" {
		*moved = append(*moved, behind)
	}
	return err
}

// rotate ends the logs that have anything in them: they keep the name of a checkpoint behind their own. All must be synced. The logs
// that begin count once a transaction has said so, and committed has come behind it.
func (l *logs) rotate(checkpoint string) error {
	for _, name := range allLogs {
		size := l.files[name].Size()
		if size == 0 {
			continue
		}
		as, err := outfile.Free(filepath.Join(l.dir, name+"."+checkpoint))
		if err != nil {
			return err
		}
		l.ended = append(l.ended, endedLog{Log: name, As: filepath.Base(as), Size: size})
	}
	return nil
}

// committed gives the logs their names that have ended, and begins others. It comes behind the transaction of a commit.
func (l *logs) committed() error {
	for len(l.ended) > 0 {
		e := l.ended[0]
		var none []string
		if err := errors.Join(l.files[e.Log].Close(), l.end(e, &none)); err != nil {
			return err
		}
		f, err := outfile.Create(filepath.Join(l.dir, e.Log))
		if err != nil {
			return err
		}
		l.files[e.Log] = f
		l.ended = l.ended[1:]
	}
	return nil
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
	s := logState{Lineage: l.lineage, Sizes: map[string]int64{}, Ended: l.ended}
	for name, f := range l.files {
		s.Sizes[name] = f.Size()
	}
	for _, e := range l.ended {
		s.Sizes[e.Log] = 0
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
