package s3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
)

// ahead is how many bytes of a request progress is told of before the request begins: progress may block for hours, and no
// store waits so long for the body.
const ahead = 32 << 10

// send makes a request whose body is a range of the file. If progress blocked for long in the middle of it, the store may
// have given up the request, or we, who heard nothing of the store: that is no outage, and the request is made again.
func (p *placing) send(ctx context.Context, at, n int64, request func(io.Reader) error) error {
	told := int64(0)
	for {
		s := &sending{ctx: ctx, r: io.NewSectionReader(p.content, at, n), p: p, told: min(n, ahead)}
		p.tell(s.told - told)
		err := request(s)
		if err == nil || ctx.Err() != nil {
			return err
		}
		stood, left := s.end()
		if !stood || !gaveUp(err) {
			return err
		}
		told = left
	}
}

// gaveUp reports whether a request may have failed only because its body stood still.
func gaveUp(err error) bool {
	e, answered := errors.AsType[minio.ErrorResponse](err)
	return !answered || e.Code == "RequestTimeout" || e.StatusCode == http.StatusRequestTimeout
}

func (p *placing) tell(n int64) {
	if n > 0 && p.progress != nil {
		p.progress(n)
	}
}

// sending is what a request has to bring.
type sending struct {
	ctx  context.Context
	r    io.Reader
	p    *placing
	told int64 // of bytes that are still to be read

	mu    sync.Mutex // held during calls of p.tell, and guards all but ctx and r
	long  bool       // one of these calls took so long that the request can't be expected to have survived it
	ended bool       // the request has failed
}

// errEnded ends what is left of a request that has failed: the library may read on for a moment.
var errEnded = errors.New("the request has ended")

func (s *sending) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(b)
	if n > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ended {
			return 0, errEnded
		}
		s.p.placed.Sent += int64(n)
		known := min(s.told, int64(n))
		s.told -= known
		began := time.Now()
		s.p.tell(int64(n) - known)
		s.long = s.long || time.Since(began) > s.p.cfg.Silence/2
	}
	return n, err
}

// end has nothing more read. It reports whether the bytes stood still for long, and how many are told of that were not read.
func (s *sending) end() (stood bool, told int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return s.long, s.told
}
