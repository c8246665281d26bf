package sftp

import (
	"path"
	"sync"
	"time"

	"github.com/pkg/sftp"
)

// folderAge is for how long an open directory is shared with further files: later its path may lead elsewhere.
const folderAge = time.Second

// folder is a directory that is held open to be synced, shared by the files that land there at the same time.
type folder struct {
	path   string
	lane   *lane
	opened time.Time
	users  int           // guarded by folders.mu
	ready  chan struct{} // closed when file and err are set
	file   *sftp.File    // nil if the server can't sync it
	err    error
}

// folders are the open ones, of each path the youngest.
type folders struct {
	mu   sync.Mutex // guards all below
	open map[string]*folder
}

// syncing is a file whose name is to become durable.
type syncing struct{ err error }

// openDirectory opens the file's directory, if the server allows it, or shares one that is open.
func (p *placing) openDirectory() error {
	if p.noSync.Load() {
		return nil
	}
	f, first := p.enter(p.lane, path.Dir(p.final))
	p.directory = f
	if first {
		f.file, f.err = p.lane.client.Open(f.path)
		if f.err = p.ifSyncs(f.err); f.file == nil {
			p.forget(f)
		}
		close(f.ready)
	}
	<-f.ready
	return f.err
}

// enter returns the directory, and whether the caller is the one who has to open it.
func (c *connection) enter(l *lane, path string) (f *folder, first bool) {
	c.folders.mu.Lock()
	defer c.folders.mu.Unlock()
	f = c.folders.open[path]
	if f == nil || time.Since(f.opened) > folderAge || f.lane.gone.Load() {
		first = true
		f = &folder{path: path, lane: l, opened: time.Now(), ready: make(chan struct{})}
		if c.folders.open == nil {
			c.folders.open = map[string]*folder{}
		}
		c.folders.open[path] = f
	}
	f.users++
	return f, first
}

// forget lets nobody share f any more.
func (c *connection) forget(f *folder) {
	c.folders.mu.Lock()
	defer c.folders.mu.Unlock()
	if c.folders.open[f.path] == f {
		delete(c.folders.open, f.path)
	}
}

// exit gives a directory back. The last user closes it in the background, since nothing depends on it any more.
func (c *connection) exit(f *folder) {
	c.folders.mu.Lock()
	defer c.folders.mu.Unlock()
	if f.users--; f.users > 0 {
		return
	}
	if c.folders.open[f.path] == f {
		delete(c.folders.open, f.path)
	}
	if f.file != nil {
		c.spawn(func() { _ = f.file.Close() })
	}
}

// syncDirectory makes the names in the directory durable, if it is open. A shared sync begins after the links of all files
// that it serves.
func (p *placing) syncDirectory() error {
	if p.directory == nil || p.directory.file == nil {
		return nil
	}
	s := &syncing{}
	p.syncings.join(p.directory, s, 0, p.share())
	return p.ifSyncs(s.err)
}

// syncTogether syncs a directory once for all who wait for it.
func (c *connection) syncTogether(f *folder, all []*syncing) {
	err := f.file.Sync()
	for _, s := range all {
		s.err = err
	}
}
