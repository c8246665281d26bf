package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"holdfast/base/fault"
)

const (
	// lateIPv6 is how long is waited for IPv6 addresses when those of IPv4 are there: some servers never answer for them.
	lateIPv6 = time.Second
	// maxDatagram is the longest answer over UDP that is read, in bytes.
	maxDatagram = 4096
	// maxAliases is how many names a host may lead over.
	maxAliases = 16
)

// found is what name servers say of a host.
type found struct {
	server string // that said it
	addrs  []netip.Addr
	ttl    time.Duration // of what has the shortest; 0 if nothing has any
	text   []byte        // the records, a line each
}

// addressesOf asks name servers (RFC 1035) for both kinds of addresses at a time. One kind is enough: if those of IPv4 are
// there, the others have some time more, late.
func addressesOf(ctx context.Context, s servers, host string, late time.Duration) (found, error) {
	ctx6, cancel := context.WithCancel(ctx)
	defer cancel()
	var six found
	var err6 error
	var wg sync.WaitGroup
	wg.Go(func() { six, err6 = ask(ctx6, s, host, dns.TypeAAAA) })
	four, err := ask(ctx, s, host, dns.TypeA)
	if err == nil && len(four.addrs) > 0 {
		defer time.AfterFunc(late, cancel).Stop()
	}
	wg.Wait()
	switch {
	case err != nil && (err6 != nil || len(six.addrs) == 0):
		return four, err
	case err != nil:
		return six, nil
	case err6 != nil && len(four.addrs) == 0:
		return six, err6
	case err6 != nil:
		return four, nil
	}
	return both(four, six), nil
}

// both joins what was said of the two kinds. A name without addresses is one as long as the shorter of them says.
func both(four, six found) found {
	all := found{server: four.server, addrs: append(four.addrs, six.addrs...), text: append(four.text, six.text...)}
	for _, f := range []found{four, six} {
		if len(f.addrs) == 0 && len(all.addrs) > 0 {
			continue
		}
		if all.ttl == 0 || f.ttl < all.ttl {
			all.ttl = f.ttl
		}
	}
	return all
}

// ask asks one server after the other, until one knows.
func ask(ctx context.Context, s servers, host string, kind uint16) (found, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(host), kind)
	var last error
	silent := true
	for range s.attempts {
		for _, server := range s.addrs {
			m.Id = dns.Id()
			in, err := query(ctx, m, server, s.timeout)
			if err == nil {
				return read(in, host, kind, server), nil
			}
			_, said := errors.AsType[useless](err)
			silent = silent && !said
			if last = err; ctx.Err() != nil {
				return found{}, noAnswer(host, err, silent && !speaks(ctx, s))
			}
		}
	}
	return found{}, noAnswer(host, last, silent && !speaks(ctx, s))
}

// askAgain is how long a name server has to show that it is there.
const askAgain = 2 * time.Second

// speaks reports whether a name server says anything at all, of the root: one may be mute because those behind it are, who
// know of a host.
func speaks(ctx context.Context, s servers) bool {
	if errors.Is(ctx.Err(), context.Canceled) { // nobody wants to know any more
		return true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askAgain)
	defer cancel()
	for _, server := range s.addrs {
		m := new(dns.Msg)
		m.SetQuestion(".", dns.TypeNS)
		_, err := query(ctx, m, server, s.timeout)
		if _, said := errors.AsType[useless](err); err == nil || said {
			return true
		}
	}
	return false
}

// errSilent is that no name server says anything: it is this end that is away.
var errSilent = errors.New("no name server answers")

// useless is an answer of a name server that settles nothing.
type useless string

func (u useless) Error() string { return string(u) }

func noAnswer(host string, err error, silent bool) error {
	if silent {
		err = fmt.Errorf("%w: %w", errSilent, err)
	}
	return fault.WithHint(fault.New(fault.Transient, "look up %s: %w", host, err),
		"is the network up? do the name servers of /etc/resolv.conf answer?")
}

// query asks one server, over UDP, and over TCP for what does not fit. An answer that settles nothing is an error.
func query(ctx context.Context, m *dns.Msg, server string, timeout time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	in, err := over(ctx, "udp", m, server)
	if err == nil && in.Truncated {
		in, err = over(ctx, "tcp", m, server)
	}
	switch {
	case err != nil:
		return nil, err
	case !echoes(in, m.Question[0]):
		return nil, useless(server + " answers another question")
	case in.Rcode != dns.RcodeSuccess && in.Rcode != dns.RcodeNameError:
		return nil, useless(server + " says " + dns.RcodeToString[in.Rcode])
	}
	return in, nil
}

// echoes reports whether an answer is one to q.
func echoes(in *dns.Msg, q dns.Question) bool {
	return len(in.Question) == 1 && in.Question[0].Qtype == q.Qtype && strings.EqualFold(in.Question[0].Name, q.Name)
}

// over sends a question and reads the answer. The library's own client does not see that a context ends while it reads.
func over(ctx context.Context, network string, m *dns.Msg, server string) (*dns.Msg, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c := &dns.Conn{Conn: conn, UDPSize: maxDatagram}
	if err := c.WriteMsg(m); err != nil {
		return nil, err
	}
	for {
		in, err := c.ReadMsg()
		if err != nil {
			return nil, err
		}
		if in.Id == m.Id && in.Response { // others are late, or not the server's
			return in, nil
		}
	}
}

// read takes from an answer what belongs to the host: its addresses, and the aliases that lead to them.
func read(in *dns.Msg, host string, kind uint16, server string) found {
	f := found{server: server}
	owner := dns.Fqdn(host)
	for range maxAliases {
		alias := ""
		for _, rr := range in.Answer {
			if !strings.EqualFold(rr.Header().Name, owner) || rr.Header().Class != dns.ClassINET {
				continue
			}
			switch rr := rr.(type) {
			case *dns.CNAME:
				alias = rr.Target
			case *dns.A:
				f.add(rr.A, kind == dns.TypeA)
			case *dns.AAAA:
				f.add(rr.AAAA, kind == dns.TypeAAAA)
			}
			f.note(rr)
		}
		if alias == "" || len(f.addrs) > 0 {
			break
		}
		owner = alias
	}
	if len(f.addrs) == 0 {
		f.ttl = negative(in)
	}
	return f
}

// add takes an address, if it is of the kind that was asked for.
func (f *found) add(ip []byte, wanted bool) {
	if addr, ok := netip.AddrFromSlice(ip); ok && wanted && !slices.Contains(f.addrs, addr.Unmap()) {
		f.addrs = append(f.addrs, addr.Unmap())
	}
}

// note takes a record into the text, and its time.
func (f *found) note(rr dns.RR) {
	f.text = append(append(f.text, rr.String()...), '\n')
	ttl := time.Duration(rr.Header().Ttl) * time.Second
	if rr.Header().Ttl > 1<<31-1 {
		ttl = 0 // RFC 2181, 8
	}
	if ttl = max(ttl, minTTL); f.ttl == 0 || ttl < f.ttl {
		f.ttl = ttl
	}
}

// negative is how long it is so that there is nothing (RFC 2308, 5).
func negative(in *dns.Msg) time.Duration {
	for _, rr := range in.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return time.Duration(min(soa.Minttl, soa.Hdr.Ttl)) * time.Second
		}
	}
	return maxNone
}

// ipv4First puts addresses of IPv4 before the others: they are what archives have known a host by, and lead through no tunnel.
func ipv4First(addrs []netip.Addr) {
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
}
