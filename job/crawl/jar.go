package crawl

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/base/weburl"
	"holdfast/kernel/store"
)

// jar has the cookies of a crawl, by site: all in the store, and those of the last sites in memory. What an answer sets counts
// at once. It is written down with the visit that it belongs to, or with an earlier one of the same site.
type jar struct {
	st *store.Store

	mu     sync.Mutex // guards all below
	recent map[string]*kept
	bytes  int // that they take
	clears int // how often some were dropped
}

// kept are the cookies of a site in memory.
type kept struct {
	cookies
	unwritten int // visits that set some and are not written down yet: so long they stay
}

// mostJar is how many bytes the cookies take that are held in memory.
const mostJar = 16 << 20

var jarPrefix = store.Key{byte(store.Job), 'K'}

// jarKey is the key of the cookies of a site, which are JSON.
func jarKey(site string) store.Key { return store.Key{byte(store.Job), 'K'}.Str(site) }

func newJar(st *store.Store) *jar { return &jar{st: st, recent: map[string]*kept{}} }

// field is the field Cookie of a request, "" for none.
func (j *jar) field(u weburl.URL) (string, error) {
	k, err := j.lock(u.Domain())
	if err != nil {
		return "", err
	}
	defer j.mu.Unlock()
	return k.of(u, time.Now()), nil
}

// take takes the cookies that an answer sets. It returns the site, which has to be written down then, or "" if nothing was
// set.
func (j *jar) take(u weburl.URL, h http.Header) (site string, err error) {
	lines := h["Set-Cookie"]
	if len(lines) == 0 {
		return "", nil
	}
	k, err := j.lock(u.Domain())
	if err != nil {
		return "", err
	}
	defer j.mu.Unlock()
	before, now := k.size(), time.Now()
	for _, line := range lines[:min(len(lines), mostCookies)] {
		if c, gone, ok := cookieFrom(line, u, now); ok {
			k.cookies, site = k.set(c, gone, now), u.Domain()
		}
	}
	j.bytes += k.size() - before
	if site != "" {
		k.unwritten++
	}
	return site, nil
}

// lock loads the cookies of a site into memory, and returns with mu locked unless it fails.
func (j *jar) lock(site string) (*kept, error) {
	for {
		j.mu.Lock()
		k, clears := j.recent[site], j.clears
		if k != nil {
			return k, nil
		}
		j.mu.Unlock()
		all, err := j.read(site)
		if err != nil {
			return nil, err
		}
		j.mu.Lock()
		if k = j.keep(site, all, clears); k != nil {
			return k, nil
		}
		j.mu.Unlock()
	}
}

// read returns the cookies of a site as the store has them.
func (j *jar) read(site string) (all cookies, err error) {
	err = j.st.Latest(func(r store.Reader) error {
		_, err := r.Look(jarKey(site), func(v []byte) error {
			if err := json.Unmarshal(v, &all); err != nil {
				return fault.New(fault.Corrupt, "the cookies of %s are %.200q: %w", site, v, err)
			}
			return nil
		})
		return err
	})
	return all, err
}

// keep keeps the cookies of a site that were read when clears was what is given, unless newer ones are in memory; mu is
// locked. It returns nil if newer ones may have been there, and were written down and dropped meanwhile.
func (j *jar) keep(site string, all cookies, clears int) *kept {
	if k := j.recent[site]; k != nil {
		return k
	}
	if j.clears != clears {
		return nil
	}
	if j.bytes > mostJar {
		j.clear()
	}
	k := &kept{cookies: all}
	j.recent[site] = k
	j.bytes += cost(site) + all.size()
	return k
}

// cost is what a site takes in memory beside its cookies.
func cost(site string) int { return len(site) + 150 }

// clear drops from memory what the store has.
func (j *jar) clear() {
	j.clears++
	for site, k := range j.recent {
		if k.unwritten == 0 {
			j.bytes -= cost(site) + k.size()
			delete(j.recent, site)
		}
	}
}

// write writes a site down, for a visit that set something.
func (j *jar) write(tx *store.Tx, site string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	b, err := json.Marshal(j.recent[site].cookies)
	if err == nil {
		tx.Set(jarKey(site), b)
	}
	return err
}

// written is called when that is durable.
func (j *jar) written(site string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.recent[site].unwritten--
}
