package supervise

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"holdfast/tests/testenv"
)

// node is a metrics endpoint whose values can be set; a metric that is set to "" is absent.
type node struct {
	*httptest.Server
	mu     sync.Mutex
	values map[string]string
}

func newNode(t *testing.T) *node {
	n := &node{values: map[string]string{"up_since": "1"}}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		for name, v := range n.values {
			if v != "" {
				fmt.Fprintf(w, "%s %s\n", name, v)
			}
		}
	}))
	t.Cleanup(n.Close)
	return n
}

func (n *node) set(name, value string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.values[name] = value
}

// has waits until Prometheus has a value of a metric, or none for "".
func has(t *testing.T, p *testenv.PrometheusServer, name, value string) {
	t.Helper()
	testenv.Until(t, soon, fmt.Sprintf("Prometheus has %s %q", name, value), func() bool {
		a, err := http.Get(p.URL() + "/api/v1/query?" + url.Values{"query": {name}}.Encode())
		if err != nil {
			return false
		}
		defer a.Body.Close()
		var x struct {
			Data struct {
				Result []struct{ Value [2]any }
			}
		}
		if json.NewDecoder(a.Body).Decode(&x) != nil {
			return false
		}
		if len(x.Data.Result) == 0 {
			return value == ""
		}
		return x.Data.Result[0].Value[1] == value
	})
}

const ibd = `
rules:
  - name: ibd
    from: {prometheus: {url: "URL", query: bitcoin_ibd}, every: 200ms}
    with: {blocks: {prometheus: {url: "URL", query: bitcoin_blocks}, every: 200ms}}
    state: {on: value == 1, off: value == 0 && blocks >= 596000, no_data: 1s}
    on_change: [{run: [/bin/sh, -c, 'echo "$0" >> BOX/ibd.out', "{{state.on}}"], initial: true}]
  - name: gone
    from: {prometheus: {url: "URL", query: bitcoin_ibd}, every: 200ms}
    when: {no_data: 1s}
    do: [{run: [/bin/sh, -c, 'echo gone >> BOX/gone.out']}]
`

// The value goes 1, 1, 0 (below and above the block at which it is believed), absent, 0, 1, through restarts of Prometheus and of
// Holdfast: three calls, and none for what did not change. That Prometheus is away is no data, and not a value.
func TestPrometheus(t *testing.T) {
	n := newNode(t)
	p := testenv.Prometheus(t, strings.TrimPrefix(n.URL, "http://"))
	b := newBox(t, strings.ReplaceAll(ibd, "URL", p.URL()))
	b.up()
	// seen waits until the supervisor has seen so many looks more.
	seen := func(more uint64) {
		t.Helper()
		from := b.rule("ibd").Matched
		b.until("looks", func() bool { return b.rule("ibd").Matched >= from+more })
	}
	set := func(ibd, blocks string) {
		t.Helper()
		n.set("bitcoin_ibd", ibd)
		n.set("bitcoin_blocks", blocks)
		has(t, p, "bitcoin_blocks", blocks)
		has(t, p, "bitcoin_ibd", ibd)
	}
	calls := func(want string) {
		t.Helper()
		b.until("calls "+want, func() bool { return strings.Join(strings.Fields(b.read("ibd.out")), " ") == want })
	}
	set("1", "1000")
	calls("true")
	seen(3)
	set("0", "595999") // below: not believed
	seen(5)
	calls("true")
	set("0", "596000")
	calls("true false")
	set("", "596000")
	b.until("no data", func() bool { return b.read("gone.out") != "" })
	b.kill() // a restart is no change
	b.up()
	p.Restart()
	set("0", "596001")
	seen(3)
	calls("true false")
	p.Kill()
	b.until("it says that nothing is known", func() bool { return len(b.events("gate.closed")) > 0 })
	p.Restart()
	has(t, p, "bitcoin_ibd", "0")
	seen(3)
	calls("true false")
	b.end()
	b.up()
	seen(3)
	set("1", "596001")
	calls("true false true")
	b.kill()
	b.up()
	seen(3)
	calls("true false true")
	b.end()
}
