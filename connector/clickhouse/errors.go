package clickhouse

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"holdfast/base/download"
	"holdfast/base/fault"
)

// serverError is a refusal in ClickHouse's own words.
type serverError struct {
	code int
	text string
}

func (e *serverError) Error() string {
	if strings.Contains(e.text, "Code: ") {
		return e.text
	}
	return fmt.Sprintf("code %d: %s", e.code, e.text)
}

// outageWords speak of an outage whatever the code: 18.16 gives code 1001 or 0 for errors of the
// file system.
var outageWords = []string{"no space left", "errno: 28", "errno: 30", "read-only file system",
	"input/output error", "cannot allocate memory", "too many open files", "connection refused",
	"connection reset", "broken pipe", "session expired", "connection loss", "table is being",
	"shutdown is called", "server is shutting down"}

var (
	codeText      = regexp.MustCompile(`(?s)\bCode: (\d+)[,.].*?DB::\w*Exception`)
	exceptionText = regexp.MustCompile(`\bDB::\w*Exception\b`)
)

// kindOf is the kind of a ClickHouse error. A code that is not here stays Unknown.
func kindOf(code int, text string) fault.Kind {
	low := strings.ToLower(text)
	for _, w := range outageWords {
		if strings.Contains(low, w) {
			return fault.Transient
		}
	}
	switch code {
	case 6, 26, 27, 38, 41, 53, 69, 70, 72, 117, 131, 321, 349, 395, 469, 691:
		// The rows: a value that can't be parsed or converted, is out of its type's range, null
		// where there is no null, or against a constraint (395: throwIf in a view or a default).
		return fault.Invalid
	case 192, 193, 194, 195, 291, 492, 497, 516:
		return fault.Credentials // unknown user, wrong password, no right
	case 8, 10, 16, 20, 36, 43, 44, 46, 47, 48, 50, 57, 60, 62, 73, 81, 115, 218, 452:
		return fault.Permanent // no such table, column, function, setting; or not allowed to be
	case 201:
		return fault.Throttled // a quota
	case 33, 40, 246, 271:
		return fault.Transient // cut or bent on the way: what we send is whole
	case 76, 173, 204, 241, 243, 252, 290, 394, 425, 439, 499, 745:
		return fault.Transient // files, memory, room, parts, threads, object storage, load
	case 159, 160, 198, 202, 203, 209, 210, 216, 236, 265, 279, 297, 305, 364, 473, 733:
		return fault.Transient // time, network, the same query still running, locks, a restart
	case 164, 225, 242, 254, 285, 286, 289, 319, 335, 416, 659, 668, 722, 999:
		return fault.Transient // read-only, Keeper, replicas, quorum, loading
	}
	return fault.Unknown
}

// noRoom reports whether an error says that the server's disk is full.
func noRoom(err error) bool {
	e, ok := errors.AsType[*serverError](err)
	if !ok {
		return false
	}
	low := strings.ToLower(e.text)
	return e.code == 243 || strings.Contains(low, "no space left") || strings.Contains(low, "errno: 28")
}

// code is the ClickHouse error code in err's chain, 0 if there is none.
func code(err error) int {
	if e, ok := errors.AsType[*serverError](err); ok {
		return e.code
	}
	return 0
}

// judge says what a response that was read whole means. A 200 with an exception in its body is a
// refusal: ClickHouse may have sent the status before it met the error.
func judge(res *http.Response, body string) error {
	n, _ := strconv.Atoi(res.Header.Get("X-ClickHouse-Exception-Code"))
	if m := codeText.FindStringSubmatch(body); n == 0 && m != nil {
		n, _ = strconv.Atoi(m[1])
	}
	if n != 0 || exceptionText.MatchString(body) {
		e := &serverError{code: n, text: excerpt(body)}
		err := fault.New(kindOf(n, body), "clickhouse: %w", e)
		if err.Kind == fault.Throttled {
			err.Wait = retryAfter(res.Header)
		}
		return err
	}
	switch s := res.StatusCode; {
	case s == http.StatusOK:
		return nil
	case s == http.StatusTooManyRequests || s == http.StatusServiceUnavailable:
		return fault.WithWait(strange(res, body), retryAfter(res.Header))
	case s == http.StatusUnauthorized || s == http.StatusForbidden ||
		s == http.StatusProxyAuthRequired:
		return fault.As(fault.Credentials, strange(res, body))
	case s >= 500 || s == http.StatusRequestTimeout || s == http.StatusTooEarly:
		return fault.As(fault.Transient, strange(res, body))
	default:
		return fault.WithHint(fault.As(fault.Permanent, strange(res, body)),
			"is this the address of ClickHouse's HTTP interface (port 8123 by default)?")
	}
}

func strange(res *http.Response, body string) error {
	return fmt.Errorf("clickhouse: status %d, not in ClickHouse's words: %s", res.StatusCode,
		excerpt(body))
}

// retryAfter is how long the server asks us to stay away, at most ten minutes.
func retryAfter(h http.Header) time.Duration {
	wait, asked := download.RetryAfter(h.Get("Retry-After"), time.Now())
	if !asked {
		wait = 5 * time.Second
	}
	return min(max(wait, time.Second), 10*time.Minute)
}

// garbage is an answer that ClickHouse would not give. Something else answers for it, for now.
func garbage(format string, args ...any) error {
	return fault.New(fault.Transient, "clickhouse: not an answer of ClickHouse: "+format, args...)
}

// unreachable gives an error of the connection its kind.
func (c *client) unreachable(ctx context.Context, w *watch, err error) error {
	if inner, ok := errors.AsType[*fault.Error](err); ok {
		return inner // from a body that refused to go on
	}
	if ctx.Err() != nil {
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			return fault.New(fault.Transient, "ask %s: no answer in time: %w", c.base.Host, context.Cause(ctx))
		}
		return fault.New(fault.Transient, "clickhouse: %w", context.Cause(ctx))
	}
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = fmt.Errorf("ask %s: %w", c.base.Host, outer.Err) // the whole address is long
	}
	if errors.Is(err, context.Canceled) && w != nil {
		err = fmt.Errorf("%w for %v", errSilent, w.silent)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fault.New(fault.Permanent, "clickhouse: %w", err)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fault.New(fault.Permanent, "clickhouse: %w", err)
	}
	return fault.New(fault.Transient, "clickhouse: %w", err)
}

// signed reports whether a response carries a header that only ClickHouse gives.
func signed(h http.Header) bool {
	for k := range h {
		if strings.HasPrefix(k, "X-Clickhouse-") {
			return true
		}
	}
	return false
}

// excerpt is the start of a text, on one line.
func excerpt(s string) string {
	const most = 300
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + " ..."
	}
	return s
}
