package cli

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// systemd's watchdog is fed while the engine answers, with how it is, and not while it hangs.
func TestWatchdogIsFedByTheEngine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", "")
	fed := func(health func(ctx context.Context) string) string {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- watchdog(ctx, func() string { return health(ctx) }) }()
		b := make([]byte, 1000)
		_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		n, _ := conn.Read(b) // nothing comes while it hangs
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		return string(b[:n])
	}
	if got := fed(func(ctx context.Context) string { <-ctx.Done(); return "hangs" }); got != "" {
		t.Errorf("an engine that hangs: got %q", got)
	}
	if got := fed(func(context.Context) string { return "2 jobs" }); !strings.Contains(got, "WATCHDOG=1") ||
		!strings.Contains(got, "STATUS=2 jobs") {
		t.Errorf("got %q", got)
	}
}
