package crawl

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// TestWaits: a crawl that does not end by itself has its index written when nothing is left.
func TestWaits(t *testing.T) {
	r := newRig(t, map[string]string{"/": "home"})
	r.cfg.Once = false
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx) }()
	testenv.Until(t, time.Minute, "there is an index", func() bool {
		select {
		case err := <-ended:
			t.Fatalf("it has ended: %v", err)
		default:
		}
		info, err := os.Stat(filepath.Join(r.cfg.Archive.Dir, "index.cdxj"))
		return err == nil && info.Size() > 0
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
