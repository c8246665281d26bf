package archive

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/job/crawl/outfile"
	"holdfast/kernel/store"
)

// Recovered says what a start had to put in order.
type Recovered struct {
	Moved []string // files of the quarantine with what was behind what counts
	Back  []string // files that were given up, and are there again, whole
	Left  []string // files that are not touched, as they were given up, and what is there again is not what was written
	Lost  Lost     // of the files that had ended
}

// Open opens the archive of a store, and brings its files in step with the store.
func Open(st *store.Store, o Options) (a *Archive, r Recovered, err error) {
	if o.MaxSize <= 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.Disk == nil {
		o.Disk = outfile.OS
	}
	if err := o.Disk.MkdirAll(o.Dir); err != nil {
		return nil, r, err
	}
	a = &Archive{o: o, lineage: st.Lineage().String()}
	a.begun.Store("")
	a.mark = outfile.Mark(a.lineage)
	var s state
	if err := st.Latest(func(rd store.Reader) (err error) { s, err = readState(rd); return err }); err != nil {
		return nil, r, err
	}
	if a.out, err = warc.NewWriter(nil, 0, o.WARC); err != nil {
		return nil, r, err
	}
	a.serial = s.Serial
	if s.Lineage != a.lineage { // nothing that stands there is ours
		s = state{}
	}
	for _, e := range s.Ended {
		if err := a.name(e, &r); err != nil && !fault.Is(err, fault.Corrupt) { // what is gone is counted below
			return nil, r, err
		}
	}
	if s.Open.Name != "" {
		var moved string
		if a.file, moved, err = outfile.Open(o.Disk, a.path(s.Open.Name)+OpenSuffix, s.Open.Size, a.quarantine()); err != nil {
			return nil, r, err
		}
		r.add(moved)
		a.now = s.Open
		if now := time.Now(); a.now.Begun.After(now) { // the clock was set back: it is as old as can be known
			a.now.Begun = now
		}
		a.begins(s.Open.Info)
		a.out.Reset(a.file, s.Open.Size)
	}
	away, err := a.back(st, &r)
	if err == nil {
		err = a.look(st, away, &r)
	}
	if err != nil {
		return nil, r, errors.Join(err, a.Close())
	}
	if r.Lost, err = a.check(st, s.Ended); err != nil {
		return nil, r, errors.Join(err, a.Close())
	}
	return a, r, nil
}

func (r *Recovered) add(moved string) {
	if moved != "" {
		r.Moved = append(r.Moved, moved)
	}
}

// look goes through the directory for three things: the last serial; files that had ended and are there again under the name
// that they had before; and files that were begun and are not known to anybody. away are those that were given up.
func (a *Archive) look(st *store.Store, away map[string]int64, r *Recovered) error {
	all, err := os.ReadDir(a.o.Dir)
	if err != nil {
		return err
	}
	ours := NamesOf(a.o.Name)
	for _, e := range all {
		m := ours.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		if n, err := strconv.ParseUint(m[1], 10, 64); err == nil {
			a.serial = max(a.serial, n)
		}
		if m[2] != a.mark || m[3] == "" || e.Name() == a.now.Name+OpenSuffix {
			continue
		}
		name := strings.TrimSuffix(e.Name(), OpenSuffix)
		back, known, err := a.endsNow(st, name, r)
		switch _, given := away[name]; {
		case err != nil:
			return err
		case back:
			r.Back = append(r.Back, a.path(name))
			continue
		case known || given:
			r.Left = append(r.Left, a.path(e.Name()))
			continue
		}
		to := filepath.Join(a.quarantine(), e.Name())
		if err := a.o.Disk.MkdirAll(a.quarantine()); err != nil {
			return err
		}
		if err := errors.Join(a.o.Disk.Rename(a.path(e.Name()), to), a.o.Disk.SyncDir(a.quarantine())); err != nil {
			return err
		}
		r.add(to)
	}
	return a.o.Disk.SyncDir(a.o.Dir)
}

// endsNow gives the final name to a file that, by the store, has ended, if it is complete: it was away when it was to be
// renamed. known says that the store has it, and that it lacks something.
func (a *Archive) endsNow(st *store.Store, name string, r *Recovered) (back, known bool, err error) {
	var size int64
	err = st.Latest(func(rd store.Reader) error {
		v, ok, err := rd.Get(endedKey(name))
		if err == nil && ok {
			known = true
			size, err = sizeOf(name, v)
		}
		return err
	})
	if err != nil || !known {
		return false, known, err
	}
	if named, err := exists(a.path(name)); err != nil || named { // then this is another file, which the store does not know
		return false, false, err
	}
	back, err = a.isBack(ended{name, size}, r)
	return back, known, err
}

// name gives a file that has ended its name, unless it has it.
func (a *Archive) name(e ended, r *Recovered) error {
	moved, err := outfile.End(a.o.Disk, a.path(e.Name)+OpenSuffix, a.path(e.Name), e.Size, a.quarantine())
	r.add(moved)
	return err
}
