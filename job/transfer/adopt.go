package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/fits"
	"holdfast/connector"
	"holdfast/kernel/store"
)

// adopt accepts what stands at a destination under the file's name as the file itself, if it is another packed form of the
// same original.
func (t *destination) adopt(ctx context.Context, f *file, conflict error) (*file, error) {
	if t.job.cfg.Pack == nil { // it was packed in a former life
		return f, conflict
	}
	s, same, err := t.adopts(ctx, f)
	switch {
	case err != nil && (ctx.Err() != nil || noRoom(err) || fault.Is(err, fault.Transient)):
		return f, err
	case err != nil || !same:
		return f, conflict
	}
	s.Path = Name(pathAt(t.To.Traits(), string(f.Name)))
	return t.job.change(f, func(_ *store.Tx, f *file) error {
		*f.to(t) = s
		f.did(Shipped, t.Name, 0, "it was there already, packed another time: it unpacks to the same")
		return nil
	})
}

// adopts compares what stands at a destination under the name of a packed form with that form. A packed form has the time in
// it at which it was made. So an earlier one of the same original has other bytes: one made by a life whose ledger was lost,
// or of a copy that came first. It is accepted if both unpack to the same data.
func (t *destination) adopts(ctx context.Context, f *file) (s shipped, same bool, err error) {
	j := t.job
	j.repacking.Lock() // two destinations may have one, and what is unpacked has one place
	defer j.repacking.Unlock()
	there := filepath.Join(j.env.Dir, packedDir, fmt.Sprint(f.ID), "there"+j.cfg.Pack.Suffix)
	most := max(f.Size, f.Packed.Size) + small // what is larger is something else
	s = shipped{Name: t.Name, Root: t.To.Traits().Root, Verified: connector.ByReadBack}
	err = j.room.makes(ctx, most+f.Size, f.Size, func() (err error) {
		defer os.Remove(there)
		if s.SHA256, s.Size, err = t.fetchTo(ctx, f, there, most); err != nil {
			return err
		}
		same, err = j.cfg.Pack.sameContent(ctx, filepath.Join(j.env.Dir, string(f.Packed.Path)), there)
		if err == nil && same { // that is what the name itself stands for, and not what a link there leads to
			var sums map[string][sha256.Size]byte
			var how connector.Verified
			sums, how, err = t.To.Sums(ctx, []string{string(f.Name)})
			same = how != connector.BySize && sums[string(f.Name)] == s.SHA256.sha256()
		}
		return err
	})
	if errors.Is(err, errTooMuch) {
		err = nil
	}
	s.At = time.Now()
	return s, same, err
}

// errTooMuch means that a file is larger than what was looked for.
var errTooMuch = errors.New("it is too large")

// fetchTo writes what a destination has of a file to a local one.
func (t *destination) fetchTo(ctx context.Context, f *file, name string, most int64) (sum hash, size int64, err error) {
	if err := disk.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return "", 0, err
	}
	out, err := os.Create(name)
	if err != nil {
		return "", 0, err
	}
	defer out.Close()
	if err := t.To.Read(ctx, string(f.Name), &capped{out, most}); err != nil {
		return "", 0, err
	}
	return keep(name)
}

// capped is a writer that takes so many bytes at most.
type capped struct {
	w    io.Writer
	left int64
}

func (c *capped) Write(b []byte) (int, error) {
	if c.left -= int64(len(b)); c.left < 0 {
		return 0, errTooMuch
	}
	return c.w.Write(b)
}

// sameContent reports whether two packed forms unpack to the same data and the same headers; the cards of checksums are left
// out, because they have a time in them. What can't be unpacked is not the same.
func (p *Packer) sameContent(ctx context.Context, one, two string) (bool, error) {
	var sums [2][]hash
	for i, packed := range []string{one, two} {
		err := p.unpacked(ctx, packed, func(in io.ReaderAt, size int64) (err error) {
			sums[i], err = partsOf(in, size, hashOfUnit)
			return err
		})
		if err != nil {
			if ctx.Err() != nil || noRoom(err) || i == 0 {
				return false, err
			}
			return false, nil
		}
	}
	return slices.Equal(sums[0], sums[1]), nil
}

// hashOfUnit is the hash of an HDU without its checksums.
func hashOfUnit(r io.ReaderAt, u fits.HDU) (hash, error) {
	const card = 80
	h := sha256.New()
	header := make([]byte, fits.BlockSize)
	for at := u.Offset; at < u.Offset+u.Header; at += fits.BlockSize {
		if _, err := r.ReadAt(header, at); err != nil {
			return "", fault.New(fault.Invalid, "read a header: %w", err)
		}
		for c := range slices.Chunk(header, card) {
			if name := string(c[:8]); name != "CHECKSUM" && name != "DATASUM " {
				h.Write(c)
			}
		}
	}
	_, err := io.Copy(h, io.NewSectionReader(r, u.Offset+u.Header, u.Data))
	return sumOf(h.Sum(nil)), err
}
