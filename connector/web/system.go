package web

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"holdfast/base/fault"
)

// recheck is how long a file of the system is believed to be what it was.
const recheck = 5 * time.Second

// file is one of the system's that may change while we run.
type file struct {
	path   string
	looked time.Time
	mtime  time.Time
	size   int64
}

// changed reports whether it has to be read, anew or for the first time.
func (f *file) changed() (bool, error) {
	if time.Since(f.looked) < recheck {
		return false, nil
	}
	info, err := os.Stat(f.path)
	if err != nil {
		f.forget()
		return false, err
	}
	first := f.looked.IsZero()
	f.looked = time.Now()
	if !first && info.ModTime().Equal(f.mtime) && info.Size() == f.size {
		return false, nil
	}
	f.mtime, f.size = info.ModTime(), info.Size()
	return true, nil
}

// forget has it read anew the next time.
func (f *file) forget() { f.looked = time.Time{} }

// hostsFile is /etc/hosts (hosts(5)).
type hostsFile struct {
	mu sync.Mutex // guards all
	file
	names map[string][]netip.Addr
}

// find gives the addresses of a host that stand in the file, IPv4 first. A file that can't be read has none.
func (h *hostsFile) find(host string) []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	if changed, err := h.changed(); err != nil {
		h.names = nil
	} else if changed {
		text, err := os.ReadFile(h.path)
		if err != nil {
			h.forget()
		}
		h.names = parseHosts(string(text))
	}
	return h.names[host]
}

func parseHosts(text string) map[string][]netip.Addr {
	names := map[string][]netip.Addr{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		if err != nil || addr.Zone() != "" {
			continue
		}
		for _, word := range words[1:] {
			key := strings.TrimSuffix(strings.ToLower(word), ".")
			names[key] = append(names[key], addr)
		}
	}
	for _, addrs := range names {
		ipv4First(addrs)
	}
	return names
}

// resolvConf is /etc/resolv.conf (resolv.conf(5)). Its search list is not for us: hosts of URLs are whole.
type resolvConf struct {
	fixed []netip.AddrPort // asked instead of those in the file

	mu sync.Mutex // guards the rest
	file
	conf *dns.ClientConfig
}

// servers are the name servers that are asked, how long each may take, and how often they are asked.
type servers struct {
	addrs    []string
	timeout  time.Duration
	attempts int
}

func (r *resolvConf) read() (servers, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := servers{timeout: 5 * time.Second, attempts: 2}
	for _, a := range r.fixed {
		s.addrs = append(s.addrs, a.String())
	}
	if len(s.addrs) > 0 {
		return s, nil
	}
	changed, err := r.changed()
	if changed {
		r.conf, err = dns.ClientConfigFromFile(r.path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.addrs = []string{"127.0.0.1:53"} // as resolv.conf(5) says it
		return s, nil
	case err != nil:
		r.forget()
		return s, fault.New(fault.Transient, "find the name servers: %w", err)
	}
	for _, server := range r.conf.Servers {
		if addr, err := netip.ParseAddr(server); err == nil {
			s.addrs = append(s.addrs, netip.AddrPortFrom(addr, 53).String())
		}
	}
	if len(s.addrs) == 0 {
		s.addrs = []string{"127.0.0.1:53"}
	}
	s.timeout = time.Duration(min(max(r.conf.Timeout, 1), 30)) * time.Second
	s.attempts = min(max(r.conf.Attempts, 1), 5)
	return s, nil
}
