package crawl

import (
	"net/http"
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

// TestRetryAfter: when a server may be asked again is by its own clock, if it says how late that is.
func TestRetryAfter(t *testing.T) {
	ahead := time.Now().Add(3 * time.Hour).UTC()
	for name, c := range map[string]struct {
		header http.Header
		want   time.Duration
	}{
		"seconds":      {http.Header{"Retry-After": {"90"}}, 90 * time.Second},
		"nothing":      {http.Header{}, time.Minute},
		"nonsense":     {http.Header{"Retry-After": {"soon"}}, time.Minute},
		"its clock":    {http.Header{"Retry-After": {ahead.Add(time.Minute).Format(http.TimeFormat)}, "Date": {ahead.Format(http.TimeFormat)}}, time.Minute},
		"past":         {http.Header{"Retry-After": {"Sun, 06 Nov 1994 08:49:37 GMT"}}, time.Minute},
		"at once":      {http.Header{"Retry-After": {"0"}}, 0},
		"no number":    {http.Header{"Retry-After": {"-5"}}, time.Minute},
		"for ever":     {http.Header{"Retry-After": {"99999999999"}}, 24 * time.Hour},
		"no sense":     {http.Header{"Retry-After": {"999999999999999999999"}}, time.Minute},
		"no date":      {http.Header{"Retry-After": {ahead.Format(http.TimeFormat)}}, 3 * time.Hour},
		"broken date":  {http.Header{"Retry-After": {ahead.Format(http.TimeFormat)}, "Date": {"today"}}, 3 * time.Hour},
		"far too long": {http.Header{"Retry-After": {"2000000000"}}, 24 * time.Hour},
	} {
		x := &connector.Exchange{Status: http.StatusServiceUnavailable, Header: c.header}
		got, yes := refused(x, settings{retryAfter: time.Minute})
		if off := got - c.want; !yes || off < -2*time.Second || off > 2*time.Second {
			t.Errorf("%s: %v %v, want %v", name, got, yes, c.want)
		}
	}
}
