package sftp

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"holdfast/base/fault"
)

// finish gives the part its name, unless another file came to it meanwhile.
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
	// There are no links there (FAT, some network file systems). The rename of SFTP 3 must not replace a
	// file.
	err := client.Rename(p.part, p.final)
	if _, posix := client.HasExtension("posix-rename@openssh.com"); posix && (failed(err) || unsupported(err)) {
		err = client.PosixRename(p.part, p.final)
	}
	if err != nil {
		return p.wrote(p.lane, "rename "+p.name, err)
	}
	return p.syncDirectory()
}

// unlink takes the part's own name away, and makes the other one durable. After a crash in between both may
// be there.
func (p *placing) unlink() error {
	var removed, replaced error
	var all sync.WaitGroup
	all.Go(func() { removed = p.drop() })
	all.Go(func() { replaced = p.ours() })
	err := p.syncDirectory()
	all.Wait()
	return errors.Join(err, removed, replaced)
}

// ours is an error if what got the name is not what was verified: another process, with another file for the same name, may have
// made the part anew in between. SFTP has neither locks nor inodes to know it by, but a part that is written to has another time.
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

// keep makes durable what is there already, as far as it may be opened: who made it may have been killed before he did so.
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

// maybe is nil if the server only says that it can't: not every server, or file system, syncs directories.
func (p *placing) maybe(err error) error {
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
		return p.maybe(err)
	}
	defer f.Close()
	return p.maybe(f.Sync())
}
