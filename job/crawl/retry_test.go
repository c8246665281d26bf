package crawl

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// TestTriedAgain: of a URL that is tried again only the last try is in crawl.log and in the archive.
func TestTriedAgain(t *testing.T) {
	r := newRig(t, map[string]string{"/": `<a href="/a">a</a>`, "/a": "a"})
	soon := time.Millisecond
	r.cfg.Settings.RetryAfter = &soon
	var asked atomic.Int32
	r.cfg.Fetch = hooked{r.cfg.Fetch, func(url string) error {
		if strings.HasSuffix(url, "/a") && asked.Add(1) < 3 {
			return &connector.FetchError{Status: connector.FetchTimeout, Begun: time.Now(), Err: fault.New(fault.Transient, "too slow")}
		}
		return nil
	}}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("it was tried %d times", n)
	}
	if n := r.logged()["/a"]; n != 1 {
		t.Errorf("crawl.log has it %d times", n)
	}
	if n := r.archived()["/a"]; n != 1 {
		t.Errorf("it is archived %d times", n)
	}
}
