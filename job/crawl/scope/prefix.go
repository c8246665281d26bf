package scope

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"holdfast/base/fault"
	"holdfast/base/weburl"
)

// The prefixes that a seed gives, as SURTs.Seeds names them.
const (
	seedHost   = "host"
	seedDomain = "domain"
	seedPath   = "path"
)

// New returns the scope of a list for these seeds, as a person wrote them. It reads the files that the list names. The
// error joins all faults, each of which begins with the name of its key; it is of the kind Invalid.
func New(l List, seeds []string) (*Scope, error) {
	c := &compiler{read: readPrefixes, seeds: seeds}
	rules := c.list(l)
	if len(c.faults) > 0 {
		return nil, fault.As(fault.Invalid, errors.Join(c.faults...))
	}
	return &Scope{rules: rules, heads: c.heads}, nil
}

// surts makes the rule of a test of SURT prefixes.
func (c *compiler) surts(t *Test, out *rule) {
	s := t.SURTs
	if s.Seeds != "" && s.Seeds != seedHost && s.Seeds != seedDomain && s.Seeds != seedPath {
		c.bad("surts.seeds", "want host, domain or path, got %q", s.Seeds)
		return
	}
	if s.Seeds == "" && len(s.List) == 0 && s.File == "" {
		c.bad("surts", "want at least one of seeds, list and file")
	}
	var all []string
	for i, line := range s.List {
		prefixes, err := prefixes(line)
		if err != nil {
			c.bad(fmt.Sprintf("surts.list[%d]", i), "%w", err)
		}
		all = append(all, prefixes...)
	}
	if s.File != "" && c.read != nil {
		prefixes, err := c.read(s.File)
		if err != nil {
			c.bad("surts.file", "%w", err)
		}
		all = append(all, prefixes...)
	}
	if s.Seeds != "" {
		for _, seed := range c.seeds {
			prefixes, err := seedPrefixes(seed, s.Seeds)
			if err != nil {
				c.bad("surts.seeds", "%w", err)
			}
			all = append(all, prefixes...)
		}
	}
	out.seeds, out.set = s.Seeds, newPrefixSet(all)
	out.make = func(set *prefixSet) condition {
		if t.Not {
			return prefixed(set, s.Via).not()
		}
		return prefixed(set, s.Via)
	}
	out.test = out.make(out.set)
}

// prefixes returns the SURT prefixes that a line of a list stands for: itself if it is one, or what a URL implies. A host
// without a slash stays open, http://(com,example, so that it is about the hosts below and all ports too; an address
// has none below, and needs two.
func prefixes(line string) ([]string, error) {
	s := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "+"))
	if rest, ok := strings.CutPrefix(strings.ToLower(s), "https://("); ok {
		return []string{"http://(" + rest}, nil // SURTs have no https
	}
	if strings.HasPrefix(strings.ToLower(s), "http://(") {
		return []string{strings.ToLower(s)}, nil
	}
	p, err := weburl.SURTPrefix(strings.TrimPrefix(s, "*."))
	if err != nil {
		return nil, fault.New(fault.Invalid, "%q is neither a SURT prefix nor a URL: %w", line, err)
	}
	host := strings.TrimPrefix(p, "http://(")
	switch {
	case strings.Contains(host, ")"), strings.HasSuffix(host, ","):
		return []string{p}, nil
	case strings.HasSuffix(host, "]"), host[0] != '[' && !strings.ContainsAny(host, ":@"): // an address
		return anyPort(p), nil
	}
	return []string{p + ")"}, nil // with a port, which must not be the beginning of another one
}

// seedPrefixes returns the SURT prefixes that a seed gives.
func seedPrefixes(seed, mode string) ([]string, error) {
	if mode == seedPath {
		return prefixes(seed)
	}
	s := strings.TrimSpace(seed)
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := weburl.Parse(s)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the seed %q: %w", seed, err)
	}
	host, _, _ := strings.Cut(u.SURT(), ")")
	host, _, _ = strings.Cut(host, "@")
	if mode == seedHost {
		return []string{host + ")"}, nil
	}
	if suffix, _ := publicsuffix.PublicSuffix(u.Host()); suffix == u.Host() { // those below are other people's
		return anyPort(strings.TrimSuffix(host, ":"+u.Port())), nil
	}
	return prefixes(u.Domain())
}

// anyPort makes the prefixes of a host alone.
func anyPort(host string) []string { return []string{host + ")", host + ":"} }

// readPrefixes reads a file of prefixes.
func readPrefixes(name string) (all []string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fault.WithHint(fault.New(fault.Permanent, "read the prefixes: %w", err), "is it there, and readable?")
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for number := 1; lines.Scan(); number++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		prefixes, err := prefixes(line)
		if err != nil {
			return nil, fault.New(fault.Invalid, "%s:%d: %w", name, number, err)
		}
		all = append(all, prefixes...)
	}
	if err := lines.Err(); err != nil {
		return nil, fault.New(fault.Permanent, "read the prefixes: %s: %w", name, err)
	}
	return all, nil
}

// prefixSet is a set of prefixes. In each of its two slices, which are sorted, none is a prefix of another: so the only
// one that can be a prefix of a string is the last that is not behind it. What is added goes to the small one first.
type prefixSet struct {
	all, late []string
}

// maxLate is how many prefixes are added before the two are merged.
const maxLate = 512

func newPrefixSet(all []string) *prefixSet { return &prefixSet{all: sorted(all)} }

// sorted sorts prefixes and leaves out those that another one covers.
func sorted(all []string) []string {
	all = slices.Clone(all)
	slices.Sort(all)
	kept := all[:0]
	for _, p := range all {
		if len(kept) == 0 || !strings.HasPrefix(p, kept[len(kept)-1]) {
			kept = append(kept, p)
		}
	}
	return kept
}

func (s *prefixSet) len() int { return len(s.all) + len(s.late) }

// find returns the prefix of surt that is in the set.
func (s *prefixSet) find(surt string) (string, bool) {
	if p, ok := within(s.all, surt); ok || len(s.late) == 0 {
		return p, ok
	}
	return within(s.late, surt)
}

func within(all []string, surt string) (string, bool) {
	i, found := slices.BinarySearch(all, surt)
	switch {
	case found:
		return surt, true
	case i > 0 && strings.HasPrefix(surt, all[i-1]):
		return all[i-1], true
	}
	return "", false
}

// with returns the set with further prefixes.
func (s *prefixSet) with(more []string) *prefixSet {
	late := s.late
	for _, p := range more {
		if _, ok := s.find(p); !ok {
			late = sorted(append(slices.Clone(late), p))
		}
	}
	if len(late) > maxLate {
		return newPrefixSet(append(slices.Clone(s.all), late...))
	}
	return &prefixSet{s.all, late}
}
