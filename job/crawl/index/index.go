// Package index keeps the index of a crawl's captures beside its WARC files, and finds captures in the indexes of earlier
// crawls.
//
//	WARCS/index.cdxj               all captures, sorted: for pywb and its kin; replaced whole by Write and Rebuild
//	WARCS/index/SERIAL-MARK.lines  of one WARC file, in its order: the one that is written to, and those to be sorted
//	WARCS/index/SERIAL-MARK.run    sorted lines of WARC files that have ended, never written to again
//	WARCS/index/LOCK               held while an Index is open
//
// No file of index/ has a name that another program takes for an index, so that no capture is shown twice. Together they have
// each capture that was committed, index.cdxj those up to the last Write.
//
// Lines are appended in step with the store, as the records that they tell of: after a crash the file is cut back to what
// counts. When a WARC file has ended Run sorts its lines to a run, and makes one run of eight, so that a line is copied
// once for each power of eight of the files there are. A file that the store does not speak of is removed by the next
// Open. All is derived: a file that is gone or damaged is made again from what else there is in index/, from index.cdxj,
// and from the WARC files.
//
// MARK is the store's life. A store that was restored knows which captures counted at its checkpoint. It takes their lines from
// wherever they are into runs of its own, and touches no file of the other time line. Its index.cdxj has
// the captures that it knows itself; Rebuild indexes all WARC files of a directory, whoever wrote them.
//
// A store that is new where WARC files of its crawl are, because the one that they had is gone, takes the lines that lie there
// for its own. Those of other crawls that share the directory stay in index.cdxj, whoever writes it.
//
// What the store has, behind zI: o the lines that are written to; e SERIAL lines that wait; r SERIAL a run; w NAME how far
// a WARC file counts; g NAME how far one did that was given up; m if runs are to be made again; p what index.cdxj has.
//
// Called by the job crawl.
package index

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync/atomic"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/outfile"
	"holdfast/kernel/store"
)

// File is the name of the index in the directory of the WARC files.
const File = "index.cdxj"

// below is the directory of the files that the index is made of.
const below = "index"

// Options tune an Index.
type Options struct {
	Dir string // of the WARC files
	// Name is what the names of the crawl's own WARC files begin with, in a directory that it may share; "" if all there
	// are its own.
	Name string
	Disk outfile.Disk // default outfile.OS
	Log  *slog.Logger // default slog.Default
}

// Index is the index of a crawl that runs. Add, Roll, Sync, Commit and Committed are for one goroutine at a time, the one that
// writes the archive; Run and Write may go on beside it.
type Index struct {
	st     *store.Store
	log    *slog.Logger
	warcs  string                 // directory
	dir    files                  // index/
	ours   func(warc string) bool // it has the name of one of this crawl
	mark   string
	serial atomic.Uint64 // the last that was given out
	lock   *disk.Lock    // nil where the file system has none

	lineage string
	now     open          // what is written to, as it is
	file    *outfile.File // nil if there is none
	parts   []part        // not written yet
	ended   []open        // not committed yet

	more  chan struct{} // there is something to tidy
	turn  chan struct{} // a semaphore: its holder may change runs
	stray []string      // files that the store does not know, to be removed when runs were made again
}

// open is a file of lines that is written to, and the WARC file that they are of.
type open struct {
	Lineage  string `json:"lineage"` // of the store that wrote this
	Serial   uint64 `json:"serial"`  // of the file; 0 for none
	Size     int64  `json:"size"`
	WARC     string `json:"warc"` // its name when it has ended; "" for none
	Bytes    int64  `json:"bytes"`
	Captures int64  `json:"captures"`
}

// piece is a file that is whole: lines that wait, or a run.
type piece struct {
	Serial uint64 `json:"serial"`
	File   string `json:"file"`
	Size   int64  `json:"size"`
	Level  int    `json:"level"` // of a run: it is made of about fanout to the power of that files
}

// known is how far a WARC file counts.
type known struct {
	Bytes    int64 `json:"bytes"`
	Captures int64 `json:"captures"`
}

// published is what index.cdxj has.
type published struct {
	Lineage string `json:"lineage"` // of the store that wrote it
	Known   int64  `json:"known"`   // captures, of which some may be missing
	Lines   int64  `json:"lines"`
	Foreign int64  `json:"foreign,omitempty"` // of the lines, those of other crawls
	Size    int64  `json:"size"`
	Time    int64  `json:"time"` // of the file, so that one that another time line wrote is not taken for it
}

// state is what the store knows.
type state struct {
	open        open
	waits, runs []piece
	mend        bool
	published   published
}

const (
	openPart  = 'o'
	waitPart  = 'e'
	runPart   = 'r'
	knownPart = 'w'
	givenPart = 'g'
	mendPart  = 'm'
	filePart  = 'p'
)

func key(part byte) store.Key { return store.Key{byte(store.Job), 'I', part} }

func set(tx *store.Tx, k store.Key, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		tx.Set(k, b)
	}
	return err
}

func get(k, b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fault.New(fault.Corrupt, "what is known of the index at %q is %q: %w", k, b, err)
	}
	return nil
}

func readState(r store.Reader) (s state, err error) {
	for part, v := range map[byte]any{openPart: &s.open, filePart: &s.published} {
		if _, err = r.Look(key(part), func(b []byte) error { return get(key(part), b, v) }); err != nil {
			return s, err
		}
	}
	if s.mend, err = r.Look(key(mendPart), func([]byte) error { return nil }); err != nil {
		return s, err
	}
	if s.waits, err = pieces(r, waitPart); err != nil {
		return s, err
	}
	s.runs, err = pieces(r, runPart)
	return s, err
}

func pieces(r store.Reader, part byte) (all []piece, err error) {
	entries, failed := r.Scan(key(part), key(part).End())
	for k, v := range entries {
		var p piece
		if err := get(k, v, &p); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, failed()
}

// Open opens the index of a store, and brings its files in step with the store. If somebody else has the index open it is
// Busy.
func Open(st *store.Store, o Options) (x *Index, err error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Disk == nil {
		o.Disk = outfile.OS
	}
	x = &Index{st: st, log: o.Log, warcs: o.Dir, lineage: st.Lineage().String(), dir: files{filepath.Join(o.Dir, below), o.Disk},
		more: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	x.mark = outfile.Mark(x.lineage)
	x.ours = func(string) bool { return true }
	if o.Name != "" {
		x.ours = archive.NamesOf(o.Name).MatchString
	}
	if err := o.Disk.MkdirAll(x.dir.path); err != nil {
		return nil, err
	}
	if x.lock, err = lock(x.dir.path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open the index: %w", err), x.Close())
		}
	}()
	if err := x.back(); err != nil {
		return x, err
	}
	var s state
	if err := st.Latest(func(r store.Reader) (err error) { s, err = readState(r); return err }); err != nil {
		return x, err
	}
	if s, err = x.check(s); err != nil {
		return x, err
	}
	if err := x.look(s); err != nil {
		return x, err
	}
	x.now = s.open
	if s.open.Serial != 0 {
		x.file, _, err = outfile.Open(o.Disk, x.dir.join(linesName(s.open.Serial, x.mark)), s.open.Size, x.dir.path)
	}
	x.wake()
	return x, err
}

// lock keeps others out. If the file system has no locks the index works without one.
func lock(dir string) (*disk.Lock, error) {
	l, err := disk.Acquire(filepath.Join(dir, "LOCK"))
	if fault.Is(err, fault.Busy) {
		return nil, fault.WithHint(err,
			"a crawl runs there and keeps the index itself; another one needs a directory of its own")
	}
	return l, nil
}

// check brings the store in step with those of its files that are there. If some are missing, or belong to another life, runs
// are made again.
func (x *Index) check(s state) (state, error) {
	ours := s.open.Lineage == x.lineage
	writes := s.open.Serial == 0 || x.dir.size(linesName(s.open.Serial, x.mark)) >= s.open.Size
	switch {
	case s.open.Lineage == "": // nothing was ever committed
		return x.adopt(context.Background())
	case ours && writes && x.intact(s):
		return s, x.cut(s.open)
	}
	again := state{mend: true, open: open{Lineage: x.lineage}}
	if ours {
		again.open = s.open
	}
	if ours && !writes { // the WARC file goes on, and its lines begin anew
		again.open.Serial, again.open.Size = 0, 0
	}
	err := x.st.Update(func(tx *store.Tx) error {
		drop(tx, s)
		tx.Set(key(mendPart), nil)
		if again.open.Serial != s.open.Serial {
			if err := s.open.remember(tx); err != nil {
				return err
			}
		}
		return set(tx, key(openPart), again.open)
	})
	if err != nil {
		return s, err
	}
	return again, x.cut(again.open)
}

// intact reports whether all files that were completed are there.
func (x *Index) intact(s state) bool {
	for _, p := range slices.Concat(s.waits, s.runs) {
		if x.dir.size(p.File) != p.Size {
			x.log.Warn("a part of the index is gone or damaged, and is made again", "file", x.dir.join(p.File))
			return false
		}
	}
	return true
}

// cut removes what was written and not committed. None of it is worth keeping, because it can be made again from the WARC
// file.
func (x *Index) cut(o open) error {
	if o.Serial == 0 {
		return nil
	}
	return x.dir.cut(linesName(o.Serial, x.mark), o.Size)
}

// remember notes how far a WARC file counts.
func (o open) remember(tx *store.Tx) error {
	if o.WARC == "" {
		return nil
	}
	return set(tx, key(knownPart).Str(o.WARC), known{o.Bytes, o.Captures})
}

func linesName(serial uint64, mark string) string { return fmt.Sprintf("%08d-%s.lines", serial, mark) }
func runName(serial uint64, mark string) string   { return fmt.Sprintf("%08d-%s.run", serial, mark) }

// part of the directory, by serial and mark.
var partName = regexp.MustCompile(`^([0-9]{8,20})-([0-9a-z]+)\.(lines|run)$`)

// look goes through the directory for the last serial, and for files of ours that the store does not refer to.
func (x *Index) look(s state) error {
	all, err := os.ReadDir(x.dir.path)
	if err != nil {
		return err
	}
	spoken := map[string]bool{linesName(s.open.Serial, x.mark): s.open.Serial != 0}
	for _, p := range slices.Concat(s.waits, s.runs) {
		spoken[p.File] = true
	}
	for _, e := range all {
		m := partName.FindStringSubmatch(e.Name())
		if e.Name() == newFile || e.Name() == sortedFile {
			x.stray = append(x.stray, e.Name())
		}
		if m == nil {
			continue
		}
		if n, err := strconv.ParseUint(m[1], 10, 64); err == nil && n > x.serial.Load() {
			x.serial.Store(n)
		}
		if m[2] == x.mark && !spoken[e.Name()] {
			x.stray = append(x.stray, e.Name())
		}
	}
	if s.mend { // they may hold what is missed
		return nil
	}
	return x.sweep()
}

// sweep removes files that nothing refers to.
func (x *Index) sweep() error {
	for len(x.stray) > 0 {
		if err := x.dir.remove(x.stray[0]); err != nil {
			return err
		}
		x.stray = x.stray[1:]
	}
	return nil
}

// wake makes Run look for work.
func (x *Index) wake() {
	select {
	case x.more <- struct{}{}:
	default:
	}
}

// Close closes what is open, once Run and Write have returned. What was not committed does not count.
func (x *Index) Close() (err error) {
	if x.file != nil {
		err = x.file.Close()
		x.file = nil
	}
	if x.lock != nil {
		err = errors.Join(err, x.lock.Release())
		x.lock = nil
	}
	return err
}
