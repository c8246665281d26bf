package sftp

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"holdfast/base/fault"
)

// guard is what known_hosts says of a host.
type guard struct {
	hop    hop
	direct bool // the host can be reached without a jump, so by ssh-keyscan too
	check  ssh.HostKeyCallback
	copied map[string]string // what check read instead of a file, and the name of that
	types  []string          // of keys, in the order in which they are offered: those that are known first
}

// guardOf reads known_hosts, which may have changed since the last connection.
func guardOf(h hop, direct bool) (*guard, error) {
	g := &guard{hop: h, direct: direct, types: ssh.SupportedAlgorithms().HostKeys, copied: map[string]string{}}
	if err := g.read(h.knownHosts); err != nil {
		return nil, err
	}
	known := g.knownTypes()
	slices.SortStableFunc(g.types, func(a, b string) int { return rank(known, a) - rank(known, b) })
	return g, nil
}

func rank(known map[string]bool, algorithm string) int {
	if known[algorithm] {
		return 0
	}
	return 1
}

// address is the one under which known_hosts has the host.
func (g *guard) address() string {
	if g.hop.alias != "" {
		return address(g.hop.alias, "22") // as ssh has it: an alias has no port
	}
	return address(g.hop.host, g.hop.port)
}

// knownTypes are the algorithms of the keys that known_hosts has for the host. A server with several keys presents the one that
// we ask for first.
func (g *guard) knownTypes() map[string]bool {
	nobody, _ := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	types := map[string]bool{}
	e, ok := errors.AsType[*knownhosts.KeyError](g.check(g.address(), nowhere, nobody))
	if !ok {
		return types
	}
	for _, known := range e.Want {
		if isAuthority(g.origin(known)) {
			for _, t := range []string{ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01,
				ssh.CertAlgoECDSA521v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01} {
				types[t] = true
			}
			continue
		}
		types[known.Key.Type()] = true
		if known.Key.Type() == ssh.KeyAlgoRSA {
			types[ssh.KeyAlgoRSASHA512], types[ssh.KeyAlgoRSASHA256] = true, true
		}
	}
	return types
}

// nowhere is an address for a check that goes by name.
var nowhere = &net.TCPAddr{IP: net.IPv4zero}

// isAuthority reports whether a line names a key that signs host keys.
func isAuthority(k knownhosts.KnownKey) bool {
	text, err := os.ReadFile(k.Filename)
	lines := bytes.Split(text, []byte("\n"))
	return err == nil && k.Line >= 1 && k.Line <= len(lines) &&
		bytes.HasPrefix(bytes.TrimSpace(lines[k.Line-1]), []byte("@cert-authority"))
}

// origin is the key with the file that it really stands in.
func (g *guard) origin(k knownhosts.KnownKey) knownhosts.KnownKey {
	if file, ok := g.copied[k.Filename]; ok {
		k.Filename = file
	}
	return k
}

// read reads the files that exist. Like ssh it passes over lines that it can't read.
func (g *guard) read(files []string) error {
	var there []string
	for _, file := range files {
		if file == "none" || file == os.DevNull {
			continue
		}
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fault.New(fault.Permanent, "read known hosts: %w", err)
		}
		if _, err := knownhosts.New(file); err != nil {
			sound, remove, err := soundLines(text)
			if err != nil {
				return err
			}
			defer remove()
			g.copied[sound] = file
			file = sound
		}
		there = append(there, file)
	}
	check, err := knownhosts.New(there...)
	if err != nil {
		return fault.New(fault.Permanent, "read known hosts: %w", err)
	}
	g.check = check
	return nil
}

// soundLines writes the lines that can be read to a file, with the others left empty, so that each keeps its number.
func soundLines(text []byte) (file string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "holdfast-known-hosts-")
	if err != nil {
		return "", nil, fault.New(fault.Permanent, "read known hosts: %w", err)
	}
	remove = func() { _ = os.RemoveAll(dir) }
	line := filepath.Join(dir, "line")
	var sound []byte
	for b := range bytes.SplitSeq(text, []byte("\n")) {
		if err := os.WriteFile(line, b, 0o600); err != nil {
			remove()
			return "", nil, fault.New(fault.Permanent, "read known hosts: %w", err)
		}
		if _, err := knownhosts.New(line); err == nil {
			sound = append(sound, b...)
		}
		sound = append(sound, '\n')
	}
	file = filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(file, sound, 0o600); err != nil {
		remove()
		return "", nil, fault.New(fault.Permanent, "read known hosts: %w", err)
	}
	return file, remove, nil
}

// callback refuses a key that is not known, and says how a person lets it in.
func (g *guard) callback(_ string, _ net.Addr, key ssh.PublicKey) error {
	err := g.check(g.address(), nowhere, key)
	if err == nil {
		return nil
	}
	name := knownhosts.Normalize(g.address())
	if e, ok := errors.AsType[*knownhosts.RevokedError](err); ok {
		return fault.WithHint(fault.New(fault.Credentials, "the host key of %s (%s) is marked as revoked in %s line %d",
			name, ssh.FingerprintSHA256(key), g.origin(e.Revoked).Filename, e.Revoked.Line),
			"nobody should use this key; the host needs another one")
	}
	e, ok := errors.AsType[*knownhosts.KeyError](err)
	switch {
	case !ok:
		return fault.WithHint(fault.New(fault.Credentials, "the host key of %s is not accepted: %w", name, err),
			"an authority for this host has to be in %s, and its certificate has to be valid", g.file())
	case len(e.Want) == 0:
		return fault.WithHint(fault.New(fault.Credentials, "the host %s is not in known_hosts (its key is %s %s)",
			name, key.Type(), ssh.FingerprintSHA256(key)), "compare the key with the host's, and let it in by: %s", g.accept(key, g.file()))
	}
	return g.changed(name, key, e.Want)
}

// changed says that known_hosts has other keys, and how a person removes them from it.
func (g *guard) changed(name string, key ssh.PublicKey, want []knownhosts.KnownKey) error {
	known, forget := g.origin(want[0]), ""
	lines := map[string]string{} // sed scripts for files that ssh-keygen refuses, because of lines that can't be read
	for _, k := range want {
		_, junk := g.copied[k.Filename]
		k = g.origin(k)
		if k.Key.Type() == key.Type() {
			known = k
		}
		command := fmt.Sprintf("ssh-keygen -f %s -R %s && ", quote(k.Filename), quote(name))
		if junk {
			lines[k.Filename] += fmt.Sprintf("%dd;", k.Line)
		} else if !strings.Contains(forget, command) {
			forget += command
		}
	}
	for file, script := range lines {
		forget += fmt.Sprintf("sed -i %s %s && ", quote(script), quote(file))
	}
	return fault.WithHint(fault.New(fault.Credentials, "the host key of %s has changed: it is %s %s, and %s in %s line %d; "+
		"somebody may be in between", name, key.Type(), ssh.FingerprintSHA256(key), ssh.FingerprintSHA256(known.Key),
		known.Filename, known.Line), "if the host has a new key, compare it, and let it in by: %s%s", forget,
		g.accept(key, known.Filename))
}

// file is where a key that is let in is written to.
func (g *guard) file() string {
	for _, file := range g.hop.knownHosts {
		if file != "none" && file != os.DevNull {
			return file
		}
	}
	return "~/.ssh/known_hosts"
}

// accept is the shell command by which a person adds a key: by ssh-keyscan, or by the line itself where that can't reach
// the host or would write another name.
func (g *guard) accept(key ssh.PublicKey, file string) string {
	hashed := g.hop.hashed || isHashed(file)
	if g.direct && g.hop.alias == "" {
		options := ""
		if hashed {
			options = "-H "
		}
		return fmt.Sprintf("ssh-keyscan %s-t %s -p %s %s >> %s", options, scanType(key), g.hop.port, quote(g.hop.host),
			quote(file))
	}
	name := knownhosts.Normalize(g.address())
	if hashed {
		name = knownhosts.HashHostname(name)
	}
	line := name + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	return fmt.Sprintf("echo %s >> %s", quote(line), quote(file))
}

// isHashed reports whether the names in a file of known hosts are hashed.
func isHashed(file string) bool {
	text, err := os.ReadFile(file)
	return err == nil && (bytes.HasPrefix(text, []byte("|1|")) || bytes.Contains(text, []byte("\n|1|")))
}

// scanType is what ssh-keyscan calls the type of a key.
func scanType(key ssh.PublicKey) string {
	switch t := key.Type(); {
	case strings.Contains(t, "ed25519"):
		return "ed25519"
	case strings.HasPrefix(t, "ecdsa"):
		return "ecdsa"
	default:
		return "rsa"
	}
}

// quote makes one word of s for a shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	}
	if s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
