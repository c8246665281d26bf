package crawl

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/base/warc"
	"holdfast/job/crawl/scope"
)

// TestHeads: what the scope does not want by type or size is not downloaded. Its head is archived, and says that the rest
// is missing.
func TestHeads(t *testing.T) {
	var sent atomic.Int64
	block := strings.Repeat("x", 64<<10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `<a href="/film">f</a><a href="/large">l</a><a href="/small">s</a><a href="/moved">m</a>`)
		case "/film": // of no known length
			w.Header().Set("Content-Type", "Video/MP4; codecs=x")
			for range 10_000 {
				n, err := fmt.Fprint(w, block)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		case "/large":
			w.Header().Set("Content-Length", fmt.Sprint(10_000*len(block)))
			for range 10_000 {
				n, err := fmt.Fprint(w, block)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		case "/small":
			fmt.Fprint(w, "small enough")
		case "/moved": // the type of what stands beside a redirect is no matter
			w.Header().Set("Content-Type", "video/mp4")
			w.Header().Set("Location", "/target")
			w.WriteHeader(http.StatusFound)
			fmt.Fprint(w, "there")
		case "/target":
			fmt.Fprint(w, "found")
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	r := newRig(t, nil)
	r.site.Server, r.cfg.Seeds = s, []string{s.URL + "/"}
	most := int64(1 << 20)
	r.cfg.Scope = append(scope.Default(), scope.Rule{Reject: &scope.Test{Type: []string{"video/*"}}},
		scope.Rule{Reject: &scope.Test{Size: &scope.Limit{MoreThan: &most}}})
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := sent.Load(); n > 100<<20 {
		t.Errorf("%d bytes were sent", n)
	}
	for path, want := range map[string][2]string{"/film": {"unspecified", "midFetchAbort"}, "/large": {"unspecified", "midFetchAbort"},
		"/small": {"", "-"}, "/moved": {"", "-"}, "/target": {"", "-"}} {
		lines, kept := r.lines(path), r.kept(warc.Response)[path]
		if len(lines) != 1 || len(kept) != 1 {
			t.Errorf("of %s there are lines %q and %d records", path, lines, len(kept))
			continue
		}
		if got := kept[0].Get("WARC-Truncated"); got != want[0] {
			t.Errorf("the record of %s is cut by %q", path, got)
		}
		if f := strings.Fields(lines[0]); f[len(f)-1] != want[1] || want[0] != "" && !slices.Contains(f, "200") {
			t.Errorf("of %s it says %s", path, lines[0])
		}
	}
	if c := r.counts(); c.Done != 7 || c.Bytes > 10_000 {
		t.Errorf("%+v", c)
	}
	r.archived()
}
