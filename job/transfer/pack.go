package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/fits"
	"holdfast/base/process"
	"holdfast/connector"
	"holdfast/kernel/store"
)

// Packer makes the packed form of a file by a command.
type Packer struct {
	// Command and its arguments; {in} and {out} stand for the files.
	Command []string
	// Matches reports whether a file is packed, by its name.
	Matches func(name string) bool
	// Suffix is what the name of the packed form has behind the original's.
	Suffix string
	// SameName gives the packed form that replaces an original the original's name.
	SameName bool
	// Unpack is the command that makes the original of the packed form.
	Unpack []string
	// Checks: the packed form is FITS itself, and is looked at as such before it is shipped.
	Checks bool
	// NoRoom is the exit code with which the commands say that they could not write; 0: none.
	NoRoom int
	// Timeout is how long one may take; default 10 min.
	Timeout time.Duration
}

// FPack packs FITS files by CFITSIO's fpack: whole numbers by Rice, floating point losslessly.
func FPack() *Packer {
	return &Packer{Command: []string{"fpack", "-g", "-q", "0", "-O", "{out}", "{in}"},
		Unpack: []string{"funpack", "-O", "{out}", "{in}"}, Suffix: ".fz", NoRoom: writeError, Checks: true,
		Matches: func(name string) bool { return isFITS(name) && !strings.HasSuffix(strings.ToLower(name), ".fz") }}
}

// packedDir is where packed forms are made, in the job's directory: each in a directory that has the id of its file for a name.
const packedDir = "packed"

// Names that commands see.
const (
	plainIn  = "in.fits"
	plainOut = "out.fits"
)

// writeError is CFITSIO's WRITE_ERROR.
const writeError = 106

// pack makes the packed form of a file, in the job's directory.
func (j *Job) pack(ctx context.Context, f *file) (*file, error) {
	p := j.cfg.Pack
	if !j.packs(f) || isFITS(string(f.Path)) && f.Verdict == fits.NotFITS {
		return f, nil
	}
	if f.Packed != nil && !j.lacks(f) {
		return f, nil
	}
	if p.Checks && f.Tiled {
		return f, nil
	}
	made := packed{Path: Name(filepath.Join(packedDir, fmt.Sprint(f.ID), "packed"+p.Suffix))}
	out, began := filepath.Join(j.env.Dir, string(made.Path)), time.Now()
	// Room for as much again has to be left: to prove a packed form takes it, and gives room back.
	err := j.room.makes(ctx, f.Size, f.Size, func() error {
		in, err := j.open(f) // it is still the one
		if err != nil {
			return err
		}
		defer in.Close()
		err = errors.Join(os.RemoveAll(filepath.Dir(out)), disk.MkdirAll(filepath.Dir(out), 0o700))
		if err == nil {
			err = p.run(ctx, p.Command, j.source(f), out)
		}
		if err == nil && p.Checks {
			err = whole(out)
		}
		if err == nil {
			made.SHA256, made.Size, err = keep(out)
		}
		if err == nil {
			err = j.still(in, f) // the command went by its path
		}
		if err != nil {
			j.discard(f)
		}
		return err
	})
	if err != nil {
		return f, err
	}
	return j.change(f, func(_ *store.Tx, f *file) error {
		f.Packed, f.Failures = &made, 0
		f.did(Packed, "", time.Since(began), "by %s, %d bytes of %d", p.Command[0], made.Size, f.Size)
		return nil
	})
}

// whole is nil if a file is FITS, and as its headers and sums say.
func whole(name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	report, err := fits.Check(in)
	if err == nil && report.Verdict != fits.Good && report.Verdict != fits.Absent {
		err = fault.New(fault.Invalid, "the packed form that was made is %s", report.Verdict)
	}
	return err
}

// still returns nil if an open file has not changed, and its path still leads to it.
func (j *Job) still(in *os.File, f *file) error {
	if err := j.same(in, f); err != nil {
		return err
	}
	again, err := j.open(f)
	if err != nil {
		return err
	}
	return again.Close()
}

// repack makes sure of the packed form of a file. One that is missing, because somebody cleared the directory or the store is a
// copy, is fetched from a destination that has it, so that all get the same bytes, or made anew.
func (j *Job) repack(ctx context.Context, f *file) (*file, error) {
	if f.Packed == nil || !j.lacks(f) {
		return f, nil
	}
	j.repacking.Lock() // two destinations may miss it at once
	defer j.repacking.Unlock()
	f, err := j.now(f)
	if err != nil || f.Packed == nil || !j.lacks(f) {
		return f, err
	}
	for _, s := range f.To {
		for _, t := range j.destinations {
			if s.Name == t.Name && s.Root == t.To.Traits().Root && !s.At.IsZero() && s.SHA256 == f.Packed.SHA256 {
				return f, j.fetch(ctx, t, f)
			}
		}
	}
	return j.pack(ctx, f)
}

// lacks reports whether the packed form of a file is missing.
func (j *Job) lacks(f *file) bool {
	_, err := os.Stat(filepath.Join(j.env.Dir, string(f.Packed.Path)))
	return errors.Is(err, os.ErrNotExist)
}

// fetch gets the packed form of a file back from a destination.
func (j *Job) fetch(ctx context.Context, t *destination, f *file) error {
	name := filepath.Join(j.env.Dir, string(f.Packed.Path))
	err := j.room.makes(ctx, f.Packed.Size, 0, func() error {
		part := name + connector.PartSuffix
		sum, _, err := t.fetchTo(ctx, f, part, f.Packed.Size)
		if err == nil && sum != f.Packed.SHA256 {
			err = errors.New("what it has is something else")
		}
		if err != nil {
			return err
		}
		return os.Rename(part, name)
	})
	if err != nil && ctx.Err() == nil && !noRoom(err) && !fault.Is(err, fault.Transient) {
		return fault.New(fault.Corrupt, "its packed form is missing here, and does not come back from %s: %w", t.Name, err)
	}
	return err
}

// run runs a command, which dies with us. It works in a directory of its own beside what it makes, on names that never change,
// because the name of a file must not steer the command: CFITSIO takes a[1].fits for a part of a file.
func (p *Packer) run(ctx context.Context, command []string, in, out string) error {
	within := p.Timeout
	if within == 0 {
		within = 10 * time.Minute
	}
	dir, err := os.MkdirTemp(filepath.Dir(out), "run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if in, err = filepath.Abs(in); err == nil {
		err = os.Symlink(in, filepath.Join(dir, plainIn))
	}
	if err != nil {
		return err
	}
	var args []string
	for _, a := range command[1:] {
		args = append(args, strings.NewReplacer("{in}", plainIn, "{out}", plainOut).Replace(a))
	}
	name, err := exec.LookPath(command[0])
	if err != nil {
		return fault.New(fault.Transient, "%w", err)
	}
	r, err := process.Command{Args: append([]string{name}, args...), Env: os.Environ(), Dir: dir, Within: within,
		Keep: 1000}.Run(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	case r.Late:
		return fmt.Errorf("%s took longer than %v", command[0], within)
	case !r.OK():
		kind := fault.Invalid
		if p.NoRoom != 0 && r.Code == p.NoRoom {
			kind = fault.Full
		}
		return fault.New(kind, "%s %s: %v: %s", command[0], filepath.Base(in), r, bytes.TrimSpace(r.Output))
	}
	if err := os.Rename(filepath.Join(dir, plainOut), out); err != nil {
		return fmt.Errorf("%s made nothing: %w", command[0], err)
	}
	return nil
}

// keep hashes a file and makes it durable.
func keep(name string) (sum hash, size int64, err error) {
	in, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return "", 0, fmt.Errorf("the packed form was not made: %w", err)
	}
	defer in.Close()
	if sum, size, err = hashOf(in); err != nil {
		return "", 0, err
	}
	return sum, size, errors.Join(in.Sync(), disk.SyncDir(filepath.Dir(name)))
}

// hashOf is the SHA-256 of what a reader has, and how much that is.
func hashOf(r io.Reader) (sum hash, size int64, err error) {
	h := sha256.New()
	size, err = io.Copy(h, r)
	return sumOf(h.Sum(nil)), size, err
}

// proves is nil if the packed form unpacks to the data of the original, HDU by HDU.
func (p *Packer) proves(ctx context.Context, original io.ReaderAt, packed string, size int64) error {
	return p.unpacked(ctx, packed, func(again io.ReaderAt, n int64) error {
		one, err := partsOf(original, size, hashOfData)
		if err != nil {
			return err
		}
		two, err := partsOf(again, n, hashOfData)
		if err != nil {
			return err
		}
		if !slices.Equal(one, two) {
			return fault.New(fault.Conflict, "it is not replaced: its packed form unpacks to other data")
		}
		return nil
	})
}

// unpacked unpacks a packed form, and calls f with the result.
func (p *Packer) unpacked(ctx context.Context, packed string, f func(in io.ReaderAt, size int64) error) error {
	out := packed + ".unpacked"
	defer os.Remove(out)
	in, size, err := p.unpackTo(ctx, packed, out)
	if err != nil {
		return err
	}
	defer in.Close()
	return f(in, size)
}

// unpackTo unpacks a packed form into the file out, in the place of what is there, and opens that.
func (p *Packer) unpackTo(ctx context.Context, packed, out string) (in *os.File, size int64, err error) {
	if err := os.Remove(out); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, 0, err
	}
	if err := p.run(ctx, p.Unpack, packed, out); err != nil {
		return nil, 0, err
	}
	if in, err = os.Open(out); err != nil {
		return nil, 0, err
	}
	info, err := in.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, in.Close())
	}
	return in, info.Size(), nil
}

// partsOf are hashes of the HDUs of a file.
func partsOf(r io.ReaderAt, size int64, of func(io.ReaderAt, fits.HDU) (hash, error)) (sums []hash, err error) {
	report, err := fits.Skim(r, size)
	if err != nil {
		return nil, err
	}
	if report.Count != len(report.HDUs) || len(report.HDUs) == 0 {
		return nil, fault.New(fault.Invalid, "it has %d HDUs, want 1 to %d", report.Count, fits.MaxHDUs)
	}
	for _, u := range report.HDUs {
		sum, err := of(r, u)
		if err != nil {
			return nil, err
		}
		sums = append(sums, sum)
	}
	return sums, nil
}

// hashOfData is the hash of the data of an HDU.
func hashOfData(r io.ReaderAt, u fits.HDU) (hash, error) {
	sum, _, err := hashOf(io.NewSectionReader(r, u.Offset+u.Header, u.Data))
	return sum, err
}

// discard removes the packed form of a file that needs none any more.
func (j *Job) discard(f *file) {
	_ = os.RemoveAll(filepath.Join(j.env.Dir, packedDir, fmt.Sprint(f.ID))) // what is left is removed at the next start
}

// removeLeft removes what a former life made in the directory of packed forms, and no file needs.
func (j *Job) removeLeft() error {
	dir := filepath.Join(j.env.Dir, packedDir)
	made, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, d := range made {
		needed := false
		if id, err := idOf([]byte(d.Name())); err == nil {
			if needed, err = j.isPacked(id); err != nil {
				return err
			}
		}
		if !needed {
			if err := os.RemoveAll(filepath.Join(dir, d.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// isPacked reports whether a file has a packed form.
func (j *Job) isPacked(id uint64) (is bool, err error) {
	err = j.env.Store.Latest(func(r store.Reader) error {
		if _, known, err := r.Get(fileKey(id)); err != nil || !known {
			return err
		}
		f, err := readFile(r, id)
		is = err == nil && f.Packed != nil
		return err
	})
	return is, err
}
