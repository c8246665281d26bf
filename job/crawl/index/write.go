package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"holdfast/base/cdxj"
	"holdfast/kernel/store"
)

// Stats say what an index has.
type Stats struct {
	Captures int64
	Bytes    int64
	// Missing is how many captures are known, and have no line: their WARC file is damaged, or was moved away with the part of
	// the index that they stood in.
	Missing int64
}

// Write makes index.cdxj of all captures that are committed, while the crawl may go on. It takes a second for some million lines.
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

// publish makes index.cdxj of what there is.
func (x *Index) publish(ctx context.Context) (stats Stats, err error) {
	var s state
	err = x.st.View(ctx, func(r store.Reader) (err error) {
		if s, err = readState(r); err != nil {
			return err
		}
		all, err := readKnown(r)
		if err != nil {
			return err
		}
		if s.open.WARC != "" {
			all[s.open.WARC] = known{Captures: s.open.Captures}
		}
		for _, n := range all {
			stats.Missing += n.Captures
		}
		return nil
	})
	if err != nil {
		return stats, err
	}
	last, err := x.sorted(ctx, s)
	if err != nil {
		return stats, err
	}
	defer last.Close()
	done, err := x.dir.replace(ctx, func(w io.Writer) error { return x.mergeTo(w, s.runs, last) })
	stats.Captures, stats.Bytes = done.lines, done.size
	stats.Missing -= done.lines
	return stats, err
}

// sorted are the lines that are in no run yet, sorted, in a file that has no name any more.
func (x *Index) sorted(ctx context.Context, from state) (_ *os.File, err error) {
	s := cdxj.NewSorter(x.dir.path, sortMemory)
	defer s.Close()
	all := from.waits // that came since tidy looked
	if o := from.open; o.Serial != 0 {
		all = append(all, piece{File: linesName(o.Serial, x.mark), Size: o.Size})
	}
	for _, p := range all {
		if err := x.addLines(s, p); err != nil {
			return nil, err
		}
	}
	if _, err := x.dir.write(ctx, sortedFile, s.Write); err != nil {
		return nil, err
	}
	f, err := os.Open(x.dir.join(sortedFile))
	if err != nil {
		return nil, err
	}
	if err := x.dir.remove(sortedFile); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
