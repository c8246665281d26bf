package crawl

import (
	"context"
	"errors"
	"strings"

	"holdfast/base/weburl"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/journal"
	"holdfast/job/crawl/scope"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// AtRest carries out what a person asks of a crawl that does not run, as Job.Command does for one that runs. Nothing else
// may have its store open for work. env needs no Room.
func AtRest(ctx context.Context, env engine.Env, cfg Config, name string, args []string) (text string, err error) {
	cfg.Seeds, cfg.Again = nil, false
	if name == "lost" { // what is gone may be why it can't be opened
		o, err := readOrder(args)
		if err != nil {
			return "", err
		}
		return lostAtRest(ctx, env, cfg, o)
	}
	j, err := open(env, cfg, true)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, j.files.close()) }()
	return j.Command(ctx, name, args)
}

// EndDrain lets a crawl that does not run queue new URLs again.
func EndDrain(st *store.Store) error {
	return st.Update(func(tx *store.Tx) error {
		c, err := readControl(tx)
		if err != nil || !c.Draining {
			return err
		}
		c.Draining = false
		return c.put(tx)
	})
}

// Recovering returns a function, for journal.Options, that makes URLs of the lines of a recover journal: those that the scope
// wants.
func Recovering(st *store.Store, cfg Config) (func(journal.Line) (frontier.Item, bool, error), error) {
	j := &Job{cfg: cfg.WithDefaults()}
	var s *scope.Scope
	err := st.Latest(func(r store.Reader) (err error) {
		s, err = scopeOf(r, j.cfg.Scope)
		return err
	})
	return func(l journal.Line) (i frontier.Item, ok bool, err error) {
		if strings.HasPrefix(l.URL, "dns:") {
			return i, false, nil
		}
		u, err := weburl.Parse(l.URL)
		if err != nil {
			return i, false, err
		}
		var via weburl.URL
		if l.Via != "" {
			via, _ = weburl.Parse(l.Via) // it may be dns:
		}
		if !s.Decide(scope.Candidate{URL: u, Hops: l.Hops, Via: via}).Accept {
			return i, false, nil
		}
		i = j.item(u, l.Hops, via, "")
		i.Pattern, i.PatternBudget = "", 0 // the other crawl has cut it short, or not
		return i, true, nil
	}, err
}
