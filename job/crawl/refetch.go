package crawl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"holdfast/base/cdxj"
	"holdfast/base/plural"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/index"
	"holdfast/kernel/store"
)

// refetch queues what was in WARC files that are gone: their captures, and revisits in other files that refer to one of those.
//
// Captures are found by their lines in the index. If that lacks some, those that were the first of their payload are found by
// what the store has of payloads, and others by crawl.log, in which each URL stands that was fetched: it is lost if no capture
// of it is known. What is left then stays lost, and is counted.
type refetch struct {
	of      *giveUp
	job     *Job // that makes items of URLs
	front   *frontier.Frontier
	whole   map[string]int64 // the files that are gone, and how many bytes of each are there
	lines   map[string]int64 // that the index has of each
	missing map[string]int64 // captures of each that have no line; none with 0

	lost    map[uint64]bool // captures that are gone, by URL and second
	payload map[uint64]bool // what they had, by its digest
	kept    map[uint64]bool // URLs that have a line; only if something is missing

	some     []string // to be queued
	revisits int      // URLs that are, as they refer to what is gone
	queued   int
	found    int64    // captures that have no line, and are found otherwise
	bad      []string // URLs that can't be fetched
}

// stays says what can't be got again; "" if that is nothing.
func (f *refetch) stays() string {
	var words []string
	left := -f.found
	for _, n := range f.missing {
		left += n
	}
	if left > 0 {
		words = append(words, fmt.Sprintf("%d %s lost, as nothing tells any more what they were: neither the index has them, nor crawl.log "+
			"(without a line in the index: %s)", left, plural.Noun(int(left), "capture")+" stay"+third(int(left)), f.missingText()))
	}
	if n := len(f.bad); n > 0 {
		words = append(words, fmt.Sprintf("%d %s lost, as they can't be asked for: %s", n, plural.Noun(n, "URL")+" stay"+third(n), some(f.bad)))
	}
	return strings.Join(words, "; ")
}

// third is the ending that a verb has after n things.
func third(n int) string {
	if n == 1 {
		return "s"
	}
	return ""
}

func (f *refetch) missingText() string {
	names := slices.Sorted(maps.Keys(f.missing))
	for i, name := range names {
		names[i] = fmt.Sprintf("%d of %s", f.missing[name], name)
	}
	return some(names)
}

// fetchAgain queues what was in files, from the end of their whole parts on. If it is cut short, the next call does not repeat
// what was done.
func (g *giveUp) fetchAgain(ctx context.Context, all []archive.Gone) (f *refetch, err error) {
	f = &refetch{of: g, job: &Job{cfg: g.cfg.WithDefaults()}, whole: map[string]int64{}, lines: map[string]int64{}, missing: map[string]int64{}, lost: map[uint64]bool{},
		payload: map[uint64]bool{}, kept: map[uint64]bool{}}
	for _, gone := range all {
		f.whole[gone.Name] = g.whole[gone.Name]
	}
	if f.front, err = frontier.Open(g.env.Store, frontier.Options{}); err != nil {
		return f, err
	}
	x, err := index.Open(g.env.Store, index.Options{Dir: g.cfg.Archive.Dir, Name: g.cfg.Archive.Name, Disk: g.cfg.Archive.Disk, Log: g.env.Log})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	if err := x.Each(ctx, f.gone); err != nil {
		return f, err
	}
	if err := f.count(); err != nil {
		return f, err
	}
	if len(f.missing) > 0 {
		if err := f.payloads(ctx); err != nil {
			return f, err
		}
	}
	if err := f.flush(); err != nil {
		return f, err
	}
	before := f.queued
	if err := x.Each(ctx, f.others); err != nil {
		return f, err
	}
	if err := f.flush(); err != nil {
		return f, err
	}
	f.revisits = f.queued - before
	if len(f.missing) > 0 {
		if err := f.logs(ctx); err != nil {
			return f, err
		}
	}
	return f, f.flush()
}

// isGone reports whether a file has lost what stood before an offset.
func (f *refetch) isGone(file string, end int64) bool {
	whole, gone := f.whole[file]
	return gone && end > whole
}

// captured identifies a capture by URL and time, to the second.
func captured(url, at string) uint64 { return xxh3.HashString(at + " " + url) }

// captureTime is the form of a line's time.
const captureTime = "20060102150405"

// gone takes the line of a capture whose record is gone.
func (f *refetch) gone(l cdxj.Line) error {
	if _, ours := f.whole[l.Filename]; ours {
		f.lines[l.Filename]++
	}
	if !f.isGone(l.Filename, l.Offset+l.Length) {
		return nil
	}
	f.lost[captured(l.URL, l.Time)] = true
	if l.Mime != cdxj.Revisit && l.Digest != "" {
		f.payload[xxh3.HashString(l.Digest)] = true
	}
	return f.want(l.URL)
}

// count counts the captures that have no line.
func (f *refetch) count() error {
	return f.of.env.Store.Latest(func(r store.Reader) error {
		for name := range f.whole {
			n, err := index.Captures(r, name)
			if err != nil {
				return err
			}
			if n -= f.lines[name]; n > 0 {
				f.missing[name] = n
			}
		}
		return nil
	})
}

// payloads takes the captures that were the first of their payload and are gone.
func (f *refetch) payloads(ctx context.Context) error {
	var all []original
	err := f.of.env.Store.View(ctx, func(r store.Reader) error {
		return originals(r, func(digest warc.Digest, first original) {
			if !f.isGone(first.File, first.End) || f.lost[captured(first.URL, first.Date.UTC().Format(captureTime))] {
				return
			}
			f.payload[xxh3.HashString(digest.Value())] = true
			all = append(all, first)
		})
	})
	for _, first := range all {
		f.lost[captured(first.URL, first.Date.UTC().Format(captureTime))] = true
		f.kept[xxh3.HashString(first.URL)] = true // it need not be found in crawl.log
		f.found++
		if err := f.want(first.URL); err != nil {
			return err
		}
	}
	return err
}

// others takes the lines of captures that are there. It notes revisits that refer to what is gone, and, if captures have no
// line, which URLs have one.
func (f *refetch) others(l cdxj.Line) error {
	if len(f.missing) > 0 {
		f.kept[xxh3.HashString(l.URL)] = true
	}
	if l.Mime != cdxj.Revisit || f.isGone(l.Filename, l.Offset+l.Length) || !f.payload[xxh3.HashString(l.Digest)] {
		return nil
	}
	if refers, err := f.refers(l); err == nil && !refers {
		return nil
	}
	return f.want(l.URL)
}

// refers reports whether a revisit refers to what is gone.
func (f *refetch) refers(l cdxj.Line) (bool, error) {
	path := filepath.Join(f.of.cfg.Archive.Dir, l.Filename)
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		file, err = os.Open(path + archive.OpenSuffix)
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	e, err := warc.NewReader(io.NewSectionReader(file, l.Offset, l.Length), l.Offset).Next()
	if err != nil {
		return false, err
	}
	at, err := warc.ParseDate(e.Fields.Get("WARC-Refers-To-Date"))
	return f.lost[captured(e.Fields.Get("WARC-Refers-To-Target-URI"), at.UTC().Format(captureTime))], err
}

// logs takes the URLs of crawl.log, and of its rotated files, that were fetched and of which nothing is there.
func (f *refetch) logs(ctx context.Context) error {
	all, err := os.ReadDir(f.of.cfg.Logs)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range all {
		if !strings.HasPrefix(e.Name(), crawlLog) {
			continue
		}
		if err := f.log(ctx, filepath.Join(f.of.cfg.Logs, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// log takes the URLs of one log file. A last line that was not committed does no harm: the frontier knows what is done.
func (f *refetch) log(ctx context.Context, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewScanner(file)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		fields := strings.Fields(in.Text())
		if len(fields) < 4 {
			continue
		}
		status, err := strconv.Atoi(fields[1])
		sum := xxh3.HashString(fields[3])
		if err != nil || status <= 0 || f.kept[sum] {
			continue
		}
		f.kept[sum] = true
		is, err := f.isDone(fields[3])
		if err != nil {
			return err
		}
		if !is {
			continue
		}
		f.found++
		if err := errors.Join(ctx.Err(), f.want(fields[3])); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// isDone reports whether, by the frontier, the crawl has fetched a URL. What is no URL is a look-up of names.
func (f *refetch) isDone(url string) (is bool, err error) {
	u, err := weburl.Parse(url)
	if err != nil {
		return true, nil
	}
	err = f.of.env.Store.Latest(func(r store.Reader) error {
		state, _, known, err := frontier.Find(r, f.job.item(u, "L", weburl.URL{}, "").Key)
		is = known && state == frontier.Done
		return err
	})
	return is, err
}

// want notes a URL that is to be queued.
func (f *refetch) want(url string) error {
	if f.some = append(f.some, url); len(f.some) < seedsAtOnce {
		return nil
	}
	return f.flush()
}

// flush queues the URLs that are not queued already. How they were found is not known any more; they count as links, except
// seeds. A URL that the crawl does not know, such as one of an earlier round, is known from now on. Names of hosts are looked
// up anyway.
func (f *refetch) flush() error {
	queued := 0
	var bad []string
	err := f.of.env.Store.Update(func(tx *store.Tx) error {
		b, err := f.front.Begin(tx)
		if err != nil {
			return err
		}
		queued, bad = 0, nil
		for _, url := range f.some {
			u, err := weburl.Parse(url)
			if err != nil {
				if !strings.HasPrefix(url, "dns:") {
					bad = append(bad, url)
				}
				continue
			}
			hops, source := "L", ""
			seed, err := tx.Look(seedKey('s', u.String()), func([]byte) error { return nil })
			if err != nil {
				return err
			}
			if seed {
				hops, source = "", u.String()
			}
			i := f.job.item(u, hops, weburl.URL{}, source)
			i.Again, i.Pattern, i.PatternBudget = true, "", 0
			fate, err := b.Put(&i)
			if err != nil {
				return err
			}
			if fate == frontier.New {
				queued++
			}
		}
		return b.Write()
	})
	if err == nil {
		f.queued, f.bad, f.some = f.queued+queued, append(f.bad, bad...), f.some[:0]
	}
	return err
}
