package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/balance"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/identity"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Salvage saves what can be saved of a damaged job, and leaves a sound store in its place: facts are
// restored, not state. Every readable block, dead letter, done mark and known key goes into a fresh
// store with a new lineage; cursors, plans and counters are made anew from them; what belongs to the
// kind of job comes from the newest valid checkpoint, where there is one. What can't be accounted for
// is a gap with cause damage. The damaged store is kept, whole, in the returned directory.
func Salvage(ctx context.Context, dir, job string, found error, log *slog.Logger) (quarantine string,
	err error) {
	o := store.Options{Log: log}
	stage := checkpoint.Stage(dir)
	if err := errors.Join(store.Disk.RemoveAll(stage), store.Disk.RemoveAll(stage+".sort")); err != nil {
		return "", err
	}
	stale := func(s store.Space) bool {
		switch s {
		case store.Blocks, store.Settled, store.Identities, store.Hashes:
			return true
		}
		return false
	}
	out, err := store.Salvage(dir, stage, o, stale)
	if err != nil {
		return "", fmt.Errorf("salvage job %s: %w", job, err)
	}
	s := &salvage{ctx: ctx, job: job, found: found, log: log}
	if err := s.rebuild(dir, stage, o); err != nil {
		return "", fmt.Errorf("salvage job %s: %w", job, err)
	}
	quarantine, err = checkpoint.Exchange(dir, "damaged")
	if err != nil {
		return "", fmt.Errorf("salvage job %s: %w", job, err)
	}
	archive := filepath.Join(dir, "archive")
	if err := store.Disk.Rename(archive, filepath.Join(quarantine, "archive")); err != nil &&
		!errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("keep archive of job %s: %w", job, err)
	}
	log.Warn(fmt.Sprintf("job %s was salvaged: %d entries, %d blocks with %d rows are whole; the damaged "+
		"store is kept in %s", job, out.Entries, s.spool.Blocks, s.spool.Rows, quarantine))
	return quarantine, nil
}

// salvage makes a whole store of the heap that store.Salvage left.
type salvage struct {
	ctx   context.Context
	job   string
	found error
	log   *slog.Logger
	spool spool.Rebuilt
}

func (s *salvage) rebuild(dir, stage string, o store.Options) (err error) {
	st, err := store.Open(stage, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := nextIDs(st, dir); err != nil {
		return err
	}
	if s.spool, err = spool.Rebuild(st); err != nil {
		return err
	}
	if err := s.fromCheckpoint(dir, stage, st, o); err != nil {
		return err
	}
	if err := s.dropUnreadable(st); err != nil {
		return err
	}
	if err := s.forgetLost(st); err != nil {
		return err
	}
	if err := st.Update(func(tx *store.Tx) error { return s.recount(tx) }); err != nil {
		return err
	}
	h := newHistory(st, s.job, s.log)
	h.Warn("damage.salvaged", "the store was damaged and is salvaged: %v", s.found)
	n := len(s.spool.Lost)
	for _, run := range s.spool.Unknown {
		n += int(run.Last - run.First + 1)
	}
	if n > 0 {
		h.Warn("damage.lost", "%d blocks that were not delivered everywhere can't be read; their ids are "+
			"asked for again where the source allows it", n)
	}
	return nil
}

// nextIDs puts every counter of ids behind the highest id that any fact has, and lost names back.
func nextIDs(st *store.Store, dir string) error {
	return st.Update(func(tx *store.Tx) error {
		for space, key := range map[store.Space]store.Key{store.Dead: balance.KeyNextDead, store.Events: keyNextEvent} {
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
		return tx.RestoreNames(dir)
	})
}

// fromCheckpoint replaces what belongs to the kind of job by what the newest valid checkpoint holds.
// Without one the newest readable version of each key stays.
func (s *salvage) fromCheckpoint(dir, stage string, st *store.Store, o store.Options) (err error) {
	all, err := checkpoint.List(dir, checkpoint.Work{})
	if err != nil || len(all) == 0 {
		return nil // a checkpoint that can't be listed must not keep the job from being salvaged
	}
	tmp := stage + ".checkpoint"
	defer func() { err = errors.Join(err, store.Disk.RemoveAll(tmp)) }()
	for i := len(all) - 1; i >= 0; i-- {
		if err := store.Disk.RemoveAll(tmp); err != nil {
			return err
		}
		path := filepath.Join(dir, "checkpoints", all[i].Name)
		if _, err := checkpoint.Restore(s.ctx, path, tmp, checkpoint.Work{}); err != nil {
			s.log.Warn(fmt.Sprintf("checkpoint %s can't be used: %v", all[i].Name, err))
			continue
		}
		old, err := store.Open(tmp, o)
		if err != nil {
			return err
		}
		err = copySpaces(s.ctx, old, st, store.Tasks, store.Due, store.Job)
		return errors.Join(err, old.Close())
	}
	return nil
}

func copySpaces(ctx context.Context, from, to *store.Store, spaces ...store.Space) error {
	return from.View(ctx, func(r store.Reader) error {
		for _, space := range spaces {
			if err := to.Update(func(tx *store.Tx) error {
				tx.DeleteRange(space.K(), space.K().End())
				seq, fail := r.Scan(space.K(), space.K().End())
				for k, v := range seq {
					tx.Set(k, v)
				}
				return fail()
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

// dropUnreadable removes entries that no reader would take: better an empty place than a job that fails
// at each start. The quarantine keeps them.
func (s *salvage) dropUnreadable(st *store.Store) error {
	return st.Update(func(tx *store.Tx) error {
		return errors.Join(balance.DropUnreadable(tx), identity.DropUnreadable(tx))
	})
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
			if l.Head.Source == id && l.Head.HasKeys {
				err = errors.Join(err, s.forget(st, known, id, identity.KeyRange{From: l.Head.KeyLo, To: l.Head.KeyHi},
					fmt.Sprintf("block %d can't be read", l.Head.Seq)))
			}
		}
		for _, run := range s.spool.Unknown {
			err = errors.Join(err, s.forgetRun(st, known, id, run))
		}
		if err != nil {
			return err
		}
	}
	return nil
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
	return s.forget(st, known, source, keys, fmt.Sprintf("nothing is left of blocks %d to %d", run.First, run.Last))
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
	dead, err := balance.CountDead(tx)
	if err != nil {
		return err
	}
	for _, id := range sinks {
		if err := s.recountSink(tx, id, dead[id]); err != nil {
			return err
		}
	}
	return balance.RecountGaps(tx)
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
	return balance.SetFlow(tx, id, is)
}
