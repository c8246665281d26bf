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

// mostLanes is how many SFTP channels a connection has, as far as the server allows it: an sshd allows ten channels unless told
// otherwise, and the first shell has one of them. A channel has two MiB under way at most, so over a distance several carry more.
const mostLanes = 24

// A large file is as much as several small ones that wait for answers most of the time.
const (
	lightly = 1
	heavily = 8
)

// weight is how much a file of so many bytes has a lane to do.
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
	since   time.Time  // when the first of those began that are being opened
	opened  *sync.Cond // for mu: one that was being opened is open, or is not to be
	most    int        // that the server allows, 0 while nobody knows
}

// flow is a channel that knows for how long a request has waited.
type flow struct {
	io.Reader
	io.WriteCloser
	since   atomic.Int64 // when something was asked that nothing was answered to yet, 0 if there is nothing
	greeted int          // bytes that were said already, and are not said again
}

func (f *flow) Write(b []byte) (int, error) {
	if n := min(f.greeted, len(b)); n > 0 {
		f.greeted -= n
		m, err := f.WriteCloser.Write(b[n:])
		return n + m, err
	}
	f.since.CompareAndSwap(0, time.Now().UnixNano())
	return f.WriteCloser.Write(b)
}

func (f *flow) Read(b []byte) (int, error) {
	n, err := f.Reader.Read(b)
	f.since.Store(0)
	return n, err
}

func (f *flow) stalled(limit time.Duration) bool {
	since := f.since.Load()
	return since != 0 && time.Since(time.Unix(0, since)) > limit
}

// lane returns the one with the least to do. There is a new one when all have something, while the server
// allows it.
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
		s.opened.Wait() // else all who come at once would join the few that are open already
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
		if s.most > 0 { // those that were being opened when another was refused
			s.most = max(s.most, len(s.open))
		}
		return l, nil
	}
	// One that refuses the channel, or can't start what serves it, has enough of them.
	enough := refused(err) || c.alive() && len(s.open) > 0
	for enough && s.opening > 0 { // who is refused at once would join the few that are open already
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

// leave gives a lane back.
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
	if c.packet == 0 { // of the first lane, before there are others
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

// session opens a channel.
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

// stalled reports whether a server that is alive does not do what it was asked for.
func (c *connection) stalled() bool {
	c.lanes.mu.Lock()
	defer c.lanes.mu.Unlock()
	stalled := func(l *lane) bool { return l.flow.stalled(c.stall) }
	opening := c.lanes.opening > 0 && time.Since(c.lanes.since) > c.stall
	return opening || slices.ContainsFunc(c.lanes.open, stalled) || c.shells.stalled(c.stall)
}
