package index

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"holdfast/base/cdxj"
	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// fanout is how many runs of a level become one of the next.
const fanout = 8

// sortMemory is what is sorted in memory, in bytes: more than the lines of a usual WARC file.
const sortMemory = 16 << 20

// Run sorts the lines of WARC files that have ended, and merges runs, until ctx ends. Commits never wait for it.
func (x *Index) Run(ctx context.Context) error {
	for {
		err := x.take(ctx, func() error { return x.tidy(ctx, true) })
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-x.more:
		}
	}
}

// take runs work that changes runs, one at a time.
func (x *Index) take(ctx context.Context, work func() error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case x.turn <- struct{}{}:
	}
	defer func() { <-x.turn }()
	return work()
}

// tidy does the work that there is: it makes runs again that are gone, sorts what waits, and merges runs if there are many.
func (x *Index) tidy(ctx context.Context, merges bool) error {
	for {
		s, err := x.state(ctx)
		if err != nil {
			return err
		}
		full := fullLevel(s.runs)
		switch {
		case s.mend:
			err = x.mend(ctx, s)
		case len(s.waits) > 0:
			err = x.sort(ctx, s.waits[0])
		case merges && len(full) > 0:
			err = x.merge(ctx, full)
		default:
			return nil
		}
		if !s.mend && isDamage(err) {
			err = x.damaged(err)
		}
		if err != nil {
			return fmt.Errorf("keep the index: %w", err)
		}
	}
}

// state returns the durable state.
func (x *Index) state(ctx context.Context) (s state, err error) {
	err = x.st.View(ctx, func(r store.Reader) (err error) { s, err = readState(r); return err })
	return s, err
}

// damaged makes runs be made again.
func (x *Index) damaged(cause error) error {
	x.log.Warn("a part of the index is gone or damaged, and is made again", "err", cause)
	return x.st.Update(func(tx *store.Tx) error { tx.Set(key(mendPart), nil); return nil })
}

// isDamage reports whether an error means that a part can't be read any more.
func isDamage(err error) bool { return fault.Is(err, fault.Corrupt) || errors.Is(err, fs.ErrNotExist) }

// fullLevel returns the runs of the lowest level that has enough of them to be merged.
func fullLevel(runs []piece) []piece {
	levels := map[int][]piece{}
	lowest := -1
	for _, r := range runs {
		levels[r.Level] = append(levels[r.Level], r)
		if len(levels[r.Level]) >= fanout && (lowest < 0 || r.Level < lowest) {
			lowest = r.Level
		}
	}
	return levels[lowest]
}

// sort makes a run of lines that wait.
func (x *Index) sort(ctx context.Context, p piece) error {
	s := cdxj.NewSorter(x.dir.path, sortMemory)
	defer s.Close()
	if err := x.addLines(s, p); err != nil {
		return err
	}
	run, err := x.run(ctx, 0, s.Write)
	if err != nil {
		return err
	}
	return x.exchange(run, state{waits: []piece{p}}, false)
}

// addLines gives a Sorter the lines of a file, as far as they count.
func (x *Index) addLines(s *cdxj.Sorter, p piece) error {
	err := eachLine(x.dir.join(p.File), p.Size, s.Add)
	if errors.Is(err, bufio.ErrTooLong) || errors.Is(err, io.ErrUnexpectedEOF) || fault.Is(err, fault.Invalid) {
		return fault.New(fault.Corrupt, "%s is damaged: %w", p.File, err)
	}
	return err
}

// eachLine gives the lines of the first bytes of a file. A last one without its line feed is io.ErrUnexpectedEOF.
func eachLine(name string, size int64, do func(line []byte) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewScanner(io.LimitReader(f, size))
	in.Buffer(nil, cdxj.MaxLine)
	in.Split(wholeLines)
	for in.Scan() {
		if err := do(in.Bytes()); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("read the index: %s: %w", name, err)
	}
	return nil
}

// wholeLines splits at line feeds, and has a last line without one be an error.
func wholeLines(b []byte, end bool) (int, []byte, error) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1, b[:i], nil
	}
	if end && len(b) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}

// merge makes one run of several.
func (x *Index) merge(ctx context.Context, from []piece) error {
	run, err := x.run(ctx, from[0].Level+1, func(w io.Writer) error { return x.mergeTo(w, from) })
	if err != nil {
		return err
	}
	return x.exchange(run, state{runs: from}, false)
}

// mergeTo writes the lines of runs, and of further readers, in order.
func (x *Index) mergeTo(w io.Writer, runs []piece, more ...io.Reader) error {
	for _, r := range runs {
		f, err := os.Open(x.dir.join(r.File))
		if err != nil {
			return err
		}
		defer f.Close()
		more = append(more, f)
	}
	return cdxj.Merge(w, more...)
}

// run makes a run, whose name is durable when it returns.
func (x *Index) run(ctx context.Context, level int, fill func(w io.Writer) error) (piece, error) {
	p := piece{Serial: x.serial.Add(1), Level: level}
	p.File = runName(p.Serial, x.mark)
	done, err := x.dir.write(ctx, p.File, fill)
	p.Size = done.size
	if err == nil {
		err = x.dir.sync()
	}
	return p, err
}

// exchange puts a run into the store in the place of the pieces of another state, and removes those.
func (x *Index) exchange(run piece, from state, mended bool) error {
	err := x.st.Update(func(tx *store.Tx) error {
		drop(tx, from)
		if mended {
			tx.Delete(key(mendPart))
		}
		return set(tx, key(runPart).U64(run.Serial), run)
	})
	if err != nil {
		return err
	}
	for _, p := range slices.Concat(from.waits, from.runs) {
		if err := x.dir.remove(p.File); err != nil {
			return err
		}
	}
	return nil
}

// drop removes the pieces of a state from the store.
func drop(tx *store.Tx, s state) {
	for _, p := range s.waits {
		tx.Delete(key(waitPart).U64(p.Serial))
	}
	for _, p := range s.runs {
		tx.Delete(key(runPart).U64(p.Serial))
	}
}
