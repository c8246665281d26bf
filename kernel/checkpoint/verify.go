package checkpoint

import (
	"context"
	"fmt"
	"strings"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Problem is what is wrong with one file of a checkpoint.
type Problem string

// The problems a file can have.
const (
	Missing Problem = "missing"
	Cut     Problem = "cut"     // shorter or longer than it was
	Damaged Problem = "damaged" // its bytes are not what was written
	Extra   Problem = "extra"   // it does not belong to the checkpoint
)

// Finding is something that Verify found wrong.
type Finding struct {
	File    string
	Problem Problem
	Why     string
}

func (f Finding) String() string { return fmt.Sprintf("%s is %s: %s", f.File, f.Problem, f.Why) }

// Report is what Verify found.
type Report struct {
	Manifest Manifest
	Bytes    int64 // read and compared
	// Unsealed is how many tables had no checksum of their own; their blocks' checksums were
	// checked.
	Unsealed int
	Findings []Finding
}

// Err is nil when the checkpoint is sound, else a Corrupt fault with all findings.
func (r *Report) Err() error {
	if len(r.Findings) == 0 {
		return nil
	}
	var all []string
	for _, f := range r.Findings {
		all = append(all, f.String())
	}
	return fault.New(fault.Corrupt, "checkpoint is damaged: %s", strings.Join(all, "; "))
}

// Verify reads every byte of the checkpoint in the directory at path and compares it with the
// manifest. What it finds is in the report; the error is for what kept it from looking. It writes
// nothing.
func Verify(ctx context.Context, path string, w Work) (Report, error) {
	r, err := verify(ctx, path, w)
	if err != nil {
		return r, fmt.Errorf("verify checkpoint %s: %w", path, err)
	}
	return r, nil
}

func verify(ctx context.Context, path string, w Work) (Report, error) {
	fs := w.fs()
	if _, err := fs.Stat(path); notExist(err) {
		return Report{}, fault.New(fault.NotFound, "there is none")
	}
	var r Report
	files, err := r.survey(fs, path)
	if err != nil {
		return r, err
	}
	t := w.track(r.Manifest.Bytes())
	for _, f := range files {
		if err := r.file(ctx, fs, path, f, t); err != nil {
			return r, err
		}
	}
	if len(r.Findings) == 0 {
		// The checkpoint is what was taken; was that sound?
		if err := store.CheckDatabase(fs, fs.PathJoin(path, dbName)); fault.Is(err, fault.Corrupt) {
			r.add(dbName, Damaged, "it was so when it was taken: %v", err)
		} else if err != nil {
			return r, err
		}
	}
	t.end()
	return r, nil
}

func (r *Report) add(file string, p Problem, why string, args ...any) {
	r.Findings = append(r.Findings, Finding{File: file, Problem: p, Why: fmt.Sprintf(why, args...)})
}

// survey compares the manifest with names and sizes, and returns the files whose bytes are worth
// a look.
func (r *Report) survey(fs store.FS, path string) ([]File, error) {
	m, _, err := load(fs, path)
	switch {
	case notExist(err):
		r.add(manifestName, Missing, "nothing says what the checkpoint is")
		return nil, nil
	case fault.Is(err, fault.Corrupt) && m.Format == 0:
		r.add(manifestName, Damaged, "%v", err)
		return nil, nil
	case fault.Is(err, fault.Corrupt):
		r.add(sumsName, Damaged, "%v", err)
	case err != nil:
		return nil, err
	}
	r.Manifest = m
	there, err := tree(fs, path, "")
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(m.Files))
	for _, f := range m.Files {
		known[f.Path] = true
	}
	for _, name := range there {
		switch {
		case known[name], name == manifestName, name == sumsName:
		case name == sumsName+tmpSuffix: // a Seal that was killed, or is under way
		default:
			r.add(name, Extra, "the manifest does not name it")
		}
	}
	var files []File
	for _, f := range m.Files {
		info, err := fs.Stat(fs.PathJoin(path, f.Path))
		switch {
		case notExist(err):
			r.add(f.Path, Missing, "the manifest names it")
		case err != nil:
			r.add(f.Path, Damaged, "%v", err)
		case info.Size() != f.Size:
			r.add(f.Path, Cut, "it has %d bytes, want %d", info.Size(), f.Size)
		default:
			files = append(files, f)
		}
	}
	return files, nil
}

// file reads one file. That the disk can't read it is a finding like any other.
func (r *Report) file(ctx context.Context, fs store.FS, path string, f File, t *tracker) error {
	full := fs.PathJoin(path, f.Path)
	sum, n, err := sumFile(ctx, fs, full, t)
	r.Bytes += n
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		r.add(f.Path, Damaged, "%v", err)
	case f.Sum == "":
		r.Unsealed++
		if err := store.CheckTable(fs, full); err != nil {
			r.add(f.Path, Damaged, "%v", err)
		}
	case sum != f.Sum:
		r.add(f.Path, Damaged, "its checksum is %s, want %s", sum, f.Sum)
	}
	return nil
}
