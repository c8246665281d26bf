package download

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestByteRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWatch(t.Context(), "timeout", time.Second, time.Hour)
		defer w.Stop()
		began := time.Now()
		r := &Body{From: bytes.NewReader(make([]byte, 60_000)), Limit: NewLimit(1000), Watch: w}
		n, err := io.Copy(io.Discard, r)
		if err != nil || n != 60_000 || r.N != 60_000 {
			t.Fatalf("read %d, %v: the clock for silence must stand still while we wait", n, err)
		}
		if took := time.Since(began); took < 58*time.Second || took > 61*time.Second {
			t.Errorf("60,000 bytes at 1,000 a second took %v", took)
		}
	})
}
