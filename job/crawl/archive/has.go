package archive

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"
)

// sizes remembers how large files of the archive were a moment ago, because the same file is asked about for each page that is
// a duplicate.
type sizes struct {
	mu  sync.Mutex
	all map[string]sized
}

type sized struct {
	size int64
	at   time.Time
}

// sizeHolds is how long a remembered size is believed.
const sizeHolds = 2 * time.Second

// mostSizes is how many sizes are remembered.
const mostSizes = 1024

// Has reports whether a file of the archive, by the name of a Place, is there and has all bytes up to end. The answer may be
// two seconds old. It may be called by several goroutines at once.
func (a *Archive) Has(name string, end int64) (bool, error) {
	if name == "" {
		return false, nil
	}
	a.sizes.mu.Lock()
	was, known := a.sizes.all[name]
	a.sizes.mu.Unlock()
	if known && was.size >= end && time.Since(was.at) < sizeHolds {
		return true, nil
	}
	size, err := a.sizeOf(name)
	if err != nil {
		return false, err
	}
	a.sizes.mu.Lock()
	defer a.sizes.mu.Unlock()
	if a.sizes.all == nil || len(a.sizes.all) >= mostSizes {
		a.sizes.all = map[string]sized{}
	}
	a.sizes.all[name] = sized{size, time.Now()}
	return size >= end, nil
}

// sizeOf returns the size of a file, whether it has ended or not; -1 if it is not there. If both names exist, the one of the
// ended file counts. It looks twice, so that a file that ends meanwhile is found.
func (a *Archive) sizeOf(name string) (int64, error) {
	for _, path := range []string{a.path(name), a.path(name) + OpenSuffix, a.path(name)} {
		info, err := os.Stat(path)
		switch {
		case err == nil && info.Mode().IsRegular():
			return info.Size(), nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return -1, err
		}
	}
	return -1, nil
}
