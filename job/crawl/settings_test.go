package crawl

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"

	"holdfast/connector"
	"holdfast/job/crawl/scope"
)

// noting is a Fetcher that notes what it is asked.
type noting struct {
	connector.Fetcher
	mu   sync.Mutex
	rate map[string]int64
}

func (n *noting) Fetch(ctx context.Context, r connector.FetchRequest) (*connector.Exchange, error) {
	n.mu.Lock()
	n.rate[r.URL] = r.Bandwidth
	n.mu.Unlock()
	return n.Fetcher.Fetch(ctx, r)
}

// TestBandwidth: the bandwidth of a host is what the settings say, and a sheet over them.
func TestBandwidth(t *testing.T) {
	r := newRig(t, map[string]string{"/": `<a href="/slow/a">a</a> <a href="/b">b</a>`, "/slow/a": "a", "/b": "b"})
	n := &noting{Fetcher: r.cfg.Fetch, rate: map[string]int64{}}
	fast, slow := int64(50_000_000), int64(1_000_000)
	r.cfg.Fetch, r.cfg.Settings.Bandwidth = n, &fast
	r.cfg.Sheets = []scope.Sheet[Settings]{{For: []string{r.site.URL + "/slow/"}, Set: Settings{Bandwidth: &slow}}}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for url, rate := range n.rate {
		got[strings.TrimPrefix(url, r.site.URL)] = rate
	}
	if want := map[string]int64{"/": fast, "/robots.txt": fast, "/b": fast, "/slow/a": slow}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestPDFLinks: links of PDF files are followed if a setting says so.
func TestPDFLinks(t *testing.T) {
	for _, on := range []bool{false, true} {
		r := newRig(t, map[string]string{"/": `<a href="/a.pdf">a</a>`, "/b": "b"})
		r.site.pages["/a.pdf"] = "%PDF-1.4\n1 0 obj<</S/URI/URI(" + r.site.URL + "/b)>>endobj"
		r.site.types = map[string]string{"/a.pdf": "application/pdf"}
		r.cfg.Settings.PDFLinks = &on
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := r.site.asked["/b"]; got == 1 != on {
			t.Errorf("pdf_links: %v: what a PDF leads to was asked for %d times", on, got)
		}
	}
}

// TestSettingsThatMakeNoSense are refused, one by one and together.
func TestSettingsThatMakeNoSense(t *testing.T) {
	for _, set := range []map[string]string{{"delay_factor": "NaN"}, {"delay_factor": ".nan"}, {"delay_factor": "-1"}, {"delay_factor": ".inf"},
		{"min_delay": "10s", "max_delay": "1ms"}} {
		if s, err := parseSettings(set); err == nil {
			t.Errorf("%v is %+v", set, s)
		}
	}
}

// TestSettingNames: each setting can be set by an order, is told by why, and is in force for what a sheet or an order says.
func TestSettingNames(t *testing.T) {
	words := map[string]string{"robots": "ignore", "min_delay": "7s", "max_delay": "70s", "max_crawl_delay": "7m", "retry_after": "7m",
		"conditional": "false", "cookies": "true", "metadata": "true", "pdf_links": "true", "delay_factor": "7"}
	was := defaults.words()
	if len(was) != len(settingNames) {
		t.Errorf("why tells of %d settings, and there are %d", len(was), len(settingNames))
	}
	for _, key := range settingNames {
		text := words[key]
		if text == "" {
			text = "777"
		}
		s, err := parseSettings(map[string]string{key: text})
		if err != nil {
			t.Error(err)
			continue
		}
		is := defaults.over(Settings{}.with(s)).words()
		for k := range is {
			if (is[k] != was[k]) != (k == key) {
				t.Errorf("with %s=%s %s is %s, and was %s", key, text, k, is[k], was[k])
			}
		}
	}
}
