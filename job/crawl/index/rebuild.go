package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"holdfast/base/cdxj"
	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/job/crawl/outfile"
)

// The ends of the names of WARC files, of those that have ended and of one that is written to.
const (
	warcSuffix = ".warc.gz"
	openSuffix = ".open"
)

// rebuildMemory is what Rebuild sorts in memory, in bytes.
const rebuildMemory = 64 << 20

// Rebuilt is what Rebuild found.
type Rebuilt struct {
	Files    int
	Captures int64
	Bytes    int64     // of index.cdxj
	Skipped  int64     // captures that can't have a line: without a URL or a date that can be read
	Damaged  []Damaged // in order of their names
}

// Damaged is a WARC file that is damaged: the index has only what stands before the damage.
type Damaged struct {
	File string
	Err  error // says where
}

// Rebuild makes the index.cdxj of a directory from its WARC files alone, whoever wrote them. Of a file that is being written
// to, it has what is whole at that moment. As many files are read at once as there are processors. tell, which may be nil, is
// called after each file. If a crawl of the directory runs it is Busy.
func Rebuild(ctx context.Context, dir string, tell func(files, of int)) (done Rebuilt, err error) {
	names, err := warcs(dir)
	if err != nil {
		return done, err
	}
	parts := files{filepath.Join(dir, below), outfile.OS}
	if err := parts.disk.MkdirAll(parts.path); err != nil {
		return done, err
	}
	l, err := lock(parts.path)
	if err != nil {
		return done, err
	}
	if l != nil {
		defer func() { err = errors.Join(err, l.Release()) }()
	}
	b := rebuilding{dir: dir, tell: tell, of: len(names), sorter: cdxj.NewSorter(parts.path, rebuildMemory)}
	defer b.sorter.Close()
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, name := range names {
		g.Go(func() error { return b.index(within, name) })
	}
	if err := g.Wait(); err != nil {
		return b.done, fmt.Errorf("index %s: %w", dir, err)
	}
	made, err := parts.replace(ctx, b.sorter.Write)
	b.done.Captures, b.done.Bytes = made.lines, made.size
	slices.SortFunc(b.done.Damaged, func(a, b Damaged) int { return strings.Compare(a.File, b.File) })
	return b.done, err
}

// warcs returns the names of the WARC files of a directory, without .open.
func warcs(dir string) (names []string, err error) {
	all, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look for WARC files: %w", err)
	}
	for _, e := range all {
		if name := strings.TrimSuffix(e.Name(), openSuffix); strings.HasSuffix(name, warcSuffix) && !e.IsDir() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// rebuilding is a Rebuild at work.
type rebuilding struct {
	dir    string
	tell   func(files, of int)
	of     int
	mu     sync.Mutex // of what is below, and of calls of tell
	sorter *cdxj.Sorter
	done   Rebuilt
}

// index takes the lines of a WARC file.
func (b *rebuilding) index(ctx context.Context, name string) error {
	f, err := openWARC(b.dir, name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, open := strings.CutSuffix(f.Name(), openSuffix)
	var line []byte
	found, err := cdxj.Index(f, name, weburl.IndexKeyOf, func(l cdxj.Line) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		return addLine(ctx, b.sorter, l, &line)
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done.Skipped += found.Skipped
	var damage *warc.Damage
	switch {
	case errors.As(err, &damage) && open && damage.Truncated: // what is being written
	case errors.As(err, &damage):
		b.done.Damaged = append(b.done.Damaged, Damaged{f.Name(), err})
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	}
	b.done.Files++
	if b.tell != nil {
		b.tell(b.done.Files, b.of)
	}
	return nil
}

// addLine gives a Sorter a line, by way of a buffer; one that would be too long is left out.
func addLine(ctx context.Context, s *cdxj.Sorter, l cdxj.Line, buffer *[]byte) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	*buffer, err = l.Append((*buffer)[:0])
	if fault.Is(err, fault.Invalid) {
		return nil
	}
	return errors.Join(err, s.Add(*buffer))
}
