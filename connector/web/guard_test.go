package web

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"holdfast/base/fault"
	"holdfast/connector"
)

func TestGuard(t *testing.T) {
	g := guard{allowed: prefixes("10.1.0.0/16", "fd00:1::/32", "2001:db8:1::/48")}
	open := `8.8.8.8 193.0.14.129 223.255.255.255 192.0.1.1 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1
		2a00:1450::1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1
		10.1.2.3 ::ffff:10.1.2.3 64:ff9b::a01:203 2002:a01:203::1 fd00:1::5 2001:db8:1::2`
	closed := `0.0.0.0 0.1.2.3 10.0.0.1 10.255.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.9.9.9 169.254.169.254 172.16.0.1
		172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255
		198.51.100.7 203.0.113.9 224.0.0.1 239.1.1.1 240.0.0.1
		255.255.255.255 :: ::1 ::8.8.8.8 fe80::1 fe80::1%eth0 fc00::1 fd12::1 ff02::1 fec0::1 2001::1 2001:db8::1 3fff::1 100::1 5f00::1
		64:ff9b:1::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 64:ff9b::a00:1 2002:7f00:1::1 2002:c0a8:101::1`
	for want, texts := range map[bool]string{true: open, false: closed} {
		for _, text := range strings.Fields(texts) {
			if got := g.permits(netip.MustParseAddr(text), false); got != want {
				t.Errorf("%s: got %t, want %t", text, got, want)
			}
		}
	}
	if g.permits(netip.Addr{}, false) {
		t.Error("no address is permitted")
	}
}

// TestForbidden asks for what the guard refuses: nobody is dialled.
func TestForbidden(t *testing.T) {
	s := answering(t, okAnswer)
	_, port, _ := net.SplitHostPort(s.Addr().String())
	f := strict(t, Config{})
	ask := func(host string, literal bool) connector.FetchRequest {
		return connector.FetchRequest{URL: "http://" + host + ":" + port + "/", Literal: literal}
	}
	for _, r := range []connector.FetchRequest{ask("127.0.0.1", false), ask("[::ffff:127.0.0.1]", false), ask("[::1]", false),
		ask("localhost", false), ask("localhost", true), ask("x.localhost.", true), ask("mine.example", true),
		ask("inner.example", false)} {
		failure := failing(t, f, r, connector.FetchForbidden)
		if !fault.Is(failure, fault.Invalid) || fault.HintOf(failure) == "" {
			t.Errorf("%s: of the kind %s, with the hint %q", r.URL, fault.KindOf(failure), fault.HintOf(failure))
		}
	}
	if got := s.conns.Load(); got != 0 {
		t.Fatalf("%d connections were made", got)
	}
	x, err := f.Fetch(t.Context(), ask("127.0.0.1", true))
	if err != nil {
		t.Fatal(err)
	}
	_ = x.Close()
	// The connection that is kept is not for those who may not make one.
	failing(t, f, ask("127.0.0.1", false), connector.FetchForbidden)
	f.guard.allowed = loopback
	get(t, f, ask("mine-too.example", false).URL)
}

// TestDialled has the guard look at what is dialled, whatever was looked at before.
func TestDialled(t *testing.T) {
	s := answering(t, okAnswer)
	at := netip.MustParseAddrPort(s.Addr().String())
	c := &call{f: strict(t, Config{}), ctx: t.Context(), target: target{host: "rebound.example", port: at.Port()}}
	for _, literal := range []netip.Addr{{}, netip.MustParseAddr("127.0.0.2")} {
		c.request.Literal, c.target.literal = literal.IsValid(), literal
		conn, err := c.reach(context.Background(), []netip.Addr{at.Addr()})
		if failure, ok := errors.AsType[*connector.FetchError](err); !ok || failure.Status != connector.FetchForbidden {
			t.Errorf("got %v and %v, want that it is forbidden", conn, err)
		}
	}
	if got := s.conns.Load(); got != 0 {
		t.Errorf("%d connections were made", got)
	}
}

// TestAddresses tries the addresses of a host one after the other.
func TestAddresses(t *testing.T) {
	s := answering(t, okAnswer)
	at := netip.MustParseAddrPort(s.Addr().String())
	c := &call{f: fetcher(t, Config{}), ctx: t.Context(), target: target{host: "many.example", port: at.Port()}}
	dead := netip.MustParseAddr("127.0.0.77")
	for _, addrs := range [][]netip.Addr{{at.Addr()}, {dead, at.Addr()}, {dead, netip.IPv6Loopback(), at.Addr(), dead},
		{at.Addr(), at.Addr()}} {
		conn, err := c.reach(t.Context(), addrs)
		if err != nil {
			t.Errorf("%v: %v", addrs, err)
			continue
		}
		_ = conn.Close()
	}
	if conn, err := c.reach(t.Context(), []netip.Addr{dead, dead}); err == nil {
		t.Errorf("connected to %s", conn.RemoteAddr())
	}
	failing(t, c.f, page("http://127.0.0.77:1/"), connector.FetchNoConnect)
}
