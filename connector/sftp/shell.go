package sftp

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/base/fault"
	"holdfast/connector"
)

// script is what runs on the server: it answers each line by one line. It has no quotes, backslashes or line ends of its own, so
// that any login shell passes it on to sh. Plain names come as they are, behind a = where they come alone; others as words in
// which printf makes every unusual byte out of its octal number. All are used in double quotes only; a file of another than a
// plain name is given as standard input, never by its name. To start a program is what a small file costs most: `m` hashes many
// by one.
var script = strings.Join([]string{
	`LC_ALL=C; export LC_ALL; set -f; w=none`,
	`if command -v openssl >/dev/null 2>&1; then w=openssl; big() { openssl dgst -sha256 -r "$@"; }; small() { big "$@"; }; fi`,
	`if command -v shasum >/dev/null 2>&1; then w=shasum; small() { shasum -a 256 "$@"; }; fi`,
	`if command -v sha256sum >/dev/null 2>&1; then w=sha256sum; small() { sha256sum "$@"; }; fi`,
	`if command -v openssl >/dev/null 2>&1; then w=$w+openssl; else big() { small; }; fi`,
	naming,
	`echo; echo "` + ready + ` $w"`,
	`while read -r op a b; do case $op in ` +
		`s|b) name "$a"; if [ -L "$v" ]; then echo "- link"; elif [ -f "$v" ]; then if [ -r "$v" ]; then ` +
		`if [ $op = b ]; then s=$(big <"$v"); else s=$(small <"$v"); fi && echo "+ $s" || echo "- failed"; ` +
		`else echo "- denied"; fi; else echo "- absent"; fi;; ` +
		`m) set -- $a $b; k=+; for v in "$@"; do if [ -L "$v" ]; then k=-; elif [ -f "$v" ]; then :; else k=-; fi; done; ` +
		`if [ $k = + ] && s=$(small "$@" </dev/null); then echo + $s; else echo "- some"; fi;; ` +
		`c) name "$a"; f=$v; name "$b"; ` +
		`if cp -- "$f" "$v" </dev/null >/dev/null 2>&1; then echo "+ copied"; else echo "- failed"; fi;; ` +
		`*) ;; esac; done`,
}, "; ")

// naming has the script read a path as spell writes it.
const naming = `name() { case "$1" in =*) v=${1#=};; *) v=$(printf "%b." "$1"); v=${v%.};; esac; }`

// ready begins the line with which the script says that it listens; what comes before it are greetings of the
// server.
const ready = "holdfast-shell-1"

// bigFile is how many bytes make it worth to start openssl, which is slow to start and quick to hash.
const bigFile = 1 << 20

const (
	mostShells = 2
	mostNoise  = 1 << 20
	shellWait  = 15 * time.Second
	slowHash   = 5 << 20 // bytes a second that a server hashes at the least
)

// shell is a channel on which the script runs.
type shell struct {
	session *ssh.Session
	tool    string
	asks    chan ask
	pending chan ask
	gone    chan struct{} // closed when it has ended
	users   int           // guarded by shells.mu
	since   atomic.Int64  // when it answered last, or was asked first since
	owed    atomic.Int64  // bytes that it has still to read, and one for each file
}

// ask is a line, and where its answer goes.
type ask struct {
	line   string
	bytes  int64
	answer chan string
}

// shells are those of a connection.
type shells struct {
	mu      sync.Mutex // guards all below
	open    []*shell
	opening int
	most    int  // that the server allows beside the lanes, 0 while nobody knows
	there   bool // the server has one, with a program that hashes
}

// errNoShell means that the server gives no shell, or one that can't hash.
var errNoShell = errors.New("there is no shell, or no sha256sum, shasum and openssl in it")

// findShell finds out what the server has. What it says holds for as long as the connection does.
func (c *connection) findShell() error {
	s, err := c.openShell()
	if errors.Is(err, errNoShell) {
		if c.cfg.Verify == string(connector.ByRemoteHash) {
			return fault.WithHint(fault.New(fault.Permanent, "verify files on %s: %w", c.cfg.Host, err),
				"allow commands to the user, or set verify to auto or read-back")
		}
		return nil
	}
	if err != nil {
		return c.classify("open a shell", err)
	}
	c.shells.mu.Lock()
	defer c.shells.mu.Unlock()
	c.shells.there = true
	c.shells.open = append(c.shells.open, s)
	return nil
}

// hasShell reports whether the server hashes and copies for us.
func (c *connection) hasShell() bool {
	c.shells.mu.Lock()
	defer c.shells.mu.Unlock()
	return c.shells.there
}

// openShell starts the script. It is errNoShell if the server lets us know that it does not run.
func (c *connection) openShell() (*shell, error) {
	session, in, out, err := c.session()
	if err != nil {
		return nil, err
	}
	s := &shell{session: session, asks: make(chan ask), pending: make(chan ask, 1024), gone: make(chan struct{})}
	if err := session.Start("sh -c '" + script + "'"); err != nil {
		_ = session.Close()
		if c.alive() && !lost(err) {
			err = errNoShell
		}
		return nil, err
	}
	listening := make(chan error, 1)
	c.spawn(func() { s.read(bufio.NewReader(out), listening) })
	c.spawn(func() { s.write(in) })
	wait := time.NewTimer(shellWait)
	defer wait.Stop()
	select {
	case err = <-listening:
	case <-wait.C:
		err = errNoShell
	case <-c.dead:
		err = c.cause
	}
	if err != nil {
		c.spawn(func() { _ = session.Close() }) // which needs the link
		return nil, err
	}
	return s, nil
}

// write sends the lines, each after it stands among the pending. The first one makes a server that runs
// something else than a shell give up.
func (s *shell) write(in io.Writer) {
	defer s.session.Close()
	_, err := io.WriteString(in, "hello\n")
	for err == nil {
		select {
		case a := <-s.asks:
			select {
			case s.pending <- a:
				_, err = io.WriteString(in, a.line)
			case <-s.gone:
				return
			}
		case <-s.gone:
			return
		}
	}
}

// read waits for the script, and gives out its answers.
func (s *shell) read(out *bufio.Reader, listening chan<- error) {
	defer close(s.gone)
	line, noise := "", 0
	for !strings.HasPrefix(line, ready) {
		var err error
		line, err = out.ReadString('\n')
		if noise += len(line); err != nil || noise > mostNoise {
			listening <- errNoShell
			return
		}
	}
	s.tool = strings.TrimSpace(strings.TrimPrefix(line, ready))
	if strings.HasPrefix(s.tool, "none") {
		listening <- errNoShell
		return
	}
	listening <- nil
	for {
		line, err := out.ReadString('\n')
		if err != nil {
			return
		}
		select {
		case a := <-s.pending:
			s.since.Store(time.Now().UnixNano())
			s.owed.Add(-a.bytes - 1)
			a.answer <- strings.TrimSuffix(line, "\n")
		default: // it says what it was not asked
			return
		}
	}
}

// ask sends a line about a file of so many bytes and waits for the answer.
func (c *connection) ask(line string, bytes int64) (string, error) {
	s, err := c.shell()
	if err != nil {
		return "", err
	}
	defer c.leaveShell(s)
	a := ask{line: line, bytes: bytes, answer: make(chan string, 1)}
	if s.owed.Load() == 0 {
		s.since.Store(time.Now().UnixNano())
	}
	s.owed.Add(bytes + 1)
	select {
	case s.asks <- a:
	case <-s.gone:
		return "", c.why(errShellEnded)
	}
	select {
	case answer := <-a.answer:
		return answer, nil
	case <-s.gone:
	}
	select {
	case answer := <-a.answer:
		return answer, nil
	default:
		return "", c.why(errShellEnded)
	}
}

var errShellEnded = fault.New(fault.Transient, "the shell on the server ended")

// shell returns the one with the least to do.
func (c *connection) shell() (*shell, error) {
	g := &c.shells
	g.mu.Lock()
	g.open = slices.DeleteFunc(g.open, (*shell).ended)
	var best *shell
	for _, s := range g.open {
		if best == nil || s.users < best.users {
			best = s
		}
	}
	most := mostShells
	if g.most > 0 {
		most = g.most
	}
	if best != nil && (best.users == 0 || len(g.open)+g.opening >= most) {
		best.users++
		g.mu.Unlock()
		return best, nil
	}
	g.opening++
	g.mu.Unlock()
	s, err := c.openShell()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opening--
	if best == nil || best.ended() { // another one may be there by now
		g.open = slices.DeleteFunc(g.open, (*shell).ended)
		if best = nil; len(g.open) > 0 {
			best = g.open[0]
		}
	}
	switch {
	case err == nil:
		s.users = 1
		g.open = append(g.open, s)
		return s, nil
	case best != nil && !best.ended() && c.alive(): // the server has enough channels
		g.most = max(len(g.open), 1)
		best.users++
		return best, nil
	// Lanes have all channels, that of a shell that ended too: a next connection has its shell before them.
	case refused(err) && g.opening == 0:
		c.fail(fault.New(fault.Transient, "open a shell: %w", err))
		return nil, c.cause
	case errors.Is(err, errNoShell): // it had one before: nothing weaker will do
		return nil, fault.New(fault.Transient, "open a shell: %w", err)
	}
	return nil, c.classify("open a shell", err)
}

func (c *connection) leaveShell(s *shell) {
	c.shells.mu.Lock()
	defer c.shells.mu.Unlock()
	s.users--
}

func (s *shell) ended() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

// stalled reports whether a shell has not answered for longer than what it reads may take.
func (g *shells) stalled(stall time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.open, func(s *shell) bool {
		owed := s.owed.Load()
		limit := stall + time.Duration(owed/slowHash)*time.Second
		return owed > 0 && time.Since(time.Unix(0, s.since.Load())) > limit
	})
}

// remoteCopy has the server copy a file.
func (c *connection) remoteCopy(from, to string, size int64) error {
	answer, err := c.ask("c "+spell(from)+" "+spell(to)+"\n", size)
	if err == nil && answer != "+ copied" {
		err = errCopy
	}
	return err
}

// errCopy means that cp failed there: for want of room, for all we know.
var errCopy = errors.New("the server could not copy it")
