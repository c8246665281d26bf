package transfer

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/connector"
)

// original finds, among candidates in the source directory, the one that a file at a destination was made of: it has the same
// bytes, or the file at the destination is a packed form of it. size is that of the file at the destination.
func (r *rebuilding) original(ctx context.Context, candidates []string, f *standing) (o connector.Original, size int64,
	why string, err error) {
	if len(candidates) == 0 {
		return o, 0, "nothing is known of its original: no record has it, and none of its name stands in " + r.Root, nil
	}
	dir, err := r.scratch()
	if err != nil {
		return o, 0, "", err
	}
	defer os.RemoveAll(dir)
	var tried []string
	for _, c := range candidates {
		o, size, err := r.made(ctx, c, f, dir)
		if ctx.Err() != nil {
			return o, 0, "", ctx.Err()
		}
		if err == nil {
			return o, size, "", nil
		}
		if outside, ok := errors.AsType[*unasked](err); ok {
			return o, 0, "", outside.error
		}
		tried = append(tried, fmt.Sprintf("%s: %v", c, err))
	}
	return o, 0, "it is made of none of those that stand there: " + strings.Join(tried, "; "), nil
}

// unasked is an error of a destination that did not answer. It says nothing about a candidate.
type unasked struct{ error }

// scratch makes a directory for what is fetched and unpacked.
func (r *rebuilding) scratch() (string, error) {
	if err := disk.MkdirAll(r.Dir, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(r.Dir, "rebuild-")
}

// made returns the original of a file: the candidate itself, or, if the candidate is a packed form, what it was made of.
// Otherwise the error says why the candidate does not fit.
func (r *rebuilding) made(ctx context.Context, candidate string, f *standing, dir string) (o connector.Original, size int64,
	err error) {
	name := filepath.Join(r.Root, candidate)
	in, err := os.Open(name)
	if err != nil {
		return o, 0, err
	}
	defer in.Close()
	now, err := identityOf(in)
	if err != nil {
		return o, 0, err
	}
	one, two, err := sumsOf(ctx, in)
	if err != nil {
		return o, 0, err
	}
	o = connector.Original{Source: name, SHA1: one, SHA256: two, Size: now.Size, Created: time.Unix(0, now.Mtime).UTC(),
		Meta: metaOf(r.Meta, candidate)}
	size = now.Size
	same, packed := two == f.sum, r.packedForm(candidate, f)
	if same && !packed {
		return o, size, nil
	}
	if r.Pack == nil || !strings.HasSuffix(f.name, r.Pack.Suffix) {
		return o, 0, fault.New(fault.Conflict, "it has other bytes")
	}
	raw := name
	if packed {
		raw = filepath.Join(dir, "raw")
		if err := r.unpack(ctx, name, raw, &o); err != nil {
			return o, 0, err
		}
	}
	if !same {
		size, err = r.unpacksTo(ctx, raw, f, dir)
	}
	return o, size, err
}

// packedForm reports whether a candidate is not an original, but the packed form that took the place of one.
func (r *rebuilding) packedForm(candidate string, f *standing) bool {
	if r.Pack == nil {
		return false
	}
	base, suffix := path.Base(candidate), r.Pack.Suffix
	if stem, ok := strings.CutSuffix(base, suffix); ok {
		return r.Replaces && r.Pack.Matches(stem)
	}
	return r.Pack.SameName && r.Replaces && path.Base(f.name) == base+suffix && isPacked(filepath.Join(r.Root, candidate))
}

// isPacked reports whether a file whose name does not say so is a packed one.
func isPacked(name string) bool {
	report, err := skim(name)
	return err == nil && report.Packed
}

// unpack makes the original of a packed form that stands in the source directory.
func (r *rebuilding) unpack(ctx context.Context, name, raw string, o *connector.Original) error {
	in, size, err := r.Pack.unpackTo(ctx, name, raw)
	if err != nil {
		return err
	}
	defer in.Close()
	o.Size, o.Source = size, strings.TrimSuffix(name, r.Pack.Suffix)
	o.Meta = metaOf(r.Meta, o.Source)
	o.SHA1, o.SHA256, err = sumsOf(ctx, in)
	return err
}

// unpacksTo fetches a file from a destination; it returns nil if the file unpacks to the data of an original.
func (r *rebuilding) unpacksTo(ctx context.Context, raw string, f *standing, dir string) (size int64, err error) {
	there := filepath.Join(dir, "there"+r.Pack.Suffix)
	if err := r.fetch(ctx, f, there); err != nil {
		return 0, err
	}
	original, err := os.Open(raw)
	if err != nil {
		return 0, err
	}
	defer original.Close()
	info, err := original.Stat()
	if err != nil {
		return 0, err
	}
	if err := r.Pack.proves(ctx, original, there, info.Size()); err != nil {
		return 0, err
	}
	packed, err := os.Stat(there)
	if err != nil {
		return 0, err
	}
	return packed.Size(), nil
}

// fetch gets a file from a destination, once for all candidates.
func (r *rebuilding) fetch(ctx context.Context, f *standing, name string) error {
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	out, err := os.Create(name + connector.PartSuffix)
	if err != nil {
		return &unasked{err}
	}
	defer out.Close()
	for i, t := range r.Destinations {
		if _, ok := f.at[i]; !ok {
			continue
		}
		h := sha256.New()
		if err := t.To.Read(ctx, f.name, io.MultiWriter(out, h)); err != nil {
			return &unasked{fmt.Errorf("read %s at %s: %w", f.name, t.To.Traits().Root, err)}
		}
		if [sha256.Size]byte(h.Sum(nil)) != f.sum {
			return fault.New(fault.Conflict, "%s at %s is another file now", f.name, t.To.Traits().Root)
		}
		return os.Rename(out.Name(), name)
	}
	return fault.New(fault.NotFound, "%s is nowhere", f.name)
}

// sumsOf are the hashes of what a reader has.
func sumsOf(ctx context.Context, in io.Reader) (one [sha1.Size]byte, two [sha256.Size]byte, err error) {
	a, b := sha1.New(), sha256.New()
	_, err = io.Copy(io.MultiWriter(a, b), &stoppable{ctx, in})
	return [sha1.Size]byte(a.Sum(nil)), [sha256.Size]byte(b.Sum(nil)), err
}
