package web

import (
	"net/netip"
	"slices"

	"holdfast/base/fault"
	"holdfast/connector"
)

// guard says which addresses may be dialled: those that all the world can reach, and those that a person named.
type guard struct{ allowed []netip.Prefix }

// closed4 are the IPv4 addresses that are not for all: what IANA's registry of special-purpose addresses (RFC 6890) does not call
// globally reachable, with multicast (RFC 5771), and the relays of 6to4 that are no more (RFC 7526).
var closed4 = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"224.0.0.0/4", "240.0.0.0/4")

// open6 are the IPv6 addresses that are for all, closed6 those among them that are not: protocol assignments with Teredo and
// ORCHID, and documentation.
var (
	open6   = netip.MustParsePrefix("2000::/3")
	closed6 = prefixes("2001::/23", "2001:db8::/32", "3fff::/20")
	nat64   = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052: the last four bytes are an IPv4 address
	sixTo4  = netip.MustParsePrefix("2002::/16")    // RFC 3056: it is behind the first two
)

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// permits reports whether an address may be dialled. named says that it stands in the URL and a person put it there.
func (g guard) permits(addr netip.Addr, named bool) bool {
	if addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap()
	if named || slices.ContainsFunc(g.allowed, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return true
	}
	within := func(p netip.Prefix) bool { return p.Contains(addr) }
	switch b := addr.As16(); {
	case !addr.IsValid():
		return false
	case addr.Is4():
		return !slices.ContainsFunc(closed4, within)
	case within(nat64):
		return g.permits(netip.AddrFrom4([4]byte(b[12:16])), false)
	case within(sixTo4):
		return g.permits(netip.AddrFrom4([4]byte(b[2:6])), false)
	}
	return within(open6) && !slices.ContainsFunc(closed6, within)
}

// permitted are those of some addresses that may be dialled.
func (g guard) permitted(all []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return !g.permits(a, false) })
}

func forbidden(host string, addr netip.Addr) error {
	return &connector.FetchError{Status: connector.FetchForbidden, Err: fault.WithHint(
		fault.New(fault.Invalid, "%s leads to %s, an address that is not for all", host, addr),
		"if it is one's own server, name its address: --allow-address %s", netip.PrefixFrom(addr, addr.BitLen()))}
}
