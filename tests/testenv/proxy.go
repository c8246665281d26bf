package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

// FaultyProxy is a Toxiproxy: a TCP proxy on loopback whose connections can be broken.
type FaultyProxy struct {
	proxy *toxiproxy.Proxy
	addr  string
	t     testing.TB
}

// Proxy starts a proxy in front of a host:port, which need not listen yet.
func Proxy(t testing.TB, addr string) *FaultyProxy {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics log to stderr whatever they are given
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	listen := Address(t)
	p := &FaultyProxy{proxy: toxiproxy.NewProxy(server, t.Name(), listen, addr), addr: listen, t: t}
	p.Up()
	t.Cleanup(p.Down)
	return p
}

// Addr is the proxy's host:port; it stays the same through Down and Up.
func (p *FaultyProxy) Addr() string { return p.addr }

// Down breaks every connection and refuses new ones.
func (p *FaultyProxy) Down() { p.proxy.Stop() }

// Up takes connections again; toxics stay as they were.
func (p *FaultyProxy) Up() {
	p.t.Helper()
	if err := p.proxy.Start(); err != nil {
		p.t.Errorf("start proxy on %s: %v", p.addr, err)
	}
}

// Toxic adds a fault under a name. Kinds and attributes are Toxiproxy's: latency (latency,
// jitter, ms), bandwidth (rate, KB/s), slow_close (delay, ms), timeout (timeout, ms; 0 is a black
// hole until the sender closes), reset_peer (timeout, ms), slicer, limit_data (bytes). Stream is
// "upstream" (what the client sends) or "downstream" (what it gets).
func (p *FaultyProxy) Toxic(t testing.TB, name, kind, stream string, attrs map[string]any) {
	t.Helper()
	toxic, err := json.Marshal(map[string]any{
		"name": name, "type": kind, "stream": stream, "attributes": attrs,
	})
	if err == nil {
		_, err = p.proxy.Toxics.AddToxicJson(bytes.NewReader(toxic))
	}
	if err != nil {
		t.Fatalf("add toxic %s: %v", name, err)
	}
}

// Remove takes a fault away.
func (p *FaultyProxy) Remove(t testing.TB, name string) {
	t.Helper()
	if err := p.proxy.Toxics.RemoveToxic(context.Background(), name); err != nil {
		t.Fatalf("remove toxic %s: %v", name, err)
	}
}

// ProxyLeaks makes goleak overlook the goroutines that Toxiproxy itself leaves behind when a
// toxic is taken from a connection that carries data, and the one of a proxy that is starting still.
func ProxyLeaks() []goleak.Option {
	const toxiproxy = "github.com/Shopify/toxiproxy/v2"
	return []goleak.Option{
		goleak.IgnoreAnyFunction(toxiproxy + ".(*ToxicLink).read"),
		goleak.IgnoreAnyFunction(toxiproxy + ".(*ToxicLink).write"),
		goleak.IgnoreAnyFunction(toxiproxy + ".(*Proxy).freeBlocker"),
		goleak.IgnoreAnyFunction(toxiproxy + "/toxics.(*ToxicStub).Run"),
	}
}
