package sftp

import (
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"holdfast/base/fault"
)

// mostLanes is how many SFTP channels a connection has at most. An sshd allows ten channels by default, of which the shell
// takes one. A channel has at most 2 MiB in flight, so over a long distance several carry more.
const mostLanes = 24

// The weights of files. A large one keeps a lane as busy as several small ones, which mostly wait for answers.
const (
	lightly = 1
	heavily = 8
)

// weight is the load that a file of so many bytes puts on a lane.
func weight(size int64) int {
	if size >= bigFile {
		return heavily
	}
	return lightly
}

// stall is how long a server may take for one request: an fsync of much data on a slow disk.
const stall = 5 * time.Minute

// lane is one SFTP channel.
type lane struct {
	client *sftp.Client
	flow   *flow
	load   int // guarded by lanes.mu
	gone   atomic.Bool
}

// lanes are those of a connection.
type lanes struct {
	mu      sync.Mutex // guards all below
	open    []*lane
	opening int
	since   time.Time  // when the first of the present openings began
	opened  *sync.Cond // on mu: an opening has succeeded or failed
	most    int        // that the server allows; 0 while not known
}

// flow is a channel that knows for how long a request has waited.
type flow struct {
	io.Reader
	io.WriteCloser
	asked   moment // the first request since the last answer
	greeted int    // how many bytes of the client's greeting greet has sent already: they are not sent again
}

func (f *flow) Write(b []byte) (int, error) {
	if n := min(f.greeted, len(b)); n > 0 {
		f.greeted -= n
		m, err := f.WriteCloser.Write(b[n:])
		return n + m, err
	}
	f.asked.begin()
	return f.WriteCloser.Write(b)
}

func (f *flow) Read(b []byte) (int, error) {
	n, err := f.Reader.Read(b)
	f.asked.clear()
	return n, err
}

// lane returns the lane with the least load. If all have some it opens another, as far as the server allows.
func (c *connection) lane(weight int) (*lane, error) {
	s := &c.lanes
	s.mu.Lock()
	s.open = slices.DeleteFunc(s.open, func(l *lane) bool { return l.gone.Load() })
	best := s.leastLocked()
	most := mostLanes
	if s.most > 0 {
		most = s.most
	}
	for best != nil && best.load > 0 && s.opening > 0 && len(s.open)+s.opening >= most {
		s.opened.Wait() // else all callers of this moment would share the few that are open
		if best = s.leastLocked(); s.most > 0 {
			most = s.most
		}
	}
	if best != nil && (best.load == 0 || len(s.open)+s.opening >= most) {
		best.load += weight
		s.mu.Unlock()
		return best, nil
	}
	if s.opening++; s.opening == 1 {
		s.since = time.Now()
	}
	s.mu.Unlock()
	l, err := c.openLane()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening--
	s.opened.Broadcast()
	if err == nil {
		l.load = weight
		s.open = append(s.open, l)
		if s.most > 0 { // it was being opened when another was refused
			s.most = max(s.most, len(s.open))
		}
		return l, nil
	}
	// A server that refuses the channel, or can't start the process for it, allows no more.
	enough := refused(err) || c.alive() && len(s.open) > 0
	for enough && s.opening > 0 { // the refusal may come before others are open, which could take the load
		s.opened.Wait()
	}
	best = s.leastLocked()
	if !enough || best == nil {
		if refused(err) {
			return nil, fault.New(fault.Permanent, "%s opens no SFTP channel: %w", c.cfg.Host, err)
		}
		return nil, c.classify("open an SFTP channel", err)
	}
	s.most = len(s.open)
	best.load += weight
	return best, nil
}

func (s *lanes) leastLocked() *lane {
	if len(s.open) == 0 {
		return nil
	}
	return slices.MinFunc(s.open, func(a, b *lane) int { return a.load - b.load })
}

// leave takes a load off a lane.
func (c *connection) leave(l *lane, weight int) {
	c.lanes.mu.Lock()
	defer c.lanes.mu.Unlock()
	l.load -= weight
}

// openLane opens an SFTP channel.
func (c *connection) openLane() (*lane, error) {
	session, in, out, err := c.session()
	if err != nil {
		return nil, err
	}
	if err := session.RequestSubsystem("sftp"); err != nil {
		_ = session.Close()
		return nil, fault.WithHint(fault.New(fault.Permanent, "%s has no SFTP: %w", c.cfg.Host, c.why(err)),
			"its sshd_config needs a line: Subsystem sftp internal-sftp")
	}
	f := &flow{Reader: out, WriteCloser: in}
	if c.packet == 0 { // only the first lane asks; there are no others yet
		if c.packet, err = greet(f); err != nil {
			_ = session.Close()
			return nil, err
		}
	}
	client, err := sftp.NewClientPipe(f, f, sftp.MaxPacketUnchecked(c.packet), sftp.UseConcurrentWrites(true),
		sftp.MaxConcurrentRequestsPerFile(c.requests()))
	if err != nil {
		_ = session.Close()
		return nil, err
	}
	l := &lane{client: client, flow: f}
	c.spawn(func() {
		_ = client.Wait()
		l.gone.Store(true)
		_ = session.Close()
	})
	return l, nil
}

// session opens an SSH channel.
func (c *connection) session() (session *ssh.Session, in io.WriteCloser, out io.Reader, err error) {
	if session, err = c.client().NewSession(); err != nil {
		return nil, nil, nil, err
	}
	in, errIn := session.StdinPipe()
	out, errOut := session.StdoutPipe()
	noise, errNoise := session.StderrPipe()
	if err := errors.Join(errIn, errOut, errNoise); err != nil {
		_ = session.Close()
		return nil, nil, nil, err
	}
	c.spawn(func() { _, _ = io.Copy(io.Discard, noise) })
	return session, in, out, nil
}

// stalled reports whether a request is overdue, though the server answers keepalives.
func (c *connection) stalled() bool {
	c.lanes.mu.Lock()
	defer c.lanes.mu.Unlock()
	stalled := func(l *lane) bool { return l.flow.asked.age() > c.stall }
	opening := c.lanes.opening > 0 && time.Since(c.lanes.since) > c.stall
	return opening || slices.ContainsFunc(c.lanes.open, stalled) || c.shells.stalled(c.stall) || c.copier.stalled(c.stall)
}
