package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"holdfast/base/cdxj"
	"holdfast/kernel/store"
)

// Stats say how much an index has.
type Stats struct {
	Captures int64
	Bytes    int64
	// Missing is how many captures are known that have no line: their WARC file is damaged, or was moved away together with
	// the part of the index that they stood in.
	Missing int64
}

// Write brings index.cdxj up to date with all captures that are committed. The crawl may go on meanwhile. A million lines take
// about a second.
func (x *Index) Write(ctx context.Context) (Stats, error) {
	var stats Stats
	err := x.take(ctx, func() (err error) {
		for range 2 { // the second time when what was damaged was made again
			if err = x.tidy(ctx, false); err != nil {
				return err
			}
			if stats, err = x.publish(ctx); !isDamage(err) {
				return err
			}
			if err := x.damaged(err); err != nil {
				return err
			}
		}
		return err
	})
	if err != nil {
		return stats, fmt.Errorf("write the index: %w", err)
	}
	return stats, nil
}

// publish makes index.cdxj, unless it is up to date: a crawl that is started again and has nothing to do ends at once, however
// much it has archived.
func (x *Index) publish(ctx context.Context) (Stats, error) {
	var s state
	var all map[string]known
	now := published{Lineage: x.lineage}
	err := x.st.View(ctx, func(r store.Reader) (err error) {
		if s, err = readState(r); err != nil {
			return err
		}
		all, now.Known, err = total(r, s.open)
		return err
	})
	if err != nil {
		return Stats{}, err
	}
	there := now
	there.Foreign = s.published.Foreign
	there.Lines = now.Known + there.Foreign
	is := there.stamp(filepath.Join(x.warcs, File))
	if is == nil && there == s.published {
		return there.stats(), nil
	}
	others := func(func([]byte) error) error { return nil }
	wrote := s.published.Size == there.Size && s.published.Time == there.Time && s.published.Lineage == x.lineage
	if is == nil && (!wrote || s.published.Foreign > 0) {
		others = func(each func([]byte) error) error { return x.foreign(ctx, all, each) }
	}
	last, foreign, err := x.sorted(ctx, s, others)
	if err != nil {
		return Stats{}, err
	}
	defer last.Close()
	done, err := x.dir.replace(ctx, func(w io.Writer) error { return x.mergeTo(w, s.runs, last) })
	if err != nil {
		return Stats{}, err
	}
	now.Lines, now.Foreign = done.lines, foreign
	if err := now.stamp(filepath.Join(x.warcs, File)); err != nil {
		return Stats{}, err
	}
	return now.stats(), x.st.Update(func(tx *store.Tx) error { return set(tx, key(filePart), now) })
}

// stamp notes which file was published, by its time.
func (p *published) stamp(path string) error {
	info, err := os.Stat(path)
	if err == nil {
		p.Size, p.Time = info.Size(), info.ModTime().UnixNano()
	}
	return err
}

func (p published) stats() Stats {
	return Stats{Captures: p.Lines, Bytes: p.Size, Missing: p.Known - (p.Lines - p.Foreign)}
}

// total returns how many captures are known, and of which files.
func total(r store.Reader, o open) (all map[string]known, n int64, err error) {
	all, err = readKnown(r, knownPart)
	if err != nil {
		return nil, 0, err
	}
	if o.WARC != "" {
		all[o.WARC] = known{Captures: o.Captures}
	}
	for _, k := range all {
		n += k.Captures
	}
	return all, n, nil
}

// sorted returns the lines that are in no run yet, and those of other crawls (foreign is how many), in a file that has no name
// any more.
func (x *Index) sorted(ctx context.Context, from state, others func(each func([]byte) error) error) (_ *os.File, foreign int64, err error) {
	s := cdxj.NewSorter(x.dir.path, sortMemory)
	defer s.Close()
	all := from.waits // that came since tidy looked
	if o := from.open; o.Serial != 0 {
		all = append(all, piece{File: linesName(o.Serial, x.mark), Size: o.Size})
	}
	for _, p := range all {
		if err := x.addLines(s, p); err != nil {
			return nil, 0, err
		}
	}
	var last []byte
	err = others(func(text []byte) error {
		if bytes.Equal(text, last) {
			return nil
		}
		last = append(last[:0], text...)
		foreign++
		return s.Add(text)
	})
	if err != nil {
		return nil, 0, err
	}
	if _, err := x.dir.write(ctx, sortedFile, s.Write); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(x.dir.join(sortedFile))
	if err != nil {
		return nil, 0, err
	}
	if err := x.dir.remove(sortedFile); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, foreign, nil
}
