package cli

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"holdfast/face/api"
)

// TestFrozenProcess: a process that takes connections and says nothing, as one that was stopped does, is not waited for without end.
func TestFrozenProcess(t *testing.T) {
	dir := t.TempDir()
	ln, err := api.ListenSocket(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := api.Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := answers(c, 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of one that is frozen: %v", err)
	}
	go func() {
		_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-ndjson")
			_, _ = w.Write([]byte("{}\n"))
		}))
	}()
	if err := answers(c, time.Minute); err != nil {
		t.Errorf("of one that goes on: %v", err)
	}
}
