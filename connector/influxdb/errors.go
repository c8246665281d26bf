package influxdb

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"holdfast/base/download"
	"holdfast/base/fault"
)

// mostFault bounds how much is read of an answer that is no success.
const mostFault = 256 << 10

// answer is a response that is no success.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// Error tells the server's words.
func (a *answer) Error() string { return fmt.Sprintf("status %d: %s", a.status, a.words()) }

// words are what the server says, in its own words where it is InfluxDB.
func (a *answer) words() string {
	var said struct {
		Error   string // 1.x and 3.x
		Message string // 2.x
		Data    []struct {
			Message string `json:"error_message"`
		} // 3.x
	}
	if err := json.Unmarshal(a.body, &said); err != nil || said.Error == "" && said.Message == "" {
		return download.Snippet(a.body)
	}
	text := cmp.Or(said.Error, said.Message)
	if len(said.Data) > 0 && said.Data[0].Message != "" {
		text += ": " + said.Data[0].Message
	}
	const most = 500
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most/2], "") + " ... " + strings.ToValidUTF8(text[len(text)-most/2:], "")
	}
	return text
}

// ofRows reports whether an answer speaks of the rows of the request, some of which may be taken.
func (a *answer) ofRows() bool {
	return a.status == http.StatusBadRequest || a.status == http.StatusUnprocessableEntity
}

var dropped = regexp.MustCompile(`dropped=(\d+)`)

// late reports whether a server of 1.x gave up waiting for itself: smaller requests may be in time.
func (a *answer) late() bool {
	return a.status == http.StatusInternalServerError && strings.Contains(a.words(), "timeout")
}

// all reports whether a server of 1.x says that it dropped all of n points. A count counts the points of
// one shard, so one that is lower says nothing of the rest.
func (a *answer) all(n int) bool {
	m := dropped.FindSubmatch(a.body)
	if m == nil {
		return false
	}
	count, err := strconv.Atoi(string(m[1]))
	return err == nil && count == n
}

// judge gives an answer its kind.
func (a *answer) judge() error {
	words := strings.ToLower(a.words())
	switch n := a.status; {
	case n == http.StatusUnauthorized || n == http.StatusForbidden || n == http.StatusProxyAuthRequired:
		return fault.WithHint(fault.As(fault.Credentials, a), "check username and password, or token, and that "+
			"they may read and write there")
	case strings.Contains(words, "no space left on device") || n == http.StatusInsufficientStorage:
		return fault.WithHint(fault.As(fault.Full, a), "make room; InfluxDB 1.x may have to be started again "+
			"before it writes")
	case n == http.StatusTooManyRequests || n == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "":
		return fault.WithWait(a, a.wait())
	case strings.Contains(words, "retention policy not found") || n == http.StatusNotFound &&
		(strings.Contains(words, "database not found") || strings.Contains(words, "bucket")):
		return fault.As(fault.NotFound, a)
	case n >= 500 || n == http.StatusRequestTimeout:
		return fault.As(fault.Transient, a)
	case n >= 200 && n <= 299:
		return fault.WithHint(fault.New(fault.Transient, "%w: %w", errNotInflux, a),
			"check url: something else answers there")
	case n >= 300 && n <= 399:
		return fault.WithHint(fault.As(fault.Permanent, a), "it is elsewhere (%s); set url to where it is",
			a.header.Get("Location"))
	}
	return fault.WithHint(fault.As(fault.Permanent, a), "check url, and database or bucket")
}

// wait is how long the server asks us to stay away. A date is read by its own clock.
func (a *answer) wait() time.Duration {
	now, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	wait, _ := download.RetryAfter(a.header.Get("Retry-After"), now)
	return wait
}

// refusal is an error that stands in an answer to a query.
func refusal(words string) error {
	low := strings.ToLower(words)
	has := func(any ...string) bool {
		for _, s := range any {
			if strings.Contains(low, s) {
				return true
			}
		}
		return false
	}
	err := fmt.Errorf("%s", words)
	switch {
	case has("not found"):
		return fault.As(fault.NotFound, err)
	case has("not authorized", "authorization", "not allowed"):
		return fault.As(fault.Credentials, err)
	case has("no space left on device"):
		return fault.As(fault.Full, err)
	case has("timeout", "time-out", "killed", "interrupted", "max-concurrent-queries", "closed", "shutting down"):
		return fault.As(fault.Transient, err)
	}
	return fault.As(fault.Permanent, err)
}

// classify says where an error was met, and that one without a kind is an outage.
func (c *Client) classify(verb string, err error) error {
	if err == nil {
		return nil
	}
	if a, ok := err.(*answer); ok {
		err = a.judge()
	}
	kind := fault.KindOf(err)
	if kind == fault.Unknown {
		kind = fault.Transient
	}
	return fault.As(kind, fmt.Errorf("%s %s: %w", verb, c.name(), err))
}
