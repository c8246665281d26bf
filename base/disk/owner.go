package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// GiveBack gives the owner of dir whatever root has made below it, such as a log of a store that root has opened: else
// the owner, a service, could not read or write it. Only root can, so for others, and where root is the owner, it does
// nothing. A file with a name outside of dir stays as it is: somebody may have linked one of root's in here.
func GiveBack(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer root.Close()
	info, err := root.Stat(".")
	if err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	to, ok := info.Sys().(*syscall.Stat_t)
	if !ok || to.Uid == 0 {
		return nil
	}
	names := map[uint64][]string{} // of root's files, by inode
	links := map[uint64]int{}
	err = fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := root.Lstat(name)
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == 0 && st.Dev == to.Dev {
			names[st.Ino], links[st.Ino] = append(names[st.Ino], name), 0
			if !info.IsDir() {
				links[st.Ino] = int(st.Nlink)
			}
		}
		return nil
	})
	for inode, all := range names {
		if links[inode] <= len(all) {
			err = errors.Join(err, root.Lchown(all[0], int(to.Uid), int(to.Gid)))
		}
	}
	if err != nil {
		return fmt.Errorf("give what root made in %s to its owner: %w", dir, err)
	}
	return nil
}
