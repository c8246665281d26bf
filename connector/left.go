package connector

import (
	"maps"
	"path"
	"sync"
)

// Left is where at a destination something that was under way may have been left, so that Sweep need not go through an archive
// of millions of files again and again: it has to be everywhere once, for what former lives left. Its zero value knows nothing.
type Left struct {
	mu    sync.Mutex // guards all below
	whole bool       // everything was gone through
	dirs  map[string]bool
}

// Maybe says that what is under way for a name, or has it, may have been left.
func (l *Left) Maybe(name string) { l.add(map[string]bool{path.Dir(name): true}) }

func (l *Left) add(dirs map[string]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dirs == nil {
		l.dirs = map[string]bool{}
	}
	maps.Copy(l.dirs, dirs)
}

// Sweep has look go through everything, which is deep, the first time; and else through each directory of a name that was told
// of since the last time, "." for the root. What it fails at is gone through again by the next Sweep.
func (l *Left) Sweep(look func(dir string, deep bool) error) error {
	l.mu.Lock()
	whole, dirs := l.whole, l.dirs
	l.dirs = nil
	l.mu.Unlock()
	if !whole {
		err := look(".", true)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.whole = err == nil
		return err
	}
	for dir := range dirs {
		if err := look(dir, false); err != nil {
			l.add(dirs)
			return err
		}
		delete(dirs, dir)
	}
	return nil
}
