package localdir

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/connector"
)

// placing is one Place.
type placing struct {
	ctx      context.Context
	root     *os.Root
	name     string
	part     string // what it is called while it is under way
	content  connector.Content
	progress func(int64)
	fsync    func(*os.File) error
}

// mostRivals is how many others may take the part away from us, one after another.
const mostRivals = 10

// place looks whether the file is there, and else takes the part and makes the file of it. Another process may have the part:
// when it has ended, all is looked at again.
func (p *placing) place() (done connector.Placed, err error) {
	for range mostRivals {
		if there, err := p.there(); err != nil {
			return done, err
		} else if there {
			_, err := removeLeft(p.root, p.part)
			return connector.Placed{Verified: connector.ByReadBack, Already: true}, errors.Join(err, p.sync(path.Dir(p.name)))
		}
		if err := p.directories(path.Dir(p.name)); err != nil {
			return done, err
		}
		f, err := p.take()
		if err != nil {
			return done, err
		}
		if f != nil {
			return p.make(f)
		}
	}
	return done, fault.New(fault.Transient, "others put files at the same name again and again")
}

// make does the steps, each of which may be the last one before a crash: whatever is there then is found by the next.
func (p *placing) make(f *os.File) (done connector.Placed, err error) {
	defer f.Close()
	if done.Sent, err = p.fill(f); err != nil {
		return done, err
	}
	if err := p.settle(f); err != nil {
		return done, err
	}
	if err := p.finish(); err != nil {
		return done, err
	}
	done.Verified = connector.ByReadBack
	return done, nil
}

// there reports whether the file has its name already. Another one is a Conflict.
func (p *placing) there() (bool, error) {
	f, err := openFile(p.root, p.name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		for dir := path.Dir(p.name); dir != "."; dir = path.Dir(dir) {
			if away := p.leadsAway(dir); away != nil {
				return false, away
			}
		}
		return false, err
	}
	defer f.Close()
	if err := p.fsync(f); err != nil { // who made it may have been killed before
		return false, err
	}
	sum, size, err := sumOf(p.ctx, f)
	if err == nil && (size != p.content.Size || sum != p.content.SHA256) {
		err = fault.WithHint(fault.New(fault.Conflict, "%s is there with %d other bytes (SHA-256 %x), and was not touched",
			line(p.name), size, sum), "give one of the two another name")
	}
	return err == nil, err
}

// leadsAway is a Conflict if a directory is a link that leads out of the root, or nowhere.
func (p *placing) leadsAway(dir string) error {
	info, err := p.root.Lstat(dir)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return nil
	}
	_, err = p.root.Stat(dir)
	no, failed := errors.AsType[unix.Errno](err) // a link that leads out of the root is no Errno
	if err == nil || failed && no != unix.ENOENT && no != unix.ELOOP && no != unix.ENOTDIR {
		return nil
	}
	return fault.WithHint(fault.New(fault.Conflict, "%s is a link that leads out of the destination, or nowhere", line(dir)),
		"put a directory in its place; a further disk can be mounted there")
}

// directories makes the directories above the file, so that they outlive a power cut.
func (p *placing) directories(dir string) error {
	if dir == "." {
		return nil
	}
	if info, err := p.root.Stat(dir); err == nil {
		if !info.IsDir() {
			return fault.New(fault.Conflict, "%s is no directory", line(dir))
		}
		return nil
	}
	above := path.Dir(dir)
	if err := p.directories(above); err != nil {
		return err
	}
	if err := p.root.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := p.leadsAway(dir); err != nil {
		return err
	}
	return p.sync(above)
}

// fill makes the part whole. What a former attempt left stays as far as it is the same.
func (p *placing) fill(f *os.File) (sent int64, err error) {
	h := sha256.New()
	good, err := p.prefix(f, h)
	if err == nil {
		err = f.Truncate(good)
	}
	if err == nil {
		_, err = f.Seek(good, io.SeekStart)
	}
	if err != nil {
		return 0, err
	}
	from := io.NewSectionReader(p.content, good, p.content.Size-good)
	sent, err = io.Copy(&counted{f, h, p.progress}, &reader{p.ctx, from})
	if err == nil && (good+sent != p.content.Size || [sha256.Size]byte(h.Sum(nil)) != p.content.SHA256) {
		err = fault.WithHint(fault.New(fault.Corrupt, "the file is not what was hashed: it changed, or its disk reads it wrong"),
			"it is hashed again")
		err = errors.Join(err, f.Truncate(0)) // any part of it may be wrong
	}
	return sent, err
}

// prefix compares what is there with the content, up to where they differ, and hashes so much.
func (p *placing) prefix(f *os.File, h hash.Hash) (good int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	most := min(info.Size(), p.content.Size)
	if most == 0 {
		return 0, nil
	}
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for good < most {
		if err := p.ctx.Err(); err != nil {
			return 0, err
		}
		n := int(min(most-good, int64(len(a))))
		if _, err := f.ReadAt(a[:n], good); err != nil {
			return 0, err
		}
		if _, err := p.content.ReadAt(b[:n], good); err != nil && err != io.EOF {
			return 0, err
		}
		if !bytes.Equal(a[:n], b[:n]) {
			break
		}
		h.Write(b[:n])
		good += int64(n)
	}
	return good, nil
}

// settle makes the part durable, and compares what the disk has of it.
func (p *placing) settle(f *os.File) error {
	if err := p.root.Chtimes(p.part, time.Time{}, p.content.ModTime); err != nil {
		return err
	}
	if err := p.fsync(f); err != nil {
		return err
	}
	sum, size, err := sumOf(p.ctx, f)
	if err == nil && (size != p.content.Size || sum != p.content.SHA256) {
		err = fault.New(fault.Corrupt, "%d bytes came back of %d, and not as they were written", size, p.content.Size)
		err = errors.Join(err, f.Truncate(0))
	}
	return err
}

// finish gives the part its name, unless another file came to it meanwhile.
func (p *placing) finish() error {
	err := p.root.Link(p.part, p.name)
	switch {
	case errors.Is(err, fs.ErrExist):
		if _, err := p.there(); err != nil {
			return err
		}
		if err := p.remove(); err != nil {
			return err
		}
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOSYS):
		// There are no links there (FAT, some network file systems): a rename would replace what came in this moment.
		if err := p.root.Rename(p.part, p.name); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		if err := p.remove(); err != nil {
			return err
		}
	}
	return p.sync(path.Dir(p.name))
}

// remove takes the part's own name away.
func (p *placing) remove() error {
	err := p.root.Remove(p.part)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sync makes the names in a directory durable.
func (p *placing) sync(dir string) error {
	f, err := p.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(p.fsync(f), f.Close())
}

// counted writes to a file and a hash, and tells how much.
type counted struct {
	f        *os.File
	h        hash.Hash
	progress func(int64)
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.f.Write(b)
	c.h.Write(b[:n])
	if c.progress != nil {
		c.progress(int64(n))
	}
	return n, err
}
