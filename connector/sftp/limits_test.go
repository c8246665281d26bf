package sftp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"holdfast/base/fault"
	"holdfast/connector/desttest"
	"holdfast/tests/testenv"
)

// TestPacketsAsLongAsAllowed: a server that says how long a packet may be gets long ones, and another gets those that all take.
func TestPacketsAsLongAsAllowed(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]int{"": largestPacket, " -P limits": smallPacket} {
		s, dir := testenv.SSHD(t, testenv.SSHDOptions{SFTP: "internal-sftp" + options}), t.TempDir()
		d, data := connected(t, config(s, dir)), desttest.Bytes(1, 3<<20)
		if _, err := d.Place(t.Context(), "x", desttest.Content(data), nil); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "x")); err != nil || !bytes.Equal(got, data) {
			t.Errorf("there are %d bytes, %v", len(got), err)
		}
		linked(t, d, func(c *connection, _ *lane) {
			if c.packet != want || c.packet*c.requests() > inFlight {
				t.Errorf("%q: %d requests of %d bytes, want %d bytes", options, c.requests(), c.packet, want)
			}
		})
	}
	for _, c := range []struct {
		packet, read, write uint64
		want                int
	}{
		{262144, 261120, 261120, largestPacket}, {0, 0, 0, smallPacket}, {0, 0, 1 << 40, largestPacket},
		{262144, 65536, 261120, 65536}, {34000, 32768, 261120, 32768}, {10 << 10, 0, 1 << 20, 9 << 10}, {1, 0, 8000, 8000},
	} {
		var limits []byte
		for _, n := range []uint64{c.packet, c.read, c.write, 0} {
			limits = binary.BigEndian.AppendUint64(limits, n)
		}
		if got := longest(limits); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
	if got := longest([]byte("short")); got != smallPacket {
		t.Errorf("nonsense: got %d", got)
	}
}

// FuzzGreet: a server may greet in any words.
func FuzzGreet(f *testing.F) {
	hello := append([]byte{0, 0, 0, 0, fxpVersion, 0, 0, 0, 3}, append(text("limits@openssh.com"), text("1")...)...)
	hello[3] = byte(len(hello) - 4)
	f.Add(hello)
	f.Add(append(hello, append([]byte{0, 0, 0, 37, fxpExtendedReply, 0, 0, 0, 1}, make([]byte, 32)...)...))
	f.Add([]byte{0, 0, 0, 9, fxpVersion, 0, 0, 0, 3, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, said []byte) {
		packet, err := greet(&flow{Reader: bytes.NewReader(said), WriteCloser: unheard{}})
		if err == nil && (packet <= 0 || packet > largestPacket) {
			t.Errorf("%d bytes to a packet", packet)
		}
	})
}

type unheard struct{}

func (unheard) Write(b []byte) (int, error) { return len(b), nil }
func (unheard) Close() error                { return nil }

// many places many small files at once, so that all channels that the server allows are open.
func many(t *testing.T, d *Destination, round string) (errs []error) {
	t.Helper()
	var mu sync.Mutex // guards errs
	var all sync.WaitGroup
	for i := range 48 {
		all.Go(func() {
			_, err := d.Place(t.Context(), fmt.Sprintf("%s/%d", round, i), desttest.Content([]byte(round)), nil)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	all.Wait()
	return errs
}

// TestLanesTakeAll: lanes take all channels that a server allows, and neither copies nor a shell that has to be opened again are
// without one for long.
func TestLanesTakeAll(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]testenv.SSHDOptions{
		"default": {}, "default, no shell": {NoShell: true},
		"few": {Config: []string{"MaxSessions 3"}}, "few, no shell": {NoShell: true, Config: []string{"MaxSessions 3"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := connected(t, config(testenv.SSHD(t, o), t.TempDir()))
			for _, round := range []string{"a", "b"} {
				for _, err := range many(t, d, round) {
					t.Error(err)
				}
			}
			linked(t, d, func(c *connection, _ *lane) {
				c.lanes.mu.Lock()
				defer c.lanes.mu.Unlock()
				if c.lanes.most == 0 || len(c.lanes.open) != c.lanes.most {
					t.Errorf("%d lanes are open of %d", len(c.lanes.open), c.lanes.most)
				}
			})
			if _, err := d.Copy(t.Context(), "a/1", "copy", desttest.Content([]byte("a"))); err != nil {
				t.Errorf("copy: %v", err)
			}
			if o.NoShell {
				return
			}
			linked(t, d, func(c *connection, _ *lane) {
				c.shells.mu.Lock()
				defer c.shells.mu.Unlock()
				for _, s := range c.shells.open {
					_ = s.session.Close()
				}
				c.lanes.mu.Lock()
				defer c.lanes.mu.Unlock()
				c.lanes.most = 0 // so that lanes may take the channel of the shell
			})
			for round := 0; ; round++ {
				errs := many(t, d, fmt.Sprint("again", round))
				if len(errs) == 0 {
					return
				}
				if !fault.Is(errs[0], fault.Transient) || round > 20 {
					t.Fatalf("round %d: got %v, want an outage for a moment", round, errs[0])
				}
			}
		})
	}
}

// TestLanesShareAlike: large files that come all at once are spread over all lanes, those too that are refused one of their own.
func TestLanesShareAlike(t *testing.T) {
	t.Parallel()
	d := connected(t, config(testenv.SSHD(t, testenv.SSHDOptions{}), t.TempDir()))
	linked(t, d, func(c *connection, _ *lane) {
		var all sync.WaitGroup
		for range 24 {
			all.Go(func() {
				if _, err := c.lane(heavily); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		c.lanes.mu.Lock()
		defer c.lanes.mu.Unlock()
		least, most := 1000, 0
		for _, l := range c.lanes.open {
			least, most = min(least, l.load), max(most, l.load)
		}
		if len(c.lanes.open) != 9 || most-least > heavily+lightly {
			t.Errorf("%d lanes, of which one has %d to do and another %d", len(c.lanes.open), most, least)
		}
	})
}
