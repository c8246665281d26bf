package sftp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/sync/errgroup"

	"holdfast/base/fault"
	"holdfast/connector"
)

// Place writes the content under the name of a part, verifies it, and links it to its own name.
func (d *Destination) Place(ctx context.Context, name string, content connector.Content, progress func(int64)) (
	connector.Placed, error) {
	if err := connector.CheckName(name); err != nil {
		return connector.Placed{}, err
	}
	out := &outgoing{ctx: ctx, content: content, progress: progress}
	defer out.end()
	return d.placing(ctx, name, content, func(p *placing) (connector.Placed, error) {
		p.out = out
		return p.place()
	})
}

// placing runs f once nobody else works on the name.
func (d *Destination) placing(ctx context.Context, name string, content connector.Content,
	f func(p *placing) (connector.Placed, error)) (connector.Placed, error) {
	done, err := detached(ctx, d, func(ctx context.Context) (connector.Placed, error) {
		release, err := d.hold(ctx, name)
		if err != nil {
			return connector.Placed{}, err
		}
		defer release()
		c, err := d.connect(ctx)
		if err != nil {
			return connector.Placed{}, err
		}
		defer c.count(content.Size)()
		l, err := c.lane(weight(content.Size))
		if err != nil {
			return connector.Placed{}, err
		}
		defer c.leave(l, weight(content.Size))
		p := &placing{connection: c, lane: l, ctx: ctx, content: content, name: name, final: c.absolute(name),
			part: c.absolute(connector.PartName(name))}
		defer p.close()
		done, err := f(p)
		done.Path = c.absolute(name)
		return done, c.classify("place "+name, err)
	})
	if err != nil {
		d.left.Maybe(name)
		return connector.Placed{}, fmt.Errorf("%s: %w", d.cfg.Host, err)
	}
	return done, nil
}

// placing is one Place, or one Copy.
type placing struct {
	*connection
	lane        *lane
	ctx         context.Context
	content     connector.Content
	out         *outgoing
	name        string
	final, part string     // absolute
	file        *sftp.File // the part, until it is closed
	directory   *folder
	dated       bool // the part has the time of the content
}

// place does the steps. A crash may come after any of them: the next attempt goes on from what it finds. Steps that do not
// depend on each other are requested at once, since each answer takes a round trip.
func (p *placing) place() (done connector.Placed, err error) {
	f, openErr := (*sftp.File)(nil), error(nil)
	var opened sync.WaitGroup
	opened.Go(func() { f, openErr = p.create() })
	there, how, err := p.there()
	opened.Wait()
	if there || err != nil {
		err = errors.Join(err, p.giveUp(f))
		if there && err == nil && f == nil && !errors.Is(openErr, fs.ErrPermission) {
			err = p.drop() // a crash between link and remove left it
		}
		if there {
			err = errors.Join(err, p.keep())
		}
		return connector.Placed{Verified: how, Already: true}, err
	}
	if p.strongest() == connector.BySize || p.strongest() == connector.ByReadBack {
		p.out.h = sha256.New()
	}
	from := int64(0)
	if f == nil {
		if f, from, err = p.goOn(openErr); err != nil {
			return done, err
		}
	}
	if done.Sent, err = p.send(f, from); err != nil {
		return done, errors.Join(err, f.Close())
	}
	if done.Verified, err = p.settle(f); err != nil {
		return done, err
	}
	return done, p.finish()
}

// create makes the part, exclusively: nothing is written through a link that somebody put there.
func (p *placing) create() (*sftp.File, error) {
	f, err := p.lane.client.OpenFile(p.part, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", p.part, err)
	}
	return f, nil
}

// giveUp takes back a part that was made before it was known that the name is taken.
func (p *placing) giveUp(f *sftp.File) error {
	if f == nil {
		return nil
	}
	return errors.Join(f.Close(), p.drop())
}

// drop removes the part.
func (p *placing) drop() error {
	if err := p.lane.client.Remove(p.part); err != nil && !isNotExist(err) {
		return fmt.Errorf("remove %s: %w", p.part, err)
	}
	return nil
}

// there reports whether the file is placed already. Another file of that name is a Conflict.
func (p *placing) there() (bool, connector.Verified, error) {
	info, err := p.lane.client.Lstat(p.final)
	if isNotExist(err) {
		return false, "", nil
	}
	if err != nil {
		return false, "", fmt.Errorf("look at %s: %w", p.final, err)
	}
	if !info.Mode().IsRegular() {
		return false, "", fault.New(fault.Conflict, "%s is no file, but a %v", p.name, info.Mode().Type())
	}
	same, how, err := p.holds(p.ctx, p.lane, p.final, info, p.content)
	if err == nil && !same {
		err = fault.WithHint(fault.New(fault.Conflict, "%s is there with %d bytes of %s, which are others (by %s), and was not touched",
			p.name, info.Size(), info.ModTime().UTC().Format(time.DateTime), how), "give one of the two another name")
	}
	return same, how, err
}

// goOn is called when the part could not be created: it opens that of an earlier attempt, or makes the directories that were
// missing. from is how many bytes of it are good.
func (p *placing) goOn(openErr error) (f *sftp.File, from int64, err error) {
	info, err := p.lane.client.Lstat(p.part)
	switch {
	case isNotExist(err) && isNotExist(openErr):
		if err := p.directories(); err != nil {
			return nil, 0, err
		}
		f, err = p.create()
		return f, 0, p.wrote(p.lane, "place "+p.name, err)
	case isNotExist(err):
		return nil, 0, p.wrote(p.lane, "place "+p.name, openErr)
	case err != nil:
		return nil, 0, fmt.Errorf("look at %s: %w", p.part, err)
	case !info.Mode().IsRegular():
		return nil, 0, fault.New(fault.Conflict, "%s is no file, but a %v", p.part, info.Mode().Type())
	}
	good, err := p.begins(info.Size())
	if err != nil {
		return nil, 0, err
	}
	if good {
		f, err = p.lane.client.OpenFile(p.part, os.O_WRONLY)
		return f, info.Size(), err
	}
	// It is removed and made anew, not truncated: writes of a connection that broke may still reach the old file.
	if err := p.drop(); err != nil {
		return nil, 0, err
	}
	f, err = p.create()
	return f, 0, p.wrote(p.lane, "place "+p.name, err)
}

// begins reports whether the part holds the beginning of the content. Then what is sent begins behind that.
func (p *placing) begins(size int64) (bool, error) {
	// An empty part may be another process's, which has just created it for another file.
	if size == 0 || size > p.content.Size || p.strongest() == connector.BySize {
		return false, nil
	}
	var sum [sha256.Size]byte
	var how connector.Verified
	var remote error
	var hashed sync.WaitGroup
	hashed.Go(func() { sum, how, remote = p.sumOf(p.ctx, p.lane, p.part, size) })
	h := sha256.New()
	err := p.out.skip(size, h)
	hashed.Wait()
	if err := errors.Join(err, remote); err != nil {
		return false, err
	}
	if how == connector.BySize || sum != [sha256.Size]byte(h.Sum(nil)) {
		p.out.off = 0
		return false, nil
	}
	if p.out.h != nil {
		p.out.h = h
	}
	return true, nil
}

// directories makes the directories above the file. The root is never made: if it is missing, its disk is not mounted. Files
// that need the same new directory at the same time make it once.
func (p *placing) directories() error {
	dir := path.Dir(p.name)
	_, err, _ := p.making.Do(dir, func() (any, error) { return nil, p.makeDirectories(dir) })
	return err
}

// makeDirectories makes a directory below the root, with those above it. It looks at all levels at once, since each answer
// takes a round trip, and makes the missing ones one after the other.
func (p *placing) makeDirectories(dir string) error {
	if dir == "." {
		return p.checkRoot(p.lane)
	}
	var levels []string
	for d := dir; d != "."; d = path.Dir(d) {
		levels = append(levels, d)
	}
	slices.Reverse(levels)
	missing := make([]bool, len(levels))
	var looks, syncs errgroup.Group
	looks.Go(func() error { return p.checkRoot(p.lane) })
	for i, level := range levels {
		looks.Go(func() (err error) {
			missing[i], err = p.lacks(level)
			return err
		})
	}
	if err := looks.Wait(); err != nil {
		return err
	}
	for i, level := range levels {
		if !missing[i] {
			continue
		}
		err := p.lane.client.Mkdir(p.absolute(level))
		if err == nil {
			continue
		}
		if still, e := p.lacks(level); e != nil || still { // else another process made it
			return p.wrote(p.lane, "make directory "+level, errors.Join(err, e))
		}
	}
	for i, level := range levels {
		if missing[i] { // also if another process made it just now: it may not have synced it yet
			syncs.Go(func() error { return p.syncMade(path.Dir(level)) })
		}
	}
	return syncs.Wait()
}

// lacks reports whether a directory does not exist. Anything else of that name is a Conflict.
func (p *placing) lacks(dir string) (bool, error) {
	info, err := p.lane.client.Stat(p.absolute(dir))
	switch {
	case isNotExist(err):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("look at %s: %w", dir, err)
	case !info.IsDir():
		return false, fault.New(fault.Conflict, "%s is no directory", dir)
	}
	return false, nil
}

// send writes the rest of the content into the part, with many requests in flight.
func (p *placing) send(f *sftp.File, from int64) (sent int64, err error) {
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return 0, err
	}
	switch left := p.content.Size - from; {
	case left > int64(p.packet):
		sent, err = f.ReadFromWithConcurrency(p.out, int(min(int64(p.requests()), left/int64(p.packet)+1)))
	case left > 0:
		sent, err = p.sendOne(f, left)
	}
	switch {
	case p.out.err != nil:
		return sent, p.out.err
	case err != nil:
		return sent, p.filled(p.lane, "write "+p.name, err)
	case from+sent != p.content.Size, p.out.h != nil && [sha256.Size]byte(p.out.h.Sum(nil)) != p.content.SHA256:
		return sent, errors.Join(errChanged, p.drop()) // nobody knows which bytes of it are right
	}
	return sent, nil
}

// sendOne writes what fits into one request.
func (p *placing) sendOne(f *sftp.File, left int64) (int64, error) {
	b := make([]byte, left)
	n, err := io.ReadFull(p.out, b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, err
	}
	n, err = f.Write(b[:n])
	return int64(n), err
}

// settle makes the part durable, and compares it with the content. It also opens the directory, which finish needs.
func (p *placing) settle(f *sftp.File) (how connector.Verified, err error) {
	p.file = f
	if !p.syncs() { // some servers write only at the close
		p.file = nil
		if err := f.Close(); err != nil {
			return "", p.filled(p.lane, "write "+p.name, err)
		}
	}
	var synced, dated, opened error
	var all sync.WaitGroup
	if p.syncs() {
		all.Go(func() { synced = f.Sync() })
		all.Go(func() { opened = p.openDirectory() })
	}
	all.Go(func() { dated = p.lane.client.Chtimes(p.part, time.Now(), p.content.ModTime) })
	same, how, err := p.arrived()
	all.Wait()
	if p.dated = dated == nil; unsupported(dated) {
		dated = nil
	}
	switch err = errors.Join(err, p.filled(p.lane, "sync "+p.name, synced), dated, opened); {
	case err != nil:
		return "", err
	case !same:
		return "", errors.Join(errChanged, p.drop())
	}
	return how, p.ctx.Err()
}

// arrived reports whether the part is the content.
func (p *placing) arrived() (bool, connector.Verified, error) {
	sum, how, err := p.sumOf(p.ctx, p.lane, p.part, p.content.Size)
	if err != nil || how != connector.BySize {
		return err == nil && sum == p.content.SHA256, how, err
	}
	info, err := p.lane.client.Lstat(p.part)
	if err != nil {
		return false, how, fmt.Errorf("look at %s: %w", p.part, err)
	}
	return info.Size() == p.content.Size, how, nil
}

// close closes what is still open, in the background: nothing depends on it any more.
func (p *placing) close() {
	if p.file != nil {
		p.spawn(func() { _ = p.file.Close() })
	}
	if p.directory != nil {
		p.exit(p.directory)
	}
}

// Copy has the server copy a file: by cp in its shell, or by the copy-data extension of SFTP. It is NotFound for a server
// that can do neither, so that the caller places the file.
func (d *Destination) Copy(ctx context.Context, from, name string, content connector.Content) (connector.Placed,
	error) {
	if err := errors.Join(connector.CheckName(from), connector.CheckName(name)); err != nil {
		return connector.Placed{}, err
	}
	return d.placing(ctx, name, content, func(p *placing) (connector.Placed, error) { return p.copy(from) })
}

func (p *placing) copy(from string) (done connector.Placed, err error) {
	there, how, err := p.there()
	if there {
		err = p.keep()
	}
	if there || err != nil {
		return connector.Placed{Verified: how, Already: there}, err
	}
	if p.strongest() == connector.BySize {
		return done, fault.New(fault.NotFound, "by its size nobody knows what %s holds", from)
	}
	source := p.absolute(from)
	info, err := p.lane.client.Lstat(source)
	switch {
	case isNotExist(err):
		return done, fault.New(fault.NotFound, "there is no %s", from)
	case err != nil:
		return done, fmt.Errorf("look at %s: %w", from, err)
	case !info.Mode().IsRegular() || info.Size() != p.content.Size:
		return done, fault.New(fault.NotFound, "%s holds something else", from)
	}
	err = errors.Join(p.directories(), p.drop())
	if err == nil {
		err = p.duplicate(source)
	}
	if err != nil {
		return done, err
	}
	f, err := p.lane.client.OpenFile(p.part, os.O_WRONLY)
	if err != nil {
		return done, fmt.Errorf("open %s: %w", p.part, err)
	}
	done.Verified, err = p.settle(f)
	if errors.Is(err, errChanged) {
		return done, fault.New(fault.NotFound, "%s holds something else", from)
	}
	if err == nil && done.Verified == connector.BySize {
		return done, errors.Join(fault.New(fault.NotFound, "by its size nobody knows what %s holds", from), p.drop())
	}
	if err != nil {
		return done, err
	}
	return done, p.finish()
}

// duplicate makes the part by copying a file on the server.
func (p *placing) duplicate(source string) error {
	if p.hasShell() {
		err := p.remoteCopy(source, p.part, p.content.Size)
		if !errors.Is(err, errCopy) {
			return err
		}
	}
	if _, ok := p.lane.client.HasExtension("copy-data"); !ok {
		return fault.New(fault.NotFound, "the server makes no copies")
	}
	if err := p.drop(); err != nil { // a cp that failed may have left it
		return err
	}
	err := p.copyData(source, p.part, p.content.Size)
	if refused(err) {
		return fault.New(fault.NotFound, "the server makes no copies: %w", err)
	}
	return p.filled(p.lane, "copy to "+p.name, err)
}
