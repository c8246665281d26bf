package crawl

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/crawl/frontier"
)

// mostRefused is how often a URL is tried again after a server does not want to answer it now. Then the last answer counts.
const mostRefused = 5

// refused reports whether a server says that it does not want to answer now, and how long to leave it alone: as long as it
// says, else as long as after a failure.
func refused(x *connector.Exchange, set settings) (wait time.Duration, yes bool) {
	if x.Status != http.StatusTooManyRequests && x.Status != http.StatusServiceUnavailable {
		return 0, false
	}
	wait = set.retryAfter
	text := x.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil { // a larger number makes no sense
		wait = time.Duration(min(seconds, uint64(frontier.Longest/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		now := time.Now()
		if its, err := http.ParseTime(x.Header.Get("Date")); err == nil { // by its clock, which may be wrong, or ours
			now = its
		}
		if at.After(now) { // else it says nothing: not that it may be asked at once
			wait = at.Sub(now)
		}
	}
	return min(wait, frontier.Longest), true
}

// noMatter reports whether a fetch failed for a reason that has nothing to do with the URL, which then stays in its queue. Its
// host may have been asked already.
func noMatter(ctx context.Context, err error) bool {
	return ctx.Err() != nil || fault.Is(err, fault.Full)
}
