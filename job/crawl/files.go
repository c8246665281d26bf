package crawl

import (
	"errors"
	"fmt"
	"log/slog"

	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/index"
	"holdfast/job/crawl/journal"
	"holdfast/job/crawl/outfile"
	"holdfast/kernel/store"
)

// files are all that a crawl writes beside its store, in step with it.
type files struct {
	archive *archive.Archive
	index   *index.Index
	logs    *logs
	journal *journal.Writer   // nil if none is kept
	earlier *index.Earlier    // where captures are looked for that servers can be asked about; nil if there are none
	found   archive.Recovered // by the start, of WARC files
	dedupe  *index.Earlier    // of those, what other crawls have: payloads of this one are in the store; nil if there are none
}

// openFiles opens the files of a crawl, and brings them in step with the store. moved are files in quarantine, with what was
// written and not committed.
func openFiles(st *store.Store, cfg Config, log *slog.Logger) (f files, moved []string, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if cfg.Archive.Disk == nil {
		cfg.Archive.Disk = outfile.OS
	}
	if f.archive, f.found, err = archive.Open(st, cfg.Archive); err != nil {
		return f, nil, fmt.Errorf("open the archive: %w", err)
	}
	moved = f.found.Moved
	if f.index, err = index.Open(st, index.Options{Dir: cfg.Archive.Dir, Name: cfg.Archive.Name, Disk: cfg.Archive.Disk, Log: log}); err != nil {
		return f, nil, fmt.Errorf("open the index: %w", err)
	}
	var behind []string
	if f.logs, behind, err = openLogs(st, cfg.Archive.Disk, cfg.Logs); err != nil {
		return f, nil, fmt.Errorf("open the logs: %w", err)
	}
	moved = append(moved, behind...)
	if cfg.Journal {
		var lines string
		if f.journal, lines, err = journal.OpenWriter(st, cfg.Archive.Disk, cfg.Logs); err != nil {
			return f, nil, fmt.Errorf("open the recover journal: %w", err)
		}
		if lines != "" {
			moved = append(moved, lines)
		}
	}
	if err := f.openEarlier(st, cfg.Earlier); err != nil {
		return f, nil, fmt.Errorf("open the indexes of earlier crawls: %w", err)
	}
	return f, moved, nil
}

// openEarlier opens the indexes of earlier crawls, and the index of what this crawl had when it began again. At the end of the
// crawl that index is replaced; whoever has it open keeps the old one.
func (f *files) openEarlier(st *store.Store, others []string) error {
	again, paths := false, others
	err := st.Latest(func(r store.Reader) (err error) {
		again, err = r.Look(againKey, func([]byte) error { return nil })
		return err
	})
	if err == nil && again {
		var own string
		var ok bool
		if own, ok, err = f.index.Published(); ok {
			paths = append(others[:len(others):len(others)], own)
		}
	}
	if err == nil && len(others) > 0 {
		f.dedupe, err = index.OpenEarlier(others...)
	}
	if err == nil && len(paths) > 0 {
		f.earlier, err = index.OpenEarlier(paths...)
	}
	return err
}

func (f *files) close() (err error) {
	if f.archive != nil {
		err = errors.Join(err, f.archive.Close())
	}
	if f.index != nil {
		err = errors.Join(err, f.index.Close())
	}
	if f.logs != nil {
		err = errors.Join(err, f.logs.close())
	}
	if f.journal != nil {
		err = errors.Join(err, f.journal.Close())
	}
	for _, e := range []*index.Earlier{f.earlier, f.dedupe} {
		if e != nil {
			err = errors.Join(err, e.Close())
		}
	}
	return err
}

// tellFound tells what the start found out about files. moved is that of openFiles.
func (j *Job) tellFound(moved []string) {
	if j.found.Lost.Files > 0 && !j.resting {
		j.env.History.Warn("crawl.lost", "%s; the directory is %s", lostText(j.found.Lost), j.cfg.Archive.Dir)
	}
	for _, name := range j.found.Back {
		j.env.History.Note("crawl.back", "%s was given up, and is there again: what it has counts", name)
	}
	for _, name := range j.found.Left {
		j.env.History.Warn("crawl.left", "%s was given up, and what is there now is not what was written: it is left as it is; take it elsewhere",
			name)
	}
	for _, name := range moved {
		j.env.History.Note("crawl.cut", "what was written and not committed is in %s", name)
	}
}
