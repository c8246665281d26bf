package site

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Reach is what a crawl of a site comes to, if it follows every link within the site's host. All URLs are absolute and sorted.
type Reach struct {
	OK      []string // answered 200
	Missing []string // answered 404: something links to them, so they are asked for, and archived as what they are
	Moved   []string // answered 301; where they lead is in the other lists
	Depth   int      // hops from the start to the URL that is farthest from it
	Strange []string // references that net/url can't read, with the page they stand on; what they lead to is in no list
}

// Must is every URL that a right crawl has archived when it is done. It may have archived others too: robots.txt, and what it
// took for a link in a script.
func (r Reach) Must() []string {
	all := slices.Concat(r.OK, r.Missing, r.Moved)
	slices.Sort(all)
	return all
}

// Lost are those of Must that are not in a set of URLs.
func (r Reach) Lost(archived map[string]bool) []string {
	return slices.DeleteFunc(r.Must(), func(url string) bool { return archived[url] })
}

// Reachable computes what a crawl that starts at some paths of the site comes to. It reads the files: nothing is asked for.
func (s *Site) Reachable(starts ...string) Reach {
	r, hops, queue := Reach{}, map[string]int{}, []*url.URL{}
	add := func(u *url.URL, depth int) {
		u.User = nil
		if u.Path == "" {
			u.Path = "/"
		}
		if u.Scheme != "http" || u.Host != s.Host {
			return
		}
		if _, known := hops[u.String()]; !known {
			hops[u.String()] = depth
			queue = append(queue, u)
		}
	}
	for _, start := range starts {
		u, err := url.Parse(strings.TrimSuffix(s.URL, "/") + start)
		if err != nil {
			r.Strange = append(r.Strange, start)
			continue
		}
		add(u, 0)
	}
	for ; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		depth := hops[at.String()]
		r.Depth = max(r.Depth, depth)
		p := s.files.find(at.Path)
		r.note(p.status, at.String())
		base := at
		for _, ref := range p.links() {
			isBase := strings.HasPrefix(ref, baseMark)
			u, err := base.Parse(strings.TrimPrefix(ref, baseMark))
			switch {
			case err != nil:
				r.Strange = append(r.Strange, at.String()+": "+ref)
			case isBase:
				base = u
			default:
				add(u, depth+1)
			}
		}
	}
	for _, list := range [][]string{r.OK, r.Missing, r.Moved, r.Strange} {
		slices.Sort(list)
	}
	return r
}

func (r *Reach) note(status int, url string) {
	switch status {
	case http.StatusOK:
		r.OK = append(r.OK, url)
	case http.StatusMovedPermanently:
		r.Moved = append(r.Moved, url)
	default:
		r.Missing = append(r.Missing, url)
	}
}

// clean takes away what browsers pass over in a reference, and its fragment.
func clean(ref string) string {
	ref, _, _ = strings.Cut(ref, "#")
	return breaks.Replace(strings.Trim(ref, " \t\n\r\f"))
}

var breaks = strings.NewReplacer("\t", "", "\n", "", "\r", "")

// known are the references of files, so that the sites of many tests are read once.
var known sync.Map // of knownFile to []string

type knownFile struct {
	name string
	size int64
	at   time.Time
}

// links are the references of a page, clean, each once.
func (p page) links() []string {
	info, err := os.Stat(p.file)
	if err != nil { // it is no file
		return unique(p.references())
	}
	key := knownFile{p.file, info.Size(), info.ModTime()}
	if refs, ok := known.Load(key); ok {
		return refs.([]string)
	}
	refs := unique(p.references())
	known.Store(key, refs)
	return refs
}

// references are those of a page, as they stand there.
func (p page) references() []string {
	var refs []string
	if to := p.fields["Location"]; to != "" {
		refs = append(refs, to)
	}
	body, _, err := p.open()
	if err != nil {
		return refs // it says so when it is served
	}
	defer body.Close()
	kind, _, _ := strings.Cut(p.fields["Content-Type"], ";")
	switch kind {
	case "text/html":
		return append(refs, htmlReferences(body)...)
	case "text/css":
		b, _ := io.ReadAll(body)
		return append(refs, cssReferences(string(b))...)
	case "image/svg+xml":
		b, _ := io.ReadAll(body)
		return append(refs, xmlReferences(bytes.NewReader(b))...)
	}
	return refs
}

// unique are some references in their order, clean, each once.
func unique(all []string) []string {
	seen := map[string]bool{}
	kept := all[:0]
	for _, ref := range all {
		if ref = clean(ref); !seen[ref] {
			seen[ref] = true
			kept = append(kept, ref)
		}
	}
	return kept
}
