package cdxj

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"holdfast/base/fault"
)

// maxRuns is how many files of a size are open before they are merged into one.
const maxRuns = 64

// Sorter sorts any number of lines: what does not fit into its memory lies in files of a directory, which have no
// name and so are gone with the process. Lines that are the same come once. It is for one goroutine at a time.
type Sorter struct {
	dir    string
	memory int
	text   []byte
	lines  []span
	runs   [][]*os.File // by level: a file of a level is made of maxRuns of the one below
}

// span is a line in text.
type span struct{ from, to int }

// spanSize is what a span takes of the memory.
const spanSize = 16

// NewSorter returns a Sorter whose lines take up to memory bytes, at least MaxLine, and whose files are in dir.
func NewSorter(dir string, memory int) *Sorter {
	return &Sorter{dir: dir, memory: max(memory, MaxLine)}
}

// Add takes a line, with or without its end. An error is Invalid for a line that is empty, is more than one or too
// long; others are the disk's: the line was not taken, and may come again.
func (s *Sorter) Add(line []byte) error {
	line = bytes.TrimSuffix(line, []byte("\n"))
	if len(line) == 0 || len(line) >= MaxLine || bytes.IndexByte(line, '\n') >= 0 {
		return fault.New(fault.Invalid, "%.80q is not one line of 1 to %d bytes", line, MaxLine-1)
	}
	if len(s.text)+len(line)+1+spanSize*(len(s.lines)+1) > s.memory {
		if err := s.spill(); err != nil {
			return err
		}
	}
	from := len(s.text)
	s.text = append(append(s.text, line...), '\n')
	s.lines = append(s.lines, span{from, len(s.text)})
	return nil
}

// sorted writes the lines in memory in order. They stay until forget: w may not have brought them to the disk yet.
func (s *Sorter) sorted(w io.Writer) error {
	slices.SortFunc(s.lines, func(a, b span) int { return compare(s.text[a.from:a.to], s.text[b.from:b.to]) })
	var last []byte
	for _, l := range s.lines {
		line := s.text[l.from:l.to]
		if bytes.Equal(line, last) {
			continue
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
		last = line
	}
	return nil
}

// forget empties the memory.
func (s *Sorter) forget() { s.text, s.lines = s.text[:0], s.lines[:0] }

// runOfLines brings the lines in memory into a file of the lowest level.
func (s *Sorter) runOfLines() error {
	if err := s.run(0, s.sorted); err != nil {
		return err
	}
	s.forget()
	return nil
}

// compare compares two lines with their ends as if those were not there: sort does.
func compare(a, b []byte) int { return bytes.Compare(a[:len(a)-1], b[:len(b)-1]) }

// run makes a file of a level of what write writes.
func (s *Sorter) run(level int, write func(w io.Writer) error) (err error) {
	f, err := os.CreateTemp(s.dir, "cdxj-run-")
	if err != nil {
		return fmt.Errorf("sort the index: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("sort the index in %s: %w", s.dir, err), f.Close())
		}
	}()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 64<<10)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for len(s.runs) <= level {
		s.runs = append(s.runs, nil)
	}
	s.runs[level] = append(s.runs[level], f)
	return nil
}

// spill brings the lines in memory into a file, and files that have become many into one.
func (s *Sorter) spill() error {
	if err := s.runOfLines(); err != nil {
		return err
	}
	for level := 0; level < len(s.runs) && len(s.runs[level]) >= maxRuns; level++ {
		full := s.runs[level]
		err := s.run(level+1, func(w io.Writer) error { return mergeFiles(w, full) })
		if err != nil {
			return err
		}
		s.runs[level] = nil
		if err := closeAll(full); err != nil {
			return err
		}
	}
	return nil
}

func mergeFiles(w io.Writer, files []*os.File) error {
	var in []io.Reader
	for _, f := range files {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		in = append(in, f)
	}
	return Merge(w, in...)
}

func closeAll(files []*os.File) error {
	var all error
	for _, f := range files {
		all = errors.Join(all, f.Close())
	}
	return all
}

// Write writes all lines in order. The Sorter is empty then, and may be used again; after an error it still has them.
func (s *Sorter) Write(w io.Writer) error {
	if len(s.runs) == 0 {
		out := bufio.NewWriterSize(w, 64<<10)
		if err := s.sorted(out); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
		s.forget()
		return nil
	}
	if len(s.lines) > 0 {
		if err := s.runOfLines(); err != nil {
			return err
		}
	}
	if err := mergeFiles(w, slices.Concat(s.runs...)); err != nil {
		return err
	}
	return s.Close()
}

// Close gives its files back. What was added and not written is gone.
func (s *Sorter) Close() error {
	files := slices.Concat(s.runs...)
	s.runs = nil
	s.forget()
	return closeAll(files)
}
