package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/kernel/balance"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/identity"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// SalvageOptions tune a salvage.
type SalvageOptions struct {
	Log *slog.Logger
	// Reserve is how many bytes of the disk are left to the other jobs.
	Reserve uint64
	// Tell, if it is set, is called now and then.
	Tell func(Progress)
}

// Salvage saves what can be saved of a damaged job, and leaves a sound store in its place: facts are
// restored, not state. Every readable block, dead letter, done mark and known key goes into a fresh
// store with a new lineage; cursors, plans and counters are made anew from them; what belongs to the
// kind of job comes from the newest valid checkpoint, where there is one. What can't be accounted for
// is a gap with cause damage. The damaged store is kept, whole, in the returned directory.
//
// A salvage that fails, a Full fault for want of room among others, leaves the damaged store as it was
// and nothing beside it.
func Salvage(ctx context.Context, dir, job string, found error, o SalvageOptions) (quarantine string,
	err error) {
	if o.Tell == nil {
		o.Tell = func(Progress) {}
	}
	s := &salvage{ctx: ctx, job: job, dir: dir, stage: checkpoint.Stage(dir), found: found, log: o.Log,
		began: time.Now(), show: o.Tell, draft: store.NewDraft(dir, o.Reserve+store.SalvageMargin, o.Log)}
	if quarantine, err = s.run(o.Reserve); err != nil {
		err = errors.Join(fmt.Errorf("salvage job %s: %w", job, err), checkpoint.Sweep(dir))
	}
	return quarantine, err
}

// salvage makes a whole store of the heap that store.Salvage leaves.
type salvage struct {
	ctx   context.Context
	job   string
	dir   string // the damaged store's
	stage string // the new one's
	found error
	log   *slog.Logger
	began time.Time
	show  func(Progress)
	draft *store.Draft // the disk under the new store
	spool spool.Rebuilt
}

func (s *salvage) run(reserve uint64) (quarantine string, err error) {
	if err := checkpoint.Sweep(s.dir); err != nil {
		return "", err
	}
	if err := s.room(reserve); err != nil {
		return "", err
	}
	stale := func(s store.Space) bool {
		switch s {
		case store.Blocks, store.Settled, store.Identities, store.Hashes:
			return true
		}
		return false
	}
	out, err := store.Salvage(s.dir, s.stage, s.draft, stale, func(part float64) error {
		return s.tell(part * poured)
	})
	if err == nil {
		err = s.rebuild()
	}
	if given := s.draft.Err(); given != nil {
		err = given // what else failed may follow from it
	}
	if fault.Is(err, fault.Full) {
		err = fault.WithHint(err, "%s", salvageHint)
	}
	if err != nil {
		return "", err
	}
	if quarantine, err = checkpoint.Exchange(s.dir, "damaged"); err != nil {
		return "", err
	}
	s.log.Warn(fmt.Sprintf("job %s was salvaged: %s, %s with %s are whole; the damaged "+
		"store is kept in %s", s.job, plural.Of(out.Entries, "entry"), plural.Of(s.spool.Blocks, "block"), plural.Of(s.spool.Rows, "row"), quarantine))
	return quarantine, nil
}

const salvageHint = "make room on that file system; the salvage is tried again by itself, and the other " +
	"jobs run on meanwhile"

// room refuses to begin what could not end: a disk that a salvage fills holds up every job on it.
func (s *salvage) room(reserve uint64) error {
	need, err := store.SalvageNeeds(s.dir)
	if err != nil {
		return err
	}
	room, err := disk.RoomAt(s.dir)
	if err != nil || room.Free >= need+reserve {
		return nil // a file system that does not answer says so at the write
	}
	return fault.WithHint(fault.New(fault.Full, "%s has %s left, it needs up to %s and the jobs %s", s.dir,
		disk.Size(room.Free), disk.Size(need), disk.Size(reserve)), "%s", salvageHint)
}

// poured is the part of a salvage that is behind when the new store has all entries.
const poured = 0.8

// tell says how far the salvage is, and returns an error if it is to end.
func (s *salvage) tell(part float64) error {
	p := Progress{What: "salvaging", Percent: 100 * part}
	if part > 0 {
		p.Left = time.Duration(float64(time.Since(s.began)) * (1 - part) / part).Round(time.Second)
	}
	s.show(p)
	return s.ctx.Err()
}

func (s *salvage) rebuild() (err error) {
	st, err := store.Open(s.stage, s.draft.Options())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	steps := []func(*store.Store) error{
		s.nextIDs,
		func(st *store.Store) (err error) { s.spool, err = spool.Rebuild(st); return err },
		s.fromCheckpoint,
		s.dropUnreadable,
		s.rehash,
		s.forgetLost,
		func(st *store.Store) error { return st.Update(s.recount) },
	}
	for i, step := range steps {
		if err := step(st); err != nil {
			return err
		}
		if err := s.tell(poured + (1-poured)*float64(i+1)/float64(len(steps)+1)); err != nil {
			return err
		}
	}
	s.note(st)
	return nil
}

// note writes into the history what was lost.
func (s *salvage) note(st *store.Store) {
	h := newHistory(st, s.job, s.log)
	h.Warn("damage.salvaged", "the store was damaged and is salvaged: %v", s.found)
	n := len(s.spool.Lost)
	for _, run := range s.spool.Unknown {
		n += int(run.Last - run.First + 1)
	}
	if n > 0 {
		h.Warn("damage.lost", "%s, not delivered everywhere, can't be read; the ids are "+
			"asked for again where the source allows it", plural.Of(n, "block"))
	}
}

// nextIDs puts every counter of ids behind the highest id that any fact has, and lost names back.
func (s *salvage) nextIDs(st *store.Store) error {
	return st.Update(func(tx *store.Tx) error {
		for space, key := range map[store.Space]store.Key{store.Dead: balance.KeyNextDead,
			store.Events: keyNextEvent} {
			seq, fail := tx.ScanBack(space.K(), space.K().End())
			for k := range seq {
				if len(k) == 9 {
					tx.Set(key, store.Key(nil).U64(binary.BigEndian.Uint64(k[1:])+1))
				}
				break
			}
			if err := fail(); err != nil {
				return err
			}
		}
		return tx.RestoreNames(s.dir)
	})
}

// fromCheckpoint replaces what belongs to the kind of job by what the newest valid checkpoint holds.
// Without one the newest readable version of each key stays.
func (s *salvage) fromCheckpoint(st *store.Store) (err error) {
	all, err := checkpoint.List(s.dir, checkpoint.Work{})
	if err != nil || len(all) == 0 {
		return nil // a checkpoint that can't be listed must not keep the job from being salvaged
	}
	tmp := s.stage + ".checkpoint"
	defer func() { err = errors.Join(err, store.Disk.RemoveAll(tmp)) }()
	for i := len(all) - 1; i >= 0; i-- {
		if err := store.Disk.RemoveAll(tmp); err != nil {
			return err
		}
		path := filepath.Join(s.dir, "checkpoints", all[i].Name)
		_, err := checkpoint.Restore(s.ctx, path, tmp, checkpoint.Work{})
		switch {
		case s.ctx.Err() != nil:
			return s.ctx.Err()
		case fault.Is(err, fault.Full): // nothing is wrong with the checkpoint
			return err
		case err != nil:
			s.log.Warn(fmt.Sprintf("checkpoint %s can't be used: %v", all[i].Name, err))
			continue
		}
		old, err := store.Open(tmp, s.draft.Options())
		if err != nil {
			return err
		}
		err = copySpaces(s.ctx, old, st, store.Tasks, store.Due, store.Job)
		return errors.Join(err, old.Close())
	}
	return nil
}

// copySpaces replaces what a store holds in some spaces by what another holds there. A crash may leave a part of it:
// nobody works with the store yet.
func copySpaces(ctx context.Context, from, to *store.Store, spaces ...store.Space) error {
	return from.View(ctx, func(r store.Reader) error {
		for _, space := range spaces {
			if err := copySpace(ctx, r, to, space); err != nil {
				return err
			}
		}
		return nil
	})
}

// copyBatch is how many bytes of entries one transaction of a copy holds: the frontier of a crawl is larger than memory.
const copyBatch = 4 << 20

func copySpace(ctx context.Context, r store.Reader, to *store.Store, space store.Space) error {
	err := to.UpdateLazy(func(tx *store.Tx) error {
		tx.DeleteRange(space.K(), space.K().End())
		return nil
	})
	for from := space.K(); from != nil && err == nil; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err = to.UpdateLazy(func(tx *store.Tx) error {
			seq, fail := r.Scan(from, space.K().End())
			from = nil
			size := 0
			for k, v := range seq {
				if size >= copyBatch {
					from = store.Key(nil).Raw(k)
					break
				}
				tx.Set(k, v)
				size += len(k) + len(v)
			}
			return fail()
		})
	}
	return err
}

// dropUnreadable removes entries that no reader would take: better an empty place than a job that fails
// at each start. The quarantine keeps them.
func (s *salvage) dropUnreadable(st *store.Store) error {
	return st.Update(func(tx *store.Tx) error {
		return errors.Join(balance.DropUnreadable(tx), identity.DropUnreadable(tx))
	})
}

// rehash makes the sets of hashed keys whole: what each holds is kept key by key, its total and the days
// by which it forgets are not. (dropUnreadable counts the sets of integers.)
func (s *salvage) rehash(st *store.Store) error {
	var hashed []string
	err := st.View(s.ctx, func(r store.Reader) error {
		names, err := store.NamesOf(r, store.SetName)
		if err != nil {
			return err
		}
		for name, id := range names {
			from := store.Hashes.K().U32(id)
			seq, fail := r.Scan(from, from.End())
			for range seq {
				hashed = append(hashed, name)
				break
			}
			if err := fail(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range hashed {
		set, err := identity.OpenHashed(st, name, time.Hour) // its horizon is asked for by nothing here
		if err != nil {
			return err
		}
		if _, dropped, err := set.Rebuild(s.ctx, st); err != nil {
			return err
		} else if dropped > 0 {
			s.log.Warn(fmt.Sprintf("job %s: %s of %s can't be read: forgotten", s.job, plural.Of(dropped, "key"), name))
		}
	}
	return nil
}

// forgetLost makes gaps of the blocks that are lost, and forgets the keys in them, so that the rows are
// taken in again if the source still has them.
func (s *salvage) forgetLost(st *store.Store) error {
	var sources map[string]uint32
	err := st.View(s.ctx, func(r store.Reader) (err error) {
		sources, err = store.NamesOf(r, store.SourceName)
		return err
	})
	if err != nil {
		return err
	}
	for name, id := range sources {
		known, err := identity.Open(st, name+"/known")
		if err != nil {
			return err
		}
		for _, l := range s.spool.Lost {
			switch {
			case l.Head.Source != id:
			case l.Head.HasKeys:
				err = errors.Join(err, s.forget(st, known, id, identity.KeyRange{From: l.Head.KeyLo, To: l.Head.KeyHi},
					fmt.Sprintf("block %d can't be read", l.Head.Seq)))
			default:
				err = errors.Join(err, s.lose(st, l.Head))
			}
		}
		for _, run := range s.spool.Unknown {
			err = errors.Join(err, s.forgetRun(st, known, id, run))
		}
		if err = errors.Join(err, s.suspectTail(st, known, id)); err != nil {
			return err
		}
	}
	return nil
}

// lose makes a gap of a block whose rows have no integer keys: nobody can tell which they were.
func (s *salvage) lose(st *store.Store, h spool.Head) error {
	return st.Update(func(tx *store.Tx) error {
		return balance.PutGap(tx, balance.Gap{Source: h.Source, Missing: uint64(h.Rows), Cause: balance.Damage,
			State: balance.GapLost, Found: time.Now().UTC(), Note: fmt.Sprintf("block %d can't be read", h.Seq)})
	})
}

// suspectTail makes a gap behind the last key of a source. What a damaged log held behind the last
// fact leaves no trace; the id behind it is looked for, and whatever the source has no more is then told as
// damage, not as a hole of the source's.
func (s *salvage) suspectTail(st *store.Store, known *identity.Set, source uint32) error {
	return st.Update(func(tx *store.Tx) error {
		last, some, err := known.Highest(tx)
		if err != nil {
			return err
		}
		g := balance.Gap{Source: source, Missing: 1, Cause: balance.Damage, State: balance.GapFound,
			Found: time.Now().UTC(), From: last + 1, To: last + 1,
			Note: "what came in last before the damage may be lost; how much is not known"}
		if !some {
			g.From, g.To, g.State = 0, 0, balance.GapLost
			g.Note = "what came in before the damage and is not here is lost; how much it was is not known"
		}
		return balance.PutGap(tx, g)
	})
}

// forgetRun forgets the keys of blocks of which nothing is left: they lay between those of the blocks
// next to them.
func (s *salvage) forgetRun(st *store.Store, known *identity.Set, source uint32, run spool.LostRun) error {
	var keys identity.KeyRange
	err := st.View(s.ctx, func(r store.Reader) (err error) {
		if keys.From, _, err = known.Lowest(r); err == nil {
			keys.To, _, err = known.Highest(r)
		}
		return err
	})
	if h := run.Before; h != nil && h.HasKeys && h.Source == source {
		keys.From = h.KeyHi + 1
	}
	if h := run.Behind; h != nil && h.HasKeys && h.Source == source {
		keys.To = h.KeyLo - 1
	}
	if err != nil || keys.From > keys.To || keys.To == 0 {
		return err
	}
	return s.forget(st, known, source, keys,
		fmt.Sprintf("nothing is left of blocks %d to %d", run.First, run.Last))
}

// forget makes a damage gap of the keys in a range that were taken in and that no whole block holds.
func (s *salvage) forget(st *store.Store, known *identity.Set, source uint32, keys identity.KeyRange,
	why string) error {
	var still []uint64
	err := st.View(s.ctx, func(r store.Reader) error {
		return spool.EachOverlapping(r, source, keys.From, keys.To, func(_ spool.Head, k []uint64) {
			still = append(still, k...)
		})
	})
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	return st.Update(func(tx *store.Tx) error {
		had, err := known.Count(tx, keys.From, keys.To)
		if err != nil {
			return err
		}
		if keys.To-keys.From < 1<<32 {
			if _, err := known.RemoveRange(tx, keys); err != nil {
				return err
			}
		}
		if _, err := known.Add(tx, still); err != nil {
			return err
		}
		has, err := known.Count(tx, keys.From, keys.To)
		if err != nil || had <= has {
			return err
		}
		return balance.PutGap(tx, balance.Gap{Source: source, From: keys.From, To: keys.To,
			Missing: had - has, Cause: balance.Damage, State: balance.GapFound, Found: now, Next: now, Note: why})
	})
}

// recount makes the counters fit the facts: pending from the blocks, dead from the dead letters, and
// what remains of accepted was delivered.
func (s *salvage) recount(tx *store.Tx) error {
	sinks, err := store.NamesOf(tx, store.SinkName)
	if err != nil {
		return err
	}
	if err := waitAgain(tx, sinks); err != nil {
		return err
	}
	_, dead, err := balance.CountDead(tx)
	if err != nil {
		return err
	}
	for _, id := range sinks {
		if err := s.recountSink(tx, id, dead[id]); err != nil {
			return err
		}
	}
	return errors.Join(balance.RecountGaps(tx), balance.RecountDead(tx))
}

// waitAgain drops the dead letters of deliveries that were refused in part: they are given up whole, and all
// their rows wait again.
func waitAgain(tx *store.Tx, sinks map[string]uint32) (err error) {
	waiting := map[uint32]func(seq uint64) bool{}
	for _, id := range sinks {
		if waiting[id], err = spool.Waiting(tx, id); err != nil {
			return err
		}
	}
	return balance.DropWaiting(tx, func(sink uint32, seq uint64) bool {
		waits, ok := waiting[sink]
		return ok && waits(seq)
	})
}

func (s *salvage) recountSink(tx *store.Tx, id uint32, dead int64) error {
	was, err := balance.ReadFlow(tx, id)
	if err != nil && !fault.Is(err, fault.Corrupt) {
		return err
	}
	pending, err := spool.Pending(tx, id)
	if err != nil {
		return err
	}
	is := balance.Flow{Accepted: was.Accepted, Pending: pending.Rows, PendingBytes: pending.Bytes,
		Dead: dead, Discarded: was.Discarded, Expired: was.Expired}
	for _, l := range s.spool.Lost {
		for _, k := range l.Sinks {
			if k == id {
				is.Expired += int64(l.Head.Rows)
			}
		}
	}
	is.Delivered = is.Accepted - is.Pending - is.Dead - is.Discarded - is.Expired
	if is.Delivered < 0 { // the count of accepted rows is older than the rows
		is.Accepted, is.Delivered = is.Accepted-is.Delivered, 0
	}
	balance.SetFlow(tx, id, is)
	return nil
}

// sweep removes what interrupted salvages and restores left of no use in the directories of all jobs, also
// of those that are not configured any more: a disk that is full of it lets no job start.
func (e *Engine) sweep() {
	dirs, err := filepath.Glob(JobDir(e.opts.Dir, "*"))
	if err != nil {
		e.opts.Log.Warn(fmt.Sprintf("look for what salvages left: %v", err))
	}
	for _, dir := range dirs {
		if err := checkpoint.Sweep(dir); err != nil {
			e.opts.Log.Warn(fmt.Sprintf("remove what a salvage left: %v", err))
		}
	}
}
