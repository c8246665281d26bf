package crawl

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/base/fault"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/job/crawl/extract"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/scope"
	"holdfast/kernel/store"
)

// Keys of the seeds:
//
//	S s url   (8) when it was added, in milliseconds
//	S r url   the URL of a seed that redirects to it: it counts as a seed for the scope
//	S t url   where a seed redirects to
var seedsPrefix = store.Key{byte(store.Job), 'S'}

func seedKey(kind byte, url string) store.Key { return store.Key{byte(store.Job), 'S', kind}.Str(url) }

// seeds are where the crawl begins, and what follows from them.
type seeds struct {
	adding sync.Mutex // held while some are added
	scope  atomic.Pointer[scope.Scope]
	hosts  sync.Map      // those that are literal addresses, which a person has named so
	news   chan struct{} // holds one when some were added
}

// readSeeds returns the seeds in the order of their URLs, and where they redirect to.
func readSeeds(r store.Reader, each func(url string, added time.Time) error) (redirects []string, err error) {
	entries, failed := r.Scan(seedsPrefix, seedsPrefix.End())
	for k, v := range entries {
		if len(k) < 4 {
			return nil, fault.New(fault.Corrupt, "a seed has key %x", k)
		}
		url := string(k[3:])
		switch {
		case k[2] == 'r':
			redirects = append(redirects, url)
		case k[2] == 't': // for reports
		case len(v) != 8:
			return nil, fault.New(fault.Corrupt, "when seed %s was added is %x", url, v)
		default:
			if err := each(url, time.UnixMilli(int64(binary.BigEndian.Uint64(v)))); err != nil {
				return nil, err
			}
		}
	}
	return redirects, failed()
}

// scopeOf returns the scope of a list, with the seeds of a store.
func scopeOf(r store.Reader, l scope.List) (*scope.Scope, error) {
	var all []string
	redirects, err := readSeeds(r, func(url string, _ time.Time) error {
		all = append(all, url)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(l) == 0 {
		l = scope.Default()
	}
	return scope.New(l, append(all, redirects...))
}

// openSeeds takes in the seeds of the configuration.
func (j *Job) openSeeds() error {
	j.seeds = &seeds{news: make(chan struct{}, 1)}
	err := j.env.Store.Latest(func(r store.Reader) (err error) {
		s, err := scopeOf(r, j.cfg.Scope)
		j.seeds.scope.Store(s)
		if err == nil {
			_, err = readSeeds(r, func(url string, _ time.Time) error { j.seeds.permit(url); return nil })
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = j.addSeeds(j.cfg.Seeds)
	return err
}

// permit allows the address to be asked that a seed names literally.
func (s *seeds) permit(url string) {
	if u, err := weburl.Parse(url); err == nil && u.IsAddress() {
		s.hosts.Store(u.Host(), true)
	}
}

// seedsAtOnce is how many seeds are added in one transaction.
const seedsAtOnce = 1000

// addSeeds adds the seeds that are new, and returns how many these are. If one is no URL the error is Invalid, and none is
// added.
func (j *Job) addSeeds(texts []string) (added int, err error) {
	if j.control.Load().Draining {
		return 0, nil // those of the configuration are added by the next start
	}
	urls := make([]weburl.URL, 0, len(texts))
	for _, text := range texts {
		u, err := SeedURL(text)
		if err != nil {
			return 0, err
		}
		urls = append(urls, u)
	}
	j.seeds.adding.Lock()
	defer j.seeds.adding.Unlock()
	for len(urls) > 0 {
		n := min(seedsAtOnce, len(urls))
		new, err := j.addSome(urls[:n])
		added += new
		if err != nil {
			return added, err
		}
		urls = urls[n:]
	}
	if added > 0 {
		select {
		case j.seeds.news <- struct{}{}:
		default:
		}
	}
	return added, nil
}

// SeedURL is the URL that a person means: http:// may be left out.
func SeedURL(text string) (weburl.URL, error) {
	whole := text
	if !strings.Contains(text, "://") {
		whole = "http://" + text
	}
	u, err := weburl.Parse(whole)
	if err != nil {
		return u, fault.New(fault.Invalid, "seed %.300s: %s", text, plainly(err))
	}
	return u, nil
}

// plainly says in a few words what is wrong with a URL: the parser's own error has the name of the parser and the URL once
// more.
func plainly(err error) string {
	_, why, ok := strings.Cut(err.Error(), ": Error: ")
	if !ok {
		return err.Error()
	}
	why, _, _ = strings.Cut(why, " Url: ")
	return strings.TrimSuffix(strings.ToLower(why[:1])+why[1:], ".")
}

func (j *Job) addSome(urls []weburl.URL) (int, error) {
	var new []string
	err := j.commit(func(w *writing) error {
		new = nil
		for _, u := range urls {
			k := seedKey('s', u.String())
			known, err := w.tx.Look(k, func([]byte) error { return nil })
			if err != nil {
				return err
			}
			if known {
				continue
			}
			w.tx.Set(k, binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMilli())))
			new = append(new, u.String())
			if err := w.add([]frontier.Item{j.item(u, "", weburl.URL{}, u.String())}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(new) == 0 {
		return 0, err
	}
	for _, url := range new {
		j.seeds.permit(url)
	}
	s, err := j.seeds.scope.Load().With(new...)
	if err != nil {
		return 0, fmt.Errorf("take seeds into the scope: %w", err)
	}
	j.seeds.scope.Store(s)
	return len(new), nil
}

// redirects returns where a seed redirects to, if that is another host of its domain: a site is often not the host that people
// name. The scope takes it for a seed too. Heritrix does so for any domain, and then all of a stranger's host is crawled.
func redirects(l *frontier.Lease, from weburl.URL, x *connector.Exchange) (to weburl.URL, yes bool) {
	if x.Status < 300 || x.Status > 399 || strings.Trim(l.Hops, string(extract.Redirect)) != "" {
		return to, false
	}
	to, err := from.Resolve(x.Header.Get("Location"))
	return to, err == nil && to.Host() != from.Host() && to.Domain() != "" && to.Domain() == from.Domain()
}

// widen adds to the scope where a seed redirects to, before that is queued.
func (j *Job) widen(tx *store.Tx, from string, to weburl.URL) error {
	tx.Set(seedKey('r', to.String()), []byte(from))
	j.seeds.adding.Lock()
	defer j.seeds.adding.Unlock()
	s, err := j.seeds.scope.Load().With(to.String())
	if err == nil {
		j.seeds.scope.Store(s)
	}
	return err
}

// finish waits until nothing is left to fetch. A job that is not to end by itself waits for seeds then.
func (j *Job) finish(ctx context.Context) error {
	for {
		err := j.frontier.Wait(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil || j.cfg.Once || j.control.Load().Draining {
			return err
		}
		select {
		case <-j.seeds.news:
		default:
			j.env.History.Note("crawl.finished", "nothing is left to fetch; it waits for seeds")
			if _, err := j.index.Write(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			select {
			case <-j.seeds.news:
			case <-ctx.Done():
				return nil
			}
		}
	}
}
