package web

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"holdfast/base/fault"
	"holdfast/connector"
)

// nameserver answers by records of a zone file.
type nameserver struct {
	addr netip.AddrPort

	mu      sync.Mutex        // guards the rest
	records map[string]string // what is asked, as "name TYPE", and the records that answer
	code    map[string]int    // what is asked, and the error; -1 for no answer, -2 for that to another question
	asked   []string          // with the network
}

func (n *nameserver) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := r.Question[0].Name + " " + dns.TypeToString[r.Question[0].Qtype]
	network := w.LocalAddr().Network()
	n.asked = append(n.asked, network+" "+key)
	m := new(dns.Msg)
	m.SetReply(r)
	for line := range strings.Lines(n.records[key]) {
		rr, err := dns.NewRR(line)
		if err != nil {
			m.Rcode = dns.RcodeFormatError
		} else if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	switch code := n.code[key]; {
	case code == -1:
		return
	case code == -2:
		m.Question[0].Name = "other.example."
	case code > 0:
		m.Rcode = code
	}
	if network == "udp" {
		m.Truncate(512)
	}
	_ = w.WriteMsg(m)
}

func (n *nameserver) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.asked)
}

// names runs a name server over UDP and TCP.
func names(t *testing.T, records map[string]string, code map[string]int) *nameserver {
	t.Helper()
	n := &nameserver{records: records, code: code}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.addr = netip.MustParseAddrPort(l.Addr().String())
	p, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	for _, s := range []*dns.Server{{Listener: l, Handler: n}, {PacketConn: p, Handler: n}} {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		wg.Go(func() { _ = s.ActivateAndServe() })
		<-up
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return n
}

// asking is a resolver of a name server.
func asking(servers ...netip.AddrPort) *resolver {
	r := newResolver(servers)
	r.hosts.path = "testdata/hosts"
	return r
}

func TestLookup(t *testing.T) {
	many := ""
	for i := range 60 {
		many += fmt.Sprintf("many.example. 60 IN A 127.1.1.%d\n", i)
	}
	n := names(t, map[string]string{
		"plain.example. A":   "plain.example. 300 IN A 127.0.0.1\n",
		"both.example. A":    "both.example. 300 IN A 127.0.0.1\n",
		"both.example. AAAA": "both.example. 60 IN AAAA ::1\n",
		"alias.example. A": "real.example. 20 IN A 127.0.0.3\nstray.example. 1 IN A 9.9.9.9\n" +
			"alias.example. 600 IN CNAME real.example.\n",
		"circle.example. A": "circle.example. 60 IN CNAME circle.example.\n",
		"six.example. AAAA": "six.example. 300 IN AAAA ::1\n",
		"mapped.example. A": "mapped.example. 0 IN A 127.0.0.1\n",
		"long.example. A":   "long.example. 999999 IN A 127.0.0.1\n",
		"many.example. A":   many,
		"none.example. A":   "example. 900 IN SOA a. b. 1 2 3 4 30\n",
		"silent.example. A": "silent.example. 300 IN A 127.0.0.1\n",
	}, map[string]int{"no.example. A": dns.RcodeNameError, "no.example. AAAA": dns.RcodeNameError,
		"sick.example. A": dns.RcodeServerFailure, "sick.example. AAAA": dns.RcodeServerFailure,
		"silent.example. AAAA": -1, "odd.example. A": -2, "odd.example. AAAA": -2, "halfsick.example. A": dns.RcodeServerFailure})
	for host, want := range map[string]struct {
		addrs string
		ttl   time.Duration
		keep  time.Duration
		kind  fault.Kind
	}{
		"plain.example":  {"[127.0.0.1]", 300 * time.Second, 300 * time.Second, 0},
		"both.example":   {"[127.0.0.1 ::1]", 60 * time.Second, 60 * time.Second, 0},
		"alias.example":  {"[127.0.0.3]", 20 * time.Second, 20 * time.Second, 0},
		"six.example":    {"[::1]", 300 * time.Second, 300 * time.Second, 0},
		"mapped.example": {"[127.0.0.1]", time.Second, time.Second, 0},
		"long.example":   {"[127.0.0.1]", 999999 * time.Second, maxTTL, 0},
		"silent.example": {"[127.0.0.1]", 300 * time.Second, 300 * time.Second, 0},
		"circle.example": {"[]", maxNone, maxNone, fault.NotFound},
		"none.example":   {"[]", 30 * time.Second, 30 * time.Second, fault.NotFound},
		"no.example":     {"[]", maxNone, maxNone, fault.NotFound},
		"sick.example":   {"[]", 0, maxTrouble, fault.Transient},
		"odd.example":    {"[]", 0, maxTrouble, fault.Transient},
		"mine.example":   {"[127.0.0.1 ::1]", minTTL, minTTL, 0},
		"localhost":      {"[127.0.0.1 ::1]", minTTL, minTTL, 0},
	} {
		r := asking(n.addr)
		r.late = 50 * time.Millisecond
		addrs, l, err := r.find(t.Context(), host)
		if fmt.Sprint(addrs) != want.addrs || l == nil || l.TTL != want.ttl || fault.KindOf(err) != want.kind {
			t.Errorf("%s: got %v, %+v, %v", host, addrs, l, err)
			continue
		}
		if len(addrs) > 0 && (l.At.IsZero() || l.Took <= 0 || l.Took > 4*time.Second ||
			strings.Count(string(l.Answer), "\n") < len(addrs) || l.Host != host) {
			t.Errorf("%s: the look-up is %+v", host, l)
		}
		if inFile := host == "localhost" || host == "mine.example"; (l.Server == "") != (inFile || want.kind == fault.Transient) {
			t.Errorf("%s: the server is %q", host, l.Server)
		}
		if keep := time.Until(r.names[host].until); keep > want.keep || keep < want.keep-time.Minute/2 {
			t.Errorf("%s: it is kept for %s, want %s", host, keep, want.keep)
		}
		before := n.count()
		again, l, err2 := r.find(t.Context(), strings.TrimSuffix(host, ".")+".")
		if fmt.Sprint(again) != want.addrs || l != nil || fmt.Sprint(err) != fmt.Sprint(err2) || n.count() != before {
			t.Errorf("%s: asked again, got %v, %v, %v", host, again, l, err2)
		}
		r.names[host].until = time.Now()
		if _, l, _ := r.find(t.Context(), host); l == nil {
			t.Errorf("%s: it was remembered for too long", host)
		}
	}
	addrs, l, err := asking(n.addr).find(t.Context(), "many.example")
	if err != nil || len(addrs) != 60 || strings.Count(string(l.Answer), "\n") != 60 {
		t.Errorf("what does not fit: got %d addresses, %v", len(addrs), err)
	}
}

// TestServers asks the next server when one is of no use.
func TestServers(t *testing.T) {
	good := names(t, map[string]string{"a.example. A": "a.example. 300 IN A 127.0.0.1\n"}, nil)
	sick := names(t, nil, map[string]int{"a.example. A": dns.RcodeServerFailure, "a.example. AAAA": dns.RcodeRefused})
	for _, first := range []netip.AddrPort{sick.addr, netip.MustParseAddrPort("127.0.0.1:1")} {
		_, l, err := asking(first, good.addr).find(t.Context(), "a.example")
		if err != nil || l.Server != good.addr.String() {
			t.Errorf("behind %s: got %+v, %v", first, l, err)
		}
	}
}

// TestAskers has many wait for one look-up. When the one who asked goes away, another one asks.
func TestAskers(t *testing.T) {
	n := names(t, map[string]string{"a.example. A": "a.example. 300 IN A 127.0.0.1\n"},
		map[string]int{"a.example. AAAA": -1, "a.example. A": -1})
	r := asking(n.addr)
	r.late = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	made := make(chan *connector.Lookup, 20)
	wg.Go(func() {
		if _, _, err := r.find(ctx, "a.example"); err == nil {
			t.Error("found by one who went away")
		}
	})
	for n.count() < 2 { // both kinds are asked for
		time.Sleep(time.Millisecond)
	}
	for range cap(made) {
		wg.Go(func() {
			addrs, l, err := r.find(t.Context(), "a.example")
			if err != nil || len(addrs) != 1 {
				t.Errorf("got %v, %v", addrs, err)
			}
			made <- l
		})
	}
	n.mu.Lock()
	delete(n.code, "a.example. A")
	n.mu.Unlock()
	cancel()
	wg.Wait()
	close(made)
	own := 0
	for l := range made {
		if l != nil {
			own++
		}
	}
	if own != 1 {
		t.Errorf("%d look-ups were made, want 1", own)
	}
	if len(r.names) != 1 || r.order.Len() != 1 {
		t.Errorf("%d names, %d in order", len(r.names), r.order.Len())
	}
}

// TestFetchByName fetches from a host by its name: the look-up goes with the exchange for which it was made.
func TestFetchByName(t *testing.T) {
	s := answering(t, okAnswer)
	_, port, _ := net.SplitHostPort(s.Addr().String())
	n := names(t, map[string]string{
		"www.example. A":   "www.example. 300 IN A 127.0.0.1\n",
		"inner.test. A":    "inner.test. 300 IN A 10.0.0.1\ninner.test. 300 IN A 169.254.169.254\n",
		"mixed.example. A": "mixed.example. 300 IN A 10.0.0.1\nmixed.example. 300 IN A 127.0.0.1\n",
	}, map[string]int{"no.example. A": dns.RcodeNameError, "no.example. AAAA": dns.RcodeNameError})
	f := fetcher(t, Config{Nameservers: []netip.AddrPort{n.addr}})
	x := get(t, f, "http://www.example:"+port+"/")
	if x.Looked == nil || string(x.Looked.Answer) != "www.example.\t300\tIN\tA\t127.0.0.1\n" || x.Looked.Server != n.addr.String() {
		t.Errorf("the look-up is %+v", x.Looked)
	}
	if x.Begun.Before(x.Looked.At.Add(x.Looked.Took)) {
		t.Error("the exchange began before the look-up ended")
	}
	equal(t, "remote", x.Remote.String(), s.Addr().String())
	f.idle.close()
	f.idle = newPool(1, time.Minute)
	if x := get(t, f, "http://www.example:"+port+"/"); x.Looked != nil {
		t.Errorf("a look-up that was remembered: %+v", x.Looked)
	}
	get(t, f, "http://mixed.example:"+port+"/")
	failure := failing(t, f, page("http://inner.test:"+port), connector.FetchForbidden)
	if failure.Looked == nil {
		t.Error("the look-up is not told")
	}
	failure = failing(t, f, page("http://no.example:"+port), connector.FetchNoName)
	if failure.Looked == nil || !fault.Is(failure, fault.NotFound) {
		t.Errorf("the look-up is %v, the kind %s", failure.Looked, fault.KindOf(failure))
	}
	if failure.Here {
		t.Error("a name server that answers is taken for none")
	}
	// Nobody is behind the port any more: the name is looked up again, for its host may have moved.
	get(t, f, "http://www.example:"+port+"/")
	s.Close()
	f.idle.close()
	f.idle = newPool(1, time.Minute)
	if failure = failing(t, f, page("http://www.example:"+port+"/"), connector.FetchNoConnect); failure.Looked != nil || failure.Here {
		t.Errorf("got %+v", failure)
	}
	if failure = failing(t, f, page("http://www.example:"+port+"/"), connector.FetchNoConnect); failure.Looked == nil {
		t.Error("an address was believed that nobody has any more")
	}
	deaf := fetcher(t, Config{LookupTimeout: 50 * time.Millisecond})
	if err := failing(t, deaf, page("http://www.example/"), connector.FetchNoName); !fault.Is(err, fault.Transient) || !err.Here {
		t.Errorf("got the kind %s, here %v", fault.KindOf(err), err.Here)
	}
	mute := names(t, nil, map[string]int{"www.example. A": -1, "www.example. AAAA": -1})
	muted := fetcher(t, Config{Nameservers: []netip.AddrPort{mute.addr}, LookupTimeout: 50 * time.Millisecond})
	if err := failing(t, muted, page("http://www.example/"), connector.FetchNoName); !fault.Is(err, fault.Transient) || err.Here {
		t.Errorf("one name that nothing is said of: got the kind %s, here %v", fault.KindOf(err), err.Here)
	}
	broken := names(t, nil, map[string]int{"www.example. A": dns.RcodeServerFailure, "www.example. AAAA": dns.RcodeServerFailure})
	broke := fetcher(t, Config{Nameservers: []netip.AddrPort{broken.addr}})
	if err := failing(t, broke, page("http://www.example/"), connector.FetchNoName); !fault.Is(err, fault.Transient) || err.Here {
		t.Errorf("got the kind %s, here %v", fault.KindOf(err), err.Here)
	}
}

// TestSystemFiles reads them again when they change.
func TestSystemFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	r := &resolvConf{file: file{path: path}}
	for text, want := range map[string]string{
		"":                       "[127.0.0.1:53]",
		"nameserver 127.0.0.9\n": "[127.0.0.9:53]",
		"nameserver ::1\nnameserver 127.0.0.9\noptions timeout:1 attempts:3\n": "[[::1]:53 127.0.0.9:53]",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r.looked = time.Time{}.Add(1) // long ago
		s, err := r.read()
		if err != nil || fmt.Sprint(s.addrs) != want || s.timeout <= 0 || s.attempts <= 0 {
			t.Errorf("%q: got %+v, %v", text, s, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.looked = time.Time{}.Add(1)
	if s, err := r.read(); err != nil || fmt.Sprint(s.addrs) != "[127.0.0.1:53]" {
		t.Errorf("without the file: got %+v, %v", s, err)
	}
	h := &hostsFile{file: file{path: filepath.Join(t.TempDir(), "none")}}
	if got := h.find("a"); got != nil {
		t.Errorf("without the file: got %v", got)
	}
}

// TestForgetting bounds how many names are remembered.
func TestForgetting(t *testing.T) {
	r := asking()
	for i := range maxNames + 100 {
		if _, _, err := r.find(t.Context(), fmt.Sprintf("h%d.localhost", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.names) != maxNames || r.order.Len() != maxNames || r.names["h0.localhost"] != nil {
		t.Errorf("%d names, %d in order", len(r.names), r.order.Len())
	}
}
