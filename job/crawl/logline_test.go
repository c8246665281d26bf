package crawl

import (
	"testing"
	"time"
)

// TestLogLine: a line is, byte for byte, what Heritrix writes.
func TestLogLine(t *testing.T) {
	const want = "2011-06-23T17:12:09.591Z   200      15829 http://www.identitytheory.com/etexts/poetics.html L " +
		"http://www.identitytheory.com/ text/html #025 20110623171208546+922 sha1:7AJUMSDTOMT4FN7MBFGGNJU3Z56MLCMW - -\n"
	l := logLine{at: time.Date(2011, 6, 23, 17, 12, 9, 591e6, time.UTC), status: 200, size: 15829,
		url: "http://www.identitytheory.com/etexts/poetics.html", hops: "L", via: "http://www.identitytheory.com/", mime: "text/html",
		worker: 25, begun: time.Date(2011, 6, 23, 17, 12, 8, 546e6, time.UTC), took: 922 * time.Millisecond,
		digest: "sha1:7AJUMSDTOMT4FN7MBFGGNJU3Z56MLCMW"}
	if got := string(l.append(nil)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	l = logLine{at: l.at, status: -9998, size: -1, url: "http://a/b c\n", source: "seed", notes: []string{"x y", "z"}}
	const other = "2011-06-23T17:12:09.591Z -9998          - http://a/b_c_ - - unknown #000 - - seed x_y,z\n"
	if got := string(l.append(nil)); got != other {
		t.Errorf("got\n%swant\n%s", got, other)
	}
	l = logLine{at: l.at, status: 204, size: 0, url: "http://a/"}
	const third = "2011-06-23T17:12:09.591Z   204          0 http://a/ - - no-type #000 - - - -\n"
	if got := string(l.append(nil)); got != third {
		t.Errorf("got\n%swant\n%s", got, third)
	}
}
