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

// ahead is how many bytes of a request are told of before it begins: who is told may wait for hours, and no store waits so long
// for what a request has to bring.
const ahead = 32 << 10

// send makes a request that brings a range of the file. One whose bytes stood still, because who is told of them waited,
// may be given up by the store, or by us who hear nothing of it: that is no outage, and it is made again.
func (p *placing) send(ctx context.Context, at, n int64, request func(io.Reader) error) error {
	told := int64(0)
	for {
		s := &sending{ctx: ctx, r: io.NewSectionReader(p.content, at, n), p: p, told: min(n, ahead)}
		p.tell(s.told - told)
		err := request(s)
		if err == nil || ctx.Err() != nil || !s.stood() || !gaveUp(err) {
			return err
		}
		told = s.told
	}
}

// gaveUp reports whether an error is none that a store would give to a request that came in one go.
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

	mu   sync.Mutex // held during calls of p.tell, and guards long
	long bool       // one of them took so long that the request can't be expected to have survived it
}

func (s *sending) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(b)
	if n > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.p.placed.Sent += int64(n)
		known := min(s.told, int64(n))
		s.told -= known
		began := time.Now()
		s.p.tell(int64(n) - known)
		s.long = s.long || time.Since(began) > s.p.cfg.Silence/2
	}
	return n, err
}

// stood reports whether the bytes stood still for long, once they go on.
func (s *sending) stood() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.long
}
