package sftp

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"holdfast/base/fault"
)

// login is the keys to log in with at one host.
type login struct {
	hop     hop
	signers []ssh.Signer
	notes   []string // of keys that can't be used, and what would help
	agent   net.Conn // nil without one
}

// loginTo collects the keys in the order of ssh: the configured ones, the others of the agent, the usual files. The caller
// closes it once the connection is made: the agent signs until then.
func loginTo(h hop) (*login, error) {
	l := &login{hop: h}
	held := l.askAgent()
	for _, file := range h.identities {
		if h.explicit {
			l.identity(file, held)
		}
	}
	for _, s := range held {
		if !h.identitiesOnly {
			l.add(s)
		}
	}
	for _, file := range h.identities {
		if !h.explicit {
			l.identity(file, held)
		}
	}
	if len(l.signers) == 0 {
		l.close()
		return nil, l.refused(fault.New(fault.Credentials, "log in at %s: there is no key to do it with", h))
	}
	return l, nil
}

// agentWait is how long an agent may take: a person may have to touch a token.
const agentWait = 20 * time.Second

// askAgent returns the keys of the agent: none if it does not answer.
func (l *login) askAgent() []ssh.Signer {
	if l.hop.agent == "" {
		return nil
	}
	conn, err := net.DialTimeout("unix", l.hop.agent, agentWait)
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(agentWait))
	}
	if err != nil {
		l.note("the agent at %s does not answer (%v)", l.hop.agent, err)
		return nil
	}
	l.agent = conn
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		l.note("the agent at %s does not answer (%v)", l.hop.agent, err)
	}
	return signers
}

// identity adds the key of a file, through the agent if that holds it.
func (l *login) identity(file string, held []ssh.Signer) {
	text, err := os.ReadFile(file)
	if err != nil && !l.hop.explicit && errors.Is(err, fs.ErrNotExist) {
		return
	}
	public := publicOf(file)
	var signer ssh.Signer
	if err == nil {
		signer, err = ssh.ParsePrivateKey(text)
	}
	locked, isLocked := errors.AsType[*ssh.PassphraseMissingError](err)
	switch {
	case err == nil:
		public = signer.PublicKey()
	case isLocked && locked.PublicKey != nil:
		public = locked.PublicKey
	}
	wanted := func(s ssh.Signer) bool { return public != nil && same(s.PublicKey(), public) }
	if i := slices.IndexFunc(held, wanted); i >= 0 {
		l.add(held[i])
		return
	}
	switch {
	case err == nil:
		l.add(signer)
	case isLocked:
		l.note("the key %s has a passphrase, which only an agent can be told: ssh-add %s", file, quote(file))
	default:
		l.note("the key %s can't be read (%v)", file, err)
	}
}

// publicOf reads the public key beside a file, nil if there is none.
func publicOf(file string) ssh.PublicKey {
	text, err := os.ReadFile(strings.TrimSuffix(file, ".pub") + ".pub")
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return key
}

func same(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

func (l *login) add(s ssh.Signer) {
	if !slices.ContainsFunc(l.signers, func(have ssh.Signer) bool { return same(have.PublicKey(), s.PublicKey()) }) {
		l.signers = append(l.signers, s)
	}
}

func (l *login) note(format string, args ...any) {
	l.notes = append(l.notes, fmt.Sprintf(format, args...))
}

// refused adds to a login error what a person can do.
func (l *login) refused(err error) error {
	hint := "put the public key into ~/.ssh/authorized_keys of the host"
	if len(l.signers) > 3 {
		hint += "; too many keys may have been offered: name the right one in identity_files, with identities_only"
	}
	if len(l.notes) > 0 {
		hint = strings.Join(l.notes, "; ")
	} else if len(l.signers) == 0 {
		hint = "name a key in identity_files, or add one to an agent (ssh-add)"
	}
	return fault.WithHint(fault.As(fault.Credentials, err), "%s", hint)
}

func (l *login) close() {
	if l.agent != nil {
		_ = l.agent.Close()
	}
}
