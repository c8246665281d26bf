package store

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"holdfast/base/fault"
	"holdfast/kernel/store/forensic"
)

// Damage says that a store's files are not what was written. The store was not opened, or was closed
// again, and nothing of it was deleted; nothing was changed but flipped bits that could be turned back, of
// which the quarantine has the originals.
type Damage struct {
	Dir      string
	Findings []forensic.Finding
	Err      error // what Pebble said, if it was asked
}

// Error lists what was found.
func (d *Damage) Error() string {
	var lines []string
	for _, f := range d.Findings {
		if !f.Harmless && f.Kind != forensic.TornTail {
			lines = append(lines, f.String())
		}
	}
	if d.Err != nil {
		lines = append(lines, d.Err.Error())
	}
	return fmt.Sprintf("store %s is damaged: %s", d.Dir, strings.Join(lines, "; "))
}

// Unwrap makes Damage a Corrupt fault.
func (d *Damage) Unwrap() error {
	return fault.WithHint(fault.New(fault.Corrupt, "store is damaged"),
		"the job is salvaged by itself; what can't be read is kept in %s",
		filepath.Join(d.Dir, "quarantine"))
}

// openPebble inspects the directory, opens it and holds what it got against the high-water mark. Until
// that is done, files that Pebble would delete are archived.
func (s *Store) openPebble() error {
	fs, dir := s.FS(), s.pebbleDir()
	if err := mkdirSynced(fs, dir, s.dir, fs.PathDir(s.dir)); err != nil {
		return err
	}
	high, found, err := forensic.OpenHighWater(fs, filepath.Join(s.dir, "HIGHWATER"))
	if err != nil {
		return err
	}
	s.high = high
	found, err = s.inspect(found)
	if err != nil {
		return err
	}
	archive := forensic.ArchiveFS(newTableFS(fs, s.dir, dir), dir, filepath.Join(s.dir, "archive"))
	s.watch = forensic.WatchFS(archive, dir)
	s.guard = forensic.GuardFS(s.watch, dir, s.opts.Fatal)
	opened := make(chan *pebble.DB, 1) // never taken when the guard fails: that database is left behind
	o := s.pebbleOptions()
	late := newLateCompactions()
	o.Experimental.CompactionScheduler = late
	err = s.guard.DoOpen(func() error {
		db, err := pebble.Open(dir, o)
		opened <- db
		return err
	})
	if err == nil {
		s.db = <-opened
		late.begin()
	}
	if pebble.IsCorruptionError(err) {
		return &Damage{Dir: s.dir, Findings: found, Err: errors.Join(err, archive.Keep(err.Error()))}
	}
	if err != nil && s.guard.Err() == nil { // no write failed
		return unreadable(err)
	}
	if err != nil {
		return err
	}
	if err := s.loadMeta(); err != nil {
		if fault.Is(err, fault.Corrupt) {
			return &Damage{Dir: s.dir, Findings: found, Err: errors.Join(err, archive.Keep(err.Error()))}
		}
		return err
	}
	if behind := high.Mark().CheckOpened(s.lineage, s.applied); !forensic.Sound(behind) {
		d := &Damage{Dir: s.dir, Findings: append(found, behind...)}
		d.Err = archive.Keep(d.Error())
		return d
	}
	return archive.Release()
}

// tableSizes: a flush makes one table of blocks, and a compaction of what lies above the base level (the
// second number) does not take the tables of blocks beside it along: Pebble lets one grow sideways up to
// 25 times the size of a table there, and would write every block a second time.
var tableSizes = [7]int64{8 << 20, 512 << 10, 16 << 20, 32 << 20, 64 << 20, 64 << 20, 64 << 20}

func (s *Store) pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                 s.guard,
		Cache:              s.opts.Cache.c,
		FormatMajorVersion: pebbleFormat,
		// 64 MB triples checkpoint time and eats the memory budget.
		MemTableSize:                8 << 20,
		MemTableStopWritesThreshold: 4,
		// Tables of blocks that were trimmed lie beneath their range deletion alone; a higher threshold
		// would leave them there.
		L0CompactionThreshold: 4,
		TargetFileSizes:       tableSizes,
		L0StopWritesThreshold: 1000,
		MaxOpenFiles:          512,
		Logger:                s.guard.Logger(pebbleLog{s}),
		// Without it a range deletion frees nothing until a compaction happens to pass.
		FlushDelayDeleteRange: 10 * time.Second,
		EventListener: &pebble.EventListener{
			// Without a handler of its own, Pebble ends the process.
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				if s.guard.Err() != nil {
					return // it is given up: who replaces it may have moved its files
				}
				s.opts.Damaged(fault.New(fault.Corrupt, "read %s: %w", i.Path, i.Details))
			},
			BackgroundError: func(err error) {
				s.opts.Log.Warn("store: background work failed, it is tried again", "store", s.dir,
					"err", err)
			},
		},
	}
	// A key that is not there is looked for in one table instead of seven. Get does not ask the filters of
	// the last level, which would be the largest by far.
	for i := range o.Levels[:len(o.Levels)-1] {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	o.Levels[len(o.Levels)-1].FilterPolicy = pebble.NoFilterPolicy
	// Most lies in the last level, and is written there seldom: all but blocks is packed with zstd there.
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	// Blocks come in the order of their keys. In tables of their own they overlap nothing, so compaction
	// moves them down without writing them again, and a range deletion drops them whole.
	blocks := pebble.KeyRange{Start: Blocks.K(), End: Blocks.K().End()}
	o.Experimental.SpanPolicyFunc = pebble.MakeStaticSpanPolicyFunc(bytes.Compare, blocks, pebble.SpanPolicy{
		PreferFastCompression: true})
	return o
}

// pebbleLog passes Pebble's warnings on. Its Fatalf is the guard's.
type pebbleLog struct{ s *Store }

func (l pebbleLog) Infof(string, ...any) {}
func (l pebbleLog) Errorf(f string, a ...any) {
	l.s.opts.Log.Warn("store: "+fmt.Sprintf(f, a...), "store", l.s.dir)
}
func (l pebbleLog) Fatalf(f string, a ...any) { l.s.opts.Fatal(fmt.Errorf(f, a...)) }

// inspect looks at what Pebble is about to open, and mends what single flipped bits explain: the originals
// go to quarantine. What is still wrong then is Damage.
func (s *Store) inspect(known []forensic.Finding) ([]forensic.Finding, error) {
	fs, dir := s.FS(), s.pebbleDir()
	look := func() ([]forensic.Finding, error) {
		report, err := forensic.Inspect(fs, dir)
		if err != nil {
			return nil, fmt.Errorf("inspect: %w", unreadable(err))
		}
		found := append(slices.Clone(known), report.Findings...)
		return append(found, s.high.Mark().Check(&report)...), nil
	}
	found, err := look()
	if err != nil || forensic.Sound(found) {
		return found, err
	}
	place := filepath.Join(s.dir, "quarantine", time.Now().UTC().Format("20060102T150405Z")+"-mended")
	mended, err := forensic.Mend(fs, dir, found, place)
	if err != nil || len(mended) == 0 {
		return found, errors.Join(err, &Damage{Dir: s.dir, Findings: found})
	}
	s.opts.Log.Warn(fmt.Sprintf("store %s: flipped bits were turned back in %s; the originals are in %s", s.dir,
		strings.Join(mended, ", "), place))
	if found, err = look(); err == nil && !forensic.Sound(found) {
		err = &Damage{Dir: s.dir, Findings: found}
	}
	return found, err
}

// mkdirSynced makes dir, and makes the entries in the directories above it survive a power cut: without
// that a store could be gone whole after it acknowledged its first commits.
func mkdirSynced(fs FS, dir string, above ...string) error {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, path := range above {
		d, err := fs.OpenDir(path)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return fmt.Errorf("sync directory %s: %w", path, err)
		}
	}
	return nil
}

// markEvery is how often the high-water mark follows what is durable. Between two marks the promises
// in the log's own batches tell of a loss.
const markEvery = time.Second

// raiseMark moves the high-water mark up while there are commits.
func (s *Store) raiseMark() {
	tick := time.NewTicker(markEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if err := s.mark(); err != nil {
			// It is a witness, not a promise: without it damage is harder to tell, nothing is lost.
			s.opts.Log.Warn("store: the high-water mark can't be written", "store", s.dir, "err", err)
		}
	}
}

func (s *Store) mark() error {
	seq, commit := s.ackedSeq.Load(), s.durable.Load()
	return s.high.Raise(s.watch.Durable(forensic.Mark{Lineage: s.lineage, Commit: commit, Seq: seq}))
}
