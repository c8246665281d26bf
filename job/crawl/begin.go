package crawl

import (
	"errors"

	"holdfast/base/fault"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/outfile"
	"holdfast/kernel/store"
)

// alone refuses to begin if a crawl of that name has been here whose store is gone.
func (j *Job) alone() error {
	began := false
	err := j.env.Store.Latest(func(r store.Reader) (err error) { began, err = archive.Began(r); return err })
	if err != nil || began || j.cfg.Beside {
		return err
	}
	return Alone(j.cfg.Archive, j.env.Dir)
}

// NeedsPerson reports whether an error of New stays until a person acts: a file is gone that the store refers to, or one is
// there that the store does not know.
func NeedsPerson(err error) bool {
	_, lacks := errors.AsType[*outfile.Lacking](err)
	return lacks || fault.Is(err, fault.Conflict)
}

// Alone returns a Conflict if there are WARC files of a crawl whose store is empty: everything would be fetched and kept once
// more.
func Alone(o archive.Options, store string) error {
	names, err := archive.Named(o.Dir, o.Name)
	if err != nil || len(names) == 0 {
		return err
	}
	return fault.WithHint(fault.New(fault.Conflict, "%s has WARC files of a crawl %s, such as %s, and what that knew is gone from %s: all "+
		"would be fetched again", o.Dir, o.Name, names[0], store),
		"put it back, or go back to a checkpoint (--from); --beside, or `warc: {beside: true}`, begins anew beside them")
}

// again forgets what was crawled, if the configuration asks for that and nothing is left to be fetched.
func (j *Job) again() error {
	if !j.cfg.Again {
		return nil
	}
	forgot := false
	err := j.env.Store.Update(func(tx *store.Tx) error {
		c, err := frontier.ReadCounts(tx)
		if err != nil || c.Known == 0 || c.Queued+c.Waiting > 0 {
			return err
		}
		forgot = true
		frontier.Forget(tx)
		tx.DeleteRange(rulesPrefix, rulesPrefix.End())
		tx.DeleteRange(seedsPrefix, seedsPrefix.End())
		tx.DeleteRange(jarPrefix, jarPrefix.End())
		tx.DeleteRange(outagesPrefix, outagesPrefix.End())
		tx.DeleteRange(ledPrefix, ledPrefix.End())
		tx.Set(againKey, nil)
		return nil
	})
	if forgot {
		j.env.History.Note("crawl.again", "the crawl was over, and begins again from its seeds")
	}
	return err
}

// againKey is the key that says that the crawl has begun again.
var againKey = store.Key{byte(store.Job), 'B'}
