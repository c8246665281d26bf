package web

import (
	"container/list"
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

const (
	// maxNames is how many hosts are remembered.
	maxNames = 20_000
	// minTTL and maxTTL bound for how long, whatever a server says.
	minTTL, maxTTL = time.Second, 6 * time.Hour
	// maxNone is for how long it is remembered that a name has no address, maxTrouble that no server could say.
	maxNone, maxTrouble = 5 * time.Minute, 5 * time.Second
)

// resolver finds the addresses of hosts: in this machine's file of them, or by asking name servers, and remembers them as long as
// the servers say.
type resolver struct {
	hosts *hostsFile
	conf  *resolvConf
	late  time.Duration // see lateIPv6

	mu    sync.Mutex // guards the rest, and the names
	names map[string]*name
	order *list.List // of *name, the one used least recently first
}

// name is a host that was asked for, or is being asked for.
type name struct {
	host  string
	place *list.Element
	known chan struct{} // closed when the rest is there
	addrs []netip.Addr
	err   error
	until time.Time
	left  bool // who asked went away before there was an answer
}

func newResolver(servers []netip.AddrPort) *resolver {
	return &resolver{hosts: &hostsFile{file: file{path: "/etc/hosts"}},
		conf: &resolvConf{file: file{path: "/etc/resolv.conf"}, fixed: servers},
		late: lateIPv6, names: map[string]*name{}, order: list.New()}
}

// find gives the addresses of a host, at least one, and the look-up if it was made now. An error is NotFound if the host has
// none, Transient if nobody could say.
func (r *resolver) find(ctx context.Context, host string) ([]netip.Addr, *connector.Lookup, error) {
	host = strings.TrimSuffix(host, ".")
	for {
		n, mine := r.name(host)
		if mine {
			made := r.ask(ctx, n)
			return n.addrs, made, n.err
		}
		select {
		case <-n.known:
		case <-ctx.Done():
			return nil, nil, fault.New(fault.Transient, "look up %s: %w", host, ctx.Err())
		}
		if !n.left {
			return n.addrs, nil, n.err
		}
	}
}

// name is what is known of a host. It is the caller's to find out if nobody has, or it was too long ago.
func (r *resolver) name(host string) (n *name, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n = r.names[host]; n != nil && (n.until.IsZero() || time.Now().Before(n.until)) {
		r.order.MoveToBack(n.place)
		return n, false
	}
	if n != nil {
		r.forget(n)
	}
	n = &name{host: host, known: make(chan struct{})}
	n.place = r.order.PushBack(n)
	r.names[host] = n
	if r.order.Len() > maxNames {
		r.forget(r.order.Front().Value.(*name))
	}
	return n, true
}

// forget lets a name go; r.mu is held.
func (r *resolver) forget(n *name) {
	r.order.Remove(n.place)
	if r.names[n.host] == n {
		delete(r.names, n.host)
	}
}

// drop has a host's name be looked up again.
func (r *resolver) drop(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.names[strings.TrimSuffix(host, ".")]; n != nil && !n.until.IsZero() {
		r.forget(n)
	}
}

// ask finds out about a name, for all who wait for it.
func (r *resolver) ask(ctx context.Context, n *name) *connector.Lookup {
	l, keep, err := r.look(ctx, n.host)
	if err == nil && len(l.Addresses) == 0 {
		err = fault.New(fault.NotFound, "look up %s: it has no address", n.host)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n.addrs, n.err, n.until = l.Addresses, err, time.Now().Add(keep)
	if n.left = errors.Is(ctx.Err(), context.Canceled) && err != nil; n.left && r.names[n.host] == n {
		r.forget(n)
	}
	close(n.known)
	return &l
}

// look makes a look-up, and says for how long its outcome is good.
func (r *resolver) look(ctx context.Context, host string) (connector.Lookup, time.Duration, error) {
	l := connector.Lookup{Host: host, At: time.Now()}
	if addrs := r.local(host); len(addrs) > 0 {
		l.Addresses, l.Took, l.TTL = addrs, time.Since(l.At), minTTL
		l.Answer = written(host, addrs)
		return l, minTTL, nil
	}
	conf, err := r.conf.read()
	if err != nil {
		return l, maxTrouble, err
	}
	a, err := addressesOf(ctx, conf, host, r.late)
	l.Took = time.Since(l.At)
	l.Server, l.Addresses, l.TTL, l.Answer = a.server, a.addrs, a.ttl, a.text
	switch {
	case err != nil:
		return l, maxTrouble, err
	case len(a.addrs) == 0:
		return l, min(max(a.ttl, minTTL), maxNone), nil
	}
	return l, min(max(a.ttl, minTTL), maxTTL), nil
}

// local are the addresses that this machine knows by itself. The names of itself never leave it (RFC 6761, 6.3).
func (r *resolver) local(host string) []netip.Addr {
	if addrs := r.hosts.find(host); len(addrs) > 0 {
		return addrs
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return nil
}

// written is an answer that no server gave, in the form of one.
func written(host string, addrs []netip.Addr) []byte {
	var b strings.Builder
	for _, a := range addrs {
		kind := "AAAA"
		if a.Is4() {
			kind = "A"
		}
		b.WriteString(host + ".\t0\tIN\t" + kind + "\t" + a.String() + "\n")
	}
	return []byte(b.String())
}
