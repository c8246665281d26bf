package sftp

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"holdfast/base/fault"
)

// finish gives the part its name, unless a file has that name by now.
func (p *placing) finish() error {
	client := p.lane.client
	_, links := client.HasExtension("hardlink@openssh.com")
	if links {
		err := client.Link(p.part, p.final)
		if err == nil {
			return p.unlink()
		}
		if lost(err) {
			return err
		}
	}
	switch there, _, err := p.there(); {
	case err != nil:
		return err
	case there:
		return errors.Join(p.drop(), p.keep())
	}
	// The file system has no hard links (FAT, some network file systems). The rename of SFTP 3 must not replace a file.
	err := client.Rename(p.part, p.final)
	if _, posix := client.HasExtension("posix-rename@openssh.com"); posix && (failed(err) || unsupported(err)) {
		err = client.PosixRename(p.part, p.final)
	}
	if err != nil {
		return p.wrote(p.lane, "rename "+p.name, err)
	}
	return p.syncDirectory()
}

// unlink removes the part's own name, and makes the other one durable. A crash in between leaves both.
func (p *placing) unlink() error {
	var removed, replaced error
	var all sync.WaitGroup
	all.Go(func() { removed = p.drop() })
	all.Go(func() { replaced = p.ours() })
	err := p.syncDirectory()
	all.Wait()
	return errors.Join(err, removed, replaced)
}

// ours returns an error if what got the name is not what was verified: another process, with another file for the same
// name, may have made the part anew in between. SFTP shows no inode by which to know it, but a part that is written to has
// another time.
func (p *placing) ours() error {
	info, err := p.lane.client.Lstat(p.final)
	if err != nil {
		return fmt.Errorf("look at %s: %w", p.final, err)
	}
	if info.Size() != p.content.Size || p.dated && !sameTime(info, p.content) {
		return fault.New(fault.Transient, "another process puts something else at %s at the same time", p.name)
	}
	return nil
}

// keep makes a file durable that is placed already, if it may be opened: whoever placed it may have been killed before that.
func (p *placing) keep() error {
	if !p.syncs() {
		return nil
	}
	var synced, opened error
	var all sync.WaitGroup
	all.Go(func() { synced = p.syncFinal() })
	if p.directory == nil {
		all.Go(func() { opened = p.openDirectory() })
	}
	all.Wait()
	return errors.Join(p.filled(p.lane, "sync "+p.name, synced), opened, p.syncDirectory())
}

func (p *placing) syncFinal() error {
	f, err := p.lane.client.Open(p.final)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if unsupported(err) || errors.Is(err, fs.ErrPermission) { // a drop box, or a server that syncs only what it writes
		return nil
	}
	return err
}

// syncs reports whether the server makes things durable when it is asked.
func (p *placing) syncs() bool {
	_, ok := p.lane.client.HasExtension("fsync@openssh.com")
	return ok
}

// ifSyncs is err, or nil if the server says that it can't sync directories: not every server or file system can.
func (p *placing) ifSyncs(err error) error {
	if failed(err) || unsupported(err) || errors.Is(err, fs.ErrPermission) {
		p.noSync.Store(true)
		return nil
	}
	if err != nil {
		err = fmt.Errorf("sync the directory of %s: %w", p.name, err)
	}
	return err
}

// syncMade makes the name of a new directory durable.
func (p *placing) syncMade(above string) error {
	if !p.syncs() || p.noSync.Load() {
		return nil
	}
	f, err := p.lane.client.Open(p.absolute(above))
	if err != nil {
		return p.ifSyncs(err)
	}
	defer f.Close()
	return p.ifSyncs(f.Sync())
}
