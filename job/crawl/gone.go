package crawl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"holdfast/base/cdxj"
	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/index"
	"holdfast/job/crawl/journal"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// losses are the files of a crawl that differ from what its store says of them.
type losses struct {
	warcs []archive.Gone
	logs  []string // that are gone, or lack something
}

func (l losses) none() bool { return len(l.warcs)+len(l.logs) == 0 }

func findLosses(r store.Reader, lineage string, cfg Config) (l losses, err error) {
	if l.warcs, err = archive.Losses(r, lineage, cfg.Archive.Dir); err != nil {
		return l, err
	}
	if l.logs, err = lostLogs(r, lineage, cfg.Logs); err != nil || !cfg.Journal {
		return l, err
	}
	lost, err := journal.Lost(r, lineage, cfg.Logs)
	if lost {
		l.logs = append(l.logs, journal.Name)
	}
	return l, err
}

// mostGone is how many files a message names.
const mostGone = 20

// text says what is lost.
func (l losses) text() string {
	var words []string
	for _, g := range l.warcs {
		name := g.Name
		if g.Open {
			name += " (not ended)"
		}
		if g.Has < 0 {
			words = append(words, fmt.Sprintf("%s is gone, with %d bytes", name, g.Want))
		} else {
			words = append(words, fmt.Sprintf("%s has %d bytes, and %d were written", name, g.Has, g.Want))
		}
	}
	for _, name := range l.logs {
		words = append(words, name+" is gone, or lacks lines")
	}
	if n := len(words) - mostGone; n > 0 {
		words = append(words[:mostGone], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(words, "; ")
}

// orderLost says which files are gone. What becomes of them can be ordered only while the crawl does not run.
func (j *Job) orderLost(o Order) (text string, err error) {
	if o.Fetch || o.Accept {
		return "", fault.WithHint(fault.New(fault.Conflict, "the crawl runs: files are given up by one at rest"),
			"stop it first, and start it again afterwards")
	}
	err = j.env.Store.Latest(func(r store.Reader) error {
		l, err := findLosses(r, j.env.Store.Lineage().String(), j.cfg)
		text = showLosses(l)
		return err
	})
	return text, err
}

func showLosses(l losses) string {
	if l.none() {
		return "all files are as they were written"
	}
	return l.text() + ". Put back what you can; then --fetch has what was in the others fetched again, --accept leaves it at that"
}

// lostAtRest makes a crawl that can't be opened, because files of it are gone, accept the files as they are. What was in them
// is fetched again, or stays lost.
func lostAtRest(ctx context.Context, env engine.Env, cfg Config, o Order) (string, error) {
	var l losses
	err := env.Store.Latest(func(r store.Reader) (err error) {
		l, err = findLosses(r, env.Store.Lineage().String(), cfg)
		return err
	})
	switch {
	case err != nil:
		return "", err
	case o.Fetch && o.Accept:
		return "", fault.New(fault.Invalid, "what is lost is either fetched again or accepted")
	case l.none() || !o.Fetch && !o.Accept:
		return showLosses(l), nil
	}
	g := giveUp{env: env, cfg: cfg, whole: map[string]int64{}, captures: map[string]int64{}}
	for _, gone := range l.warcs {
		if err := g.look(ctx, gone); err != nil {
			return "", err
		}
	}
	text, stays := "given up: "+l.text(), ""
	if o.Fetch {
		done, err := g.fetchAgain(ctx, l.warcs)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf("; %d %s fetched again", done.queued, isOrAre(done.queued, "URL"))
		if done.revisits > 0 {
			text += fmt.Sprintf(", %d of them as their revisits refer to what is gone", done.revisits)
		}
		if stays = done.stays(); stays != "" {
			text += "; " + stays
		}
	}
	err = env.Store.Update(func(tx *store.Tx) error { return g.commit(tx, l, o.Fetch) })
	if err != nil {
		return "", err
	}
	env.History.Warn("crawl.lost", "a person has files %s", text)
	if stays != "" {
		return "", fault.WithHint(fault.New(fault.Corrupt, "%s", text),
			"the crawl goes on without them; when it is over, --again has all fetched anew that it finds")
	}
	return text, nil
}

// giveUp removes from a store what it says of files that are gone.
type giveUp struct {
	env      engine.Env
	cfg      Config
	whole    map[string]int64 // bytes of what is there, by file
	captures map[string]int64 // in those
}

// look finds out how much of a file is whole, up to where it was written.
func (g *giveUp) look(ctx context.Context, gone archive.Gone) error {
	if gone.Has < 0 {
		return nil
	}
	path := filepath.Join(g.cfg.Archive.Dir, gone.Name)
	if gone.Open {
		path += archive.OpenSuffix
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	done, err := cdxj.Index(io.LimitReader(f, min(gone.Has, gone.Want)), gone.Name, weburl.IndexKeyOf,
		func(cdxj.Line) error { return ctx.Err() })
	if _, damaged := errors.AsType[*warc.Damage](err); err != nil && !damaged {
		return err
	}
	g.whole[gone.Name], g.captures[gone.Name] = done.Whole, done.Lines
	return nil
}

// commit makes the files count as they are.
func (g *giveUp) commit(tx *store.Tx, l losses, fetched bool) error {
	for _, gone := range l.warcs {
		bytes, captures := g.whole[gone.Name], g.captures[gone.Name]
		if gone.Has < 0 && !fetched { // it is elsewhere, and what is in it counts
			n, err := index.Captures(tx, gone.Name)
			if err != nil {
				return err
			}
			bytes, captures = gone.Want, n
		}
		if err := index.GiveUp(tx, gone.Name, bytes, captures); err != nil {
			return err
		}
	}
	if err := archive.GiveUp(tx, l.warcs, g.whole); err != nil {
		return err
	}
	for _, name := range l.logs {
		if name == journal.Name {
			journal.GiveUp(tx)
		} else if err := giveUpLog(tx, name); err != nil {
			return err
		}
	}
	return nil
}
