package crawl

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/journal"
	"holdfast/kernel/store"
)

// mostTogether is how many visits are written down at once.
const mostTogether = 64

// write writes visits down until there are no more. It runs in the only goroutine that touches the files of the crawl.
func (j *Job) write() (err error) {
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
			err := e.do()
			if e.done <- err; isSpoilt(err) {
				return err
			}
		}
	}
}

// roll ends the WARC file that is open.
func (j *Job) roll() error {
	j.index.Roll()
	return j.archive.Roll()
}

// errand is something to be done in the goroutine that writes.
type errand struct {
	do   func() error
	done chan error // holds one
}

// together returns a visit and those that wait after it.
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

// begins and ends note in progress-statistics.log what the crawl does.
func (j *Job) begins() error {
	j.progress.at = time.Now()
	j.progress.note(j.logs, "RUNNING - Running")
	return j.commit(nil)
}

func (j *Job) ends() error {
	if err := errors.Join(j.line(), j.roll()); err != nil {
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
	if j.over.Load() && j.control.Load().Draining { // it is drained
		return j.change(func(c *control) error { c.Draining = false; return nil })
	}
	return j.commit(nil)
}

// mostLinks is how many links of one visit are queued in one transaction. A sitemap has 50,000, and nobody should wait for all of them.
const mostLinks = 6000

// addAhead queues those links of visits that are too many for the transaction in which a visit counts. If there is a crash before that,
// its URL is asked again, and they are known by then.
func (j *Job) addAhead(all []*visit) error {
	for _, v := range all {
		for len(v.links) > mostLinks {
			if err := j.commit(func(w *writing) error { return w.add(v.links[:mostLinks]) }); err != nil {
				return err
			}
			v.links = v.links[mostLinks:]
		}
	}
	return nil
}

// writeDown makes visits count: first their records and lines are written, then the store is told of them.
func (j *Job) writeDown(all []*visit) error {
	err := j.addAhead(all)
	if err == nil {
		err = j.archiveAll(all)
	}
	if err != nil {
		for _, v := range all {
			err = errors.Join(err, v.close())
		}
		return err
	}
	for _, v := range all {
		j.log(v)
	}
	err = j.commit(func(w *writing) error {
		for _, v := range all {
			if err := w.visit(v); err != nil {
				return err
			}
		}
		return nil
	})
	for _, v := range all {
		err = errors.Join(err, v.close())
		if err == nil && v.cookies != "" {
			j.jar.written(v.cookies)
		}
		switch {
		case err != nil:
		case v.asks: // it stands behind the rules of its host now
			j.frontier.Return(v.lease)
		case v.rules != nil: // its host may be asked for what it allows
			j.rules.remember(v.lease.Queue, *v.rules)
			j.frontier.Release(v.lease, v.outcome.Due)
		}
	}
	return err
}

// archiveAll writes the records of visits.
func (j *Job) archiveAll(all []*visit) error {
	for _, v := range all {
		for _, c := range v.all() {
			if len(c.records) == 0 {
				continue
			}
			places, err := j.archive.AddPacked(c.records, c.packed)
			if err == nil {
				c.at = places[0]
				err = j.index.Add(c.records, places)
			}
			if err != nil {
				return fmt.Errorf("write the records of %s: %w", c.line.url, err)
			}
		}
	}
	return nil
}

// log writes the lines of a visit.
func (j *Job) log(v *visit) {
	for _, c := range v.all() {
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

// writing is a transaction in which the frontier and all files of the crawl change together.
type writing struct {
	j       *Job
	tx      *store.Tx
	batch   *frontier.Batch
	journal *journal.Group // nil if none is kept
}

// commit makes durable what was written, and records it in the store, together with what fill changes in the frontier.
func (j *Job) commit(fill func(w *writing) error) error {
	if err := j.sync(); err != nil {
		return err
	}
	err := j.env.Store.Update(func(tx *store.Tx) (err error) {
		if err := errors.Join(j.archive.Commit(tx), j.index.Commit(tx), j.logs.commit(tx)); err != nil {
			return err
		}
		w := &writing{j: j, tx: tx}
		if w.batch, err = j.frontier.Begin(tx); err != nil {
			return err
		}
		if j.journal != nil {
			w.journal = j.journal.Begin()
		}
		if fill != nil {
			if err := fill(w); err != nil {
				return err
			}
		}
		if w.journal != nil {
			if err := w.journal.Commit(tx); err != nil {
				return err
			}
		}
		if err := w.batch.Write(); err != nil {
			return err
		}
		j.clock.commit(tx, w.batch.Idle())
		return nil
	})
	if err != nil {
		return err
	}
	j.index.Committed()
	err = errors.Join(j.archive.Committed(), j.logs.committed())
	if j.journal != nil {
		err = errors.Join(err, j.journal.Committed())
	}
	return err
}

// sync makes all files durable, at the same time, because a file system has one log for all of them.
func (j *Job) sync() error {
	var g errgroup.Group
	g.Go(j.archive.Sync)
	g.Go(j.index.Sync)
	g.Go(j.logs.sync)
	if j.journal != nil {
		g.Go(j.journal.Sync)
	}
	return g.Wait()
}

// visit writes down what came of a URL.
func (w *writing) visit(v *visit) (err error) {
	for _, c := range v.all() {
		if err := w.j.remember(w.tx, c); err != nil {
			return err
		}
	}
	if v.cookies != "" {
		if err := w.j.jar.write(w.tx, v.cookies); err != nil {
			return err
		}
	}
	for queue, o := range v.outages {
		w.j.outages.put(w.tx, queue, o)
	}
	if v.rules != nil {
		w.j.rules.write(w.tx, v.lease.Queue, v.rules)
	}
	if err := w.j.led.put(w.tx, v); err != nil {
		return err
	}
	if !v.to.IsZero() {
		w.tx.Set(seedKey('t', v.lease.URL), []byte(v.to.String()))
	}
	if !v.leads.IsZero() {
		if err := w.j.widen(w.tx, v.lease.URL, v.leads); err != nil {
			return err
		}
	}
	switch {
	case v.asks: // another URL of the host may have asked meanwhile
		if r, ok, err := w.j.rules.read(w.tx, v.lease.Queue); err != nil || ok && time.Now().Before(r.until) {
			w.j.rules.remember(v.lease.Queue, r) // the worker of v had read older ones
			return err
		}
	case !v.postpone.IsZero():
		err = w.batch.Postpone(v.lease, v.postpone)
	case !v.retry.IsZero():
		err = w.batch.Retry(v.lease, v.retry, v.outcome.Due)
	default:
		if err = w.batch.Done(v.lease, v.outcome); err == nil {
			err = w.tell(kindOf(v.outcome), v.lease.Item)
		}
	}
	if err == nil {
		err = w.add(v.links)
	}
	return err
}

// add queues the URLs that are new.
func (w *writing) add(items []frontier.Item) error {
	draining := w.j.control.Load().Draining
	for i := range items {
		if draining && !items[i].Again { // the rules of a host are asked for all the same
			continue
		}
		fate, err := w.batch.Put(&items[i])
		if err == nil && fate == frontier.New {
			err = w.tell(journal.Queued, items[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tell puts a line into the recover journal, if one is kept.
func (w *writing) tell(kind journal.Kind, i frontier.Item) error {
	if w.journal == nil {
		return nil
	}
	return w.journal.Add(journal.Line{Kind: kind, URL: i.URL, Hops: i.Hops, Via: i.Via})
}

// kindOf returns the word of the recover journal for an outcome.
func kindOf(o frontier.Outcome) journal.Kind {
	switch {
	case o.Left:
		return journal.Disregarded
	case o.Failed:
		return journal.Failed
	}
	return journal.Fetched
}
