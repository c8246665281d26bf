package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"holdfast/app/datadir"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/job/collect"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// quarantine is where things are kept, below the data directory, that are needed no more, as far as
// we know.
const quarantine = "quarantine"

// TakeOver brings what an earlier start had to keep in the fallback directory into the data
// directory, whose lock the caller holds. A job that the data directory does not have is moved as a
// whole. Of one that it has, every row and every dead letter is taken in again: what is known
// already counts as duplicate, and what a sink may hold already is compared by key before it is
// sent; the old store is kept in quarantine. A crash at any moment is made good by the next start:
// nothing is removed from the fallback before it is durable here.
func (p *Plan) TakeOver(ctx context.Context) error {
	from := p.Place.Fallback
	if !p.Place.LeftBehind() {
		return nil
	}
	lock, err := disk.Acquire(datadir.LockFile(from))
	if err != nil {
		p.notice("%s holds data of an earlier start and is in use (%v): it is taken over at a later "+
			"start", from, err)
		return nil
	}
	defer lock.Release()
	jobs, err := datadir.Jobs(from)
	if err != nil {
		return err
	}
	for _, job := range jobs {
		if err := p.takeJob(ctx, from, job); err != nil {
			p.notice("what job %s kept in %s is not taken over: %v", job, from, err)
			return nil
		}
	}
	if err := p.takeFiles(from); err != nil {
		return fmt.Errorf("take over %s: %w", from, err)
	}
	return nil
}

// notice tells something at once and for as long as the process runs.
func (p *Plan) notice(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.Notices = append(p.Notices, text)
	p.Log.Warn(text)
}

func (p *Plan) takeJob(ctx context.Context, from, job string) error {
	src, dst := engine.JobDir(from, job), engine.JobDir(p.Place.Dir, job)
	if _, err := os.Stat(filepath.Join(dst, "db")); errors.Is(err, fs.ErrNotExist) {
		if err := disk.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
			return err
		}
		if err := os.RemoveAll(dst); err != nil { // a configuration, at most
			return err
		}
		if err := move(src, dst); err != nil {
			return err
		}
		p.Log.Info(fmt.Sprintf("took job %s over from %s, as a whole", job, from))
		return nil
	}
	n, err := p.takeRows(ctx, src, job)
	if err != nil {
		return err
	}
	away := filepath.Join(p.Place.Dir, quarantine,
		"fallback-"+job+"-"+time.Now().UTC().Format("20060102T150405Z"))
	if err := disk.MkdirAll(filepath.Dir(away), 0o755); err != nil {
		return err
	}
	if err := move(src, away); err != nil {
		return err
	}
	p.Log.Info(fmt.Sprintf("took %s of job %s over from %s; its store is kept in %s", plural.Of(n, "row"), job,
		from, away))
	return nil
}

// takeRows takes the rows and dead letters of the store in src into the job's own store.
func (p *Plan) takeRows(ctx context.Context, src, job string) (n int64, err error) {
	i := slices.IndexFunc(p.Jobs, func(j Job) bool { return j.Name == job })
	if i < 0 {
		return 0, fault.New(fault.NotFound, "no job of that name is configured")
	}
	old, err := store.Open(src, store.Options{Log: p.Log})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	err = old.View(ctx, func(r store.Reader) error {
		if err := p.checkByKey(job, r); err != nil {
			return err
		}
		into, err := p.Intake(job)
		if err != nil {
			return err
		}
		take := func(in *collect.Intake) error {
			one := func(page connector.Page) error {
				t, err := in.Take(ctx, page, collect.Import)
				n += t.Accepted
				return err
			}
			return errors.Join(p.takeBlocks(ctx, r, src, job, one), takeDead(r, one))
		}
		return p.AtRest(job, func(env engine.Env) error { return into.Over(env.Store, take) })
	})
	return n, err
}

// takeBlocks takes the rows of all blocks. One that can't be read is told, and passed over.
func (p *Plan) takeBlocks(ctx context.Context, r store.Reader, src, job string, take func(connector.Page) error) error {
	return spool.Range{}.Each(ctx, r, func(h spool.Head) error {
		_, rows, err := spool.Read(r, h.Seq)
		if err != nil {
			p.notice("block %d of job %s in %s can't be read: %v", h.Seq, job, src, err)
			return nil
		}
		return take(connector.Page{Rows: rows})
	})
}

// takeDead takes dead letters: items once more as rejected, rows as rows.
func takeDead(r store.Reader, take func(connector.Page) error) error {
	return balance.EachDead(r, func(l balance.DeadLetter) error {
		page := connector.Page{Rejected: []connector.Reject{{Raw: l.Raw, Key: l.Key, Reason: l.Reason}}}
		if l.Stage == balance.AtSink {
			rows, err := record.Decode(l.Batch, record.Hash(l.Hash))
			if err != nil {
				return err
			}
			page = connector.Page{Rows: rows}
		}
		return take(page)
	})
}

// checkByKey makes the job's sinks compare by key whatever the other store may have delivered.
func (p *Plan) checkByKey(job string, other store.Reader) error {
	stats, err := spool.ReadStats(other)
	if err != nil {
		return err
	}
	heads, err := spool.Heads(other, stats.First, stats.Next, 1<<30)
	if err != nil {
		return err
	}
	highest := uint64(0)
	for _, h := range heads {
		highest = max(highest, h.KeyHi)
	}
	return p.AtRest(job, func(env engine.Env) error {
		st := env.Store
		sp, err := spool.Open(st, job)
		if err != nil {
			return err
		}
		var names map[string]uint32
		if err := st.Latest(func(r store.Reader) error {
			names, err = store.NamesOf(r, store.SinkName)
			return err
		}); err != nil {
			return err
		}
		for name := range names {
			k, err := sp.Sink(name)
			if err != nil {
				return err
			}
			if k.NeedsCheck() {
				continue // the job asks the sink itself, which holds those rows by now
			}
			if err := k.CheckTo(highest, false); err != nil {
				return err
			}
		}
		return nil
	})
}

// takeFiles moves what lies beside the jobs: databases of sinks, session files. One whose name is
// taken is kept under another.
func (p *Plan) takeFiles(from string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	stamp := ".fallback-" + time.Now().UTC().Format("20060102T150405Z")
	for _, e := range entries {
		path := filepath.Join(from, e.Name())
		switch {
		case e.Name() == "LOCK" || e.Name() == "jobs" || e.Name() == "BALLAST" ||
			e.Type()&fs.ModeSocket != 0:
			continue
		case e.IsDir() && e.Name() != quarantine:
			continue // another command's directory
		}
		to := filepath.Join(p.Place.Dir, e.Name())
		if _, err := os.Lstat(to); err == nil {
			to += stamp
			p.notice("%s was there already: the one of %s is kept as %s", e.Name(), from, to)
		}
		if err := move(path, to); err != nil {
			return err
		}
	}
	for _, name := range []string{"jobs", "BALLAST", "control.sock"} {
		_ = os.Remove(filepath.Join(from, name)) // jobs: only if it is empty
	}
	return nil
}

// move renames a file or directory; to another file system it copies, syncs, and then removes. The
// new name appears when everything behind it is durable, the old one goes after that.
func move(from, to string) error {
	err := os.Rename(from, to)
	if err == nil {
		return errors.Join(disk.SyncDir(filepath.Dir(to)), disk.SyncDir(filepath.Dir(from)))
	}
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	tmp := filepath.Join(filepath.Dir(to), "."+filepath.Base(to)+".taking")
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := copyTree(from, tmp); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, to); err != nil {
		return err
	}
	if err := disk.SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return os.RemoveAll(from)
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			return disk.MkdirAll(dst, 0o755)
		case e.Type().IsRegular():
			if err := copyFile(path, dst); err != nil {
				return err
			}
			return disk.SyncDir(filepath.Dir(dst))
		}
		return nil // a socket or the like
	})
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
