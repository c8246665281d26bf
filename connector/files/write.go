package files

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// entry is what is known of the file with certain bounds.
type entry struct{ text, hash string }

// hold keeps a name by its bounds. What a file had lost stands in another one, beside the first.
func (s *Sink) hold(n name) {
	if n.part == 0 {
		s.held[n.bounds] = entry{n.text, n.hash}
	}
}

// Write puts the rows into a file that is named by the token. Where it is there already nothing is
// written; with ByKey the keys are compared all the same, and what no file has is written.
func (s *Sink) Write(ctx context.Context, d connector.Delivery) (v connector.Verdict, err error) {
	if d.Rows.NumRows() == 0 {
		return v, nil
	}
	err = s.alone(ctx, func() error {
		if s.held == nil {
			if err := s.prepare(d.Schema); err != nil {
				return err
			}
		}
		v, err = s.write(ctx, d)
		return err
	})
	if err != nil {
		return connector.Verdict{}, err
	}
	return v, nil
}

func (s *Sink) write(ctx context.Context, d connector.Delivery) (v connector.Verdict, err error) {
	if err := s.at(atBegin, 0); err != nil {
		return v, err
	}
	found, err := s.find(d.Token)
	if err != nil {
		return v, err
	}
	v.Rejected = s.refused(d)
	keep := make([]bool, d.Rows.NumRows())
	for i := range keep {
		keep[i] = true
	}
	for _, f := range v.Rejected {
		keep[f.Row] = false
	}
	keys := keysOf(d)
	if found && (!d.ByKey || keys.kind == noKeys) {
		v.Present = int64(len(keep) - len(v.Rejected))
		// The rename may be all that an earlier attempt came to.
		return v, s.classify("sync", disk.SyncDir(s.dir))
	}
	if d.ByKey && keys.kind != noKeys {
		if v.Present, err = s.leaveOut(ctx, d, keys, keep); err != nil {
			return v, err
		}
		if found && v.Present == int64(len(keep)-len(v.Rejected)) {
			return v, s.classify("sync", disk.SyncDir(s.dir))
		}
	}
	rows, err := record.Keep(d.Rows, keep)
	if err != nil {
		return v, fmt.Errorf("take the rows to write: %w", err)
	}
	text, err := s.freeName(stem(d, keys), found)
	if err != nil {
		return v, err
	}
	// A file without rows is written too: it says that the token was here.
	return v, s.put(ctx, text, content{d.Schema, rows, d.Token})
}

// find reports whether the token's file is there. One with its bounds and another hash is a conflict.
func (s *Sink) find(t record.Token) (bool, error) {
	e, ok := s.held[boundsOf(t)]
	if !ok {
		return false, nil
	}
	switch _, err := os.Lstat(filepath.Join(s.dir, e.text)); {
	case os.IsNotExist(err):
		delete(s.held, boundsOf(t))
		return false, nil
	case err != nil:
		return false, s.classify("look into", err)
	case e.hash != hashText(t):
		return false, fault.New(fault.Conflict, "write to %s: delivery %s meets file %s with other content",
			s.dir, t, e.text)
	}
	return true, nil
}

// freeName is the name of the file to write: the token's, or that of the next part beside it.
func (s *Sink) freeName(stem string, found bool) (string, error) {
	text := stem + "." + s.cfg.extension()
	if _, ok := parseName(text); !ok {
		return "", fault.New(fault.Permanent, "write to %s: %q can't be the name of a file", s.dir, text)
	}
	for part := 2; found; part++ {
		text = fmt.Sprintf("%s.p%d.%s", stem, part, s.cfg.extension())
		_, err := os.Lstat(filepath.Join(s.dir, text))
		if err != nil && !os.IsNotExist(err) {
			return "", s.classify("look into", err)
		}
		found = err == nil
	}
	return text, nil
}

// tempPattern is what the names of unfinished files look like. They are locked as long as their writer
// lives.
const tempPattern = ".holdfast-*.tmp"

// temp creates a locked temporary file.
func (s *Sink) temp() (*os.File, error) {
	f, err := os.CreateTemp(s.dir, tempPattern)
	if err != nil {
		return nil, err
	}
	// Where the file system has no locks, nobody can get one for sweep either.
	_ = lock(f)
	return f, nil
}

func lock(f *os.File) error {
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
}

// sweep removes what writers that are dead left behind.
func (s *Sink) sweep() error {
	left, err := filepath.Glob(filepath.Join(globless.Replace(s.dir), tempPattern))
	if err != nil {
		return err
	}
	for _, path := range left {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue // another sink's, which may have finished it
		}
		if lock(f) == nil {
			err = os.Remove(path)
		}
		f.Close()
		if err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// put writes a file so that after a crash it is whole or not there: its bytes are fsynced before it
// gets its name (else the name could be durable and the bytes not), and the directory behind that
// (else what was acknowledged could lose its name).
func (s *Sink) put(ctx context.Context, text string, c content) error {
	f, err := s.temp()
	if err != nil {
		return s.classify("create a file in", err)
	}
	w := &counted{f: f, at: s.at}
	err = s.encode(ctx, w, c)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	path := filepath.Join(s.dir, text)
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // if it can't be, the next Prepare does it
		f.Close()
		if disk.NoRoom(err) {
			s.wants(uint64(2*w.n) + 64<<10)
		}
		return s.classify("write "+text+" to", err)
	}
	f.Close()
	n, _ := parseName(text)
	s.hold(n)
	if err := disk.SyncDir(s.dir); err != nil {
		return s.classify("sync", err)
	}
	return s.at(afterRename, 0)
}

// counted is a file that counts its bytes.
type counted struct {
	f  *os.File
	n  int64
	at func(stage, int) error
}

func (w *counted) Write(p []byte) (int, error) {
	if err := w.at(midFile, len(p)); err != nil {
		return 0, err
	}
	n, err := w.f.Write(p)
	w.n += int64(n)
	return n, err
}

// wants keeps how much room a probe is to see.
func (s *Sink) wants(bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.need = bytes
}

// Probe writes and fsyncs a file that it removes again; after the disk was full it also wants room for
// what did not fit.
func (s *Sink) Probe(context.Context) error {
	if err := s.at(atBegin, 0); err != nil {
		return err
	}
	if err := s.tryWrite(); err != nil {
		return s.classify("probe", err)
	}
	s.mu.Lock()
	need := s.need
	s.mu.Unlock()
	if need == 0 {
		return nil
	}
	if room, err := disk.RoomAt(s.dir); err == nil && room.Free < need {
		return fault.New(fault.Full, "probe directory %s: %s are free, and the file that did not fit wants %s",
			s.dir, disk.Size(room.Free), disk.Size(need))
	}
	s.wants(0)
	return nil
}

// tryWrite leaves no trace, but for a moment.
func (s *Sink) tryWrite() error {
	f, err := s.temp()
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(make([]byte, 4096))
	if err == nil {
		err = f.Sync()
	}
	if gone := os.Remove(f.Name()); err == nil && !os.IsNotExist(gone) {
		err = gone
	}
	return err
}
