package crawl

import (
	"errors"
	"fmt"
	"time"

	"holdfast/kernel/store"
)

// mostTogether is how many visits are written down at once.
const mostTogether = 64

// write writes visits down until there are no more. It is the only one that touches the files of the crawl.
func (j *Job) write() (err error) {
	defer func() { err = errors.Join(err, j.logs.close(), j.archive.Close()) }()
	defer close(j.broken)
	if err := j.begins(); err != nil {
		return err
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case v, open := <-j.visits:
			if !open {
				return j.ends()
			}
			if err := j.writeDown(j.together(v)); err != nil {
				return err
			}
		case <-tick.C:
			if err := errors.Join(j.line(), j.commit(nil)); err != nil {
				return err
			}
		case e := <-j.errands:
			e.done <- e.do()
		}
	}
}

// errand is what is to be done by the one who writes.
type errand struct {
	do   func() error
	done chan error // holds one
}

// together are a visit and those that wait behind it.
func (j *Job) together(v *visit) []*visit {
	all := []*visit{v}
	for len(all) < mostTogether {
		select {
		case v, open := <-j.visits:
			if !open { // the next read of it says so again
				return all
			}
			all = append(all, v)
		default:
			return all
		}
	}
	return all
}

// begins and ends say in the log of the progress what the crawl does.
func (j *Job) begins() error {
	j.progress.at = time.Now()
	j.progress.note(j.logs, "RUNNING - Running")
	return j.commit(nil)
}

func (j *Job) ends() error {
	if err := errors.Join(j.line(), j.archive.Roll()); err != nil {
		return err
	}
	how := "PAUSED - Paused or stopped"
	switch {
	case j.ending.Load():
		how = "ENDED - Terminated"
	case j.over.Load():
		how = "ENDED - Finished"
	}
	j.progress.note(j.logs, how)
	return j.commit(nil)
}

// writeDown has visits count: their records and lines first, then what the store knows of them.
func (j *Job) writeDown(all []*visit) error {
	for _, v := range all {
		for _, c := range v.all() {
			if len(c.records) == 0 {
				continue
			}
			if _, err := j.archive.Add(c.records...); err != nil {
				return fmt.Errorf("write the records of %s: %w", c.line.url, err)
			}
		}
	}
	for _, v := range all {
		j.log(v)
	}
	err := j.commit(all)
	for _, v := range all {
		err = errors.Join(err, v.close())
		if err == nil && v.rules != nil { // its host may be asked for what it allows
			j.rules.remember(v.lease.Queue, *v.rules)
			j.frontier.Release(v.lease, v.outcome.Due)
		}
	}
	return err
}

// log writes what a visit has to say.
func (j *Job) log(v *visit) {
	for _, c := range v.lookups {
		j.logs.write(crawlLog, c.line.append)
	}
	if !v.retry.IsZero() {
		return
	}
	for _, c := range v.captures {
		j.logs.write(crawlLog, c.line.append)
	}
	for _, b := range v.bad {
		j.logs.write(errorsLog, func(text []byte) []byte {
			return fmt.Appendf(text, "%s %s %s %s\n", time.Now().UTC().Format(logTime), field(v.lease.URL),
				field(b.reference), b.why)
		})
	}
}

// close gives up what holds the answers.
func (v *visit) close() (err error) {
	for _, c := range v.captures {
		if c.x != nil {
			err = errors.Join(err, c.x.Close())
		}
	}
	return err
}

// commit makes durable what was written, and says so in the store.
func (j *Job) commit(all []*visit) error {
	if err := errors.Join(j.archive.Sync(), j.logs.sync()); err != nil {
		return err
	}
	err := j.env.Store.Update(func(tx *store.Tx) error {
		if err := errors.Join(j.archive.Commit(tx), j.logs.commit(tx)); err != nil {
			return err
		}
		j.clock.commit(tx)
		b, err := j.frontier.Begin(tx)
		if err != nil {
			return err
		}
		for _, v := range all {
			for _, c := range v.captures {
				if err := c.remembers(tx); err != nil {
					return err
				}
			}
			if v.rules != nil {
				v.rules.put(tx, v.lease.Queue)
			}
			if !v.leads.IsZero() {
				if err := j.widen(tx, v.lease.URL, v.leads); err != nil {
					return err
				}
			}
			switch {
			case !v.postpone.IsZero():
				err = b.Postpone(v.lease, v.postpone)
			case !v.retry.IsZero():
				err = b.Retry(v.lease, v.retry, v.outcome.Due)
			default:
				err = b.Done(v.lease, v.outcome)
			}
			if err == nil {
				_, err = b.Add(v.links...)
			}
			if err != nil {
				return err
			}
		}
		return b.Write()
	})
	if err != nil {
		return err
	}
	return errors.Join(j.archive.Committed(), j.logs.committed())
}
