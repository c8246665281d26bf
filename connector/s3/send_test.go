package s3

import (
	"errors"
	"io"
	"testing"
	"time"

	"holdfast/connector/desttest"
)

// TestRequestThatReadsOn: a request that has failed, and whose body is read on for a moment, counts nothing any more and is told of
// nothing, while the next one is under way.
func TestRequestThatReadsOn(t *testing.T) {
	t.Parallel()
	const size = 4 * ahead
	var told int64
	paused := false
	p := &placing{Bucket: &Bucket{cfg: Config{Silence: 2 * time.Millisecond}}, content: desttest.Content(desttest.Bytes(1, size)),
		progress: func(n int64) {
			if told += n; told > ahead && !paused {
				paused = true
				<-time.After(4 * time.Millisecond)
			}
		}}
	var first io.Reader
	err := p.send(t.Context(), 0, size, func(r io.Reader) error {
		if first == nil {
			first = r
			_, _ = io.CopyN(io.Discard, r, 2*ahead)
			return errors.New("connection reset")
		}
		sent := p.placed.Sent
		if n, err := first.Read(make([]byte, ahead)); n > 0 || err == nil {
			t.Errorf("the first request goes on with %d bytes, %v", n, err)
		}
		if p.placed.Sent != sent {
			t.Errorf("it counts %d bytes", p.placed.Sent-sent)
		}
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if err != nil || p.placed.Sent != told {
		t.Errorf("%d bytes were sent, and told of %d: %v", p.placed.Sent, told, err)
	}
}
