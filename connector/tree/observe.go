package tree

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/base/fault"
)

var (
	errAnew = errors.New("the watch missed something, and is to be made anew")
	errTry  = errors.New("it was polled long enough to try to watch again")
)

// observe keeps a session going until ctx ends.
func (t *Tree) observe(ctx context.Context, files *table) error {
	if t.since.IsZero() {
		t.since = time.Now()
	}
	kind := Start
	var limit error    // for which it is polled
	var good time.Time // the pass of a session before that need not be made again began then
	for {
		r, err := t.await(ctx)
		if err != nil {
			return err
		}
		files.stand(r)
		s := &session{t: t, root: r, files: files, seen: t.seen, good: good}
		err = s.listen(limit)
		limit = nil
		if err == nil {
			err = s.run(ctx, kind)
			s.close()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s.opened {
			kind = CatchUp
		}
		if errors.Is(err, errAnew) {
			t.update(func(s *Status) { s.Remade++ })
		}
		if _, is := errors.AsType[limitError](err); is {
			limit = err
		}
		good = s.known(err)
		if _, is := errors.AsType[rootError](err); is {
			files.stand(root{})
			t.turn(Down, err)
			if err := t.rest(ctx); err != nil {
				return err
			}
		}
	}
}

func (t *Tree) rest(ctx context.Context) error {
	timer := time.NewTimer(t.own.pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// await returns when the root is there.
func (t *Tree) await(ctx context.Context) (root, error) {
	for {
		r, err := lookRoot(t.cfg.Root)
		if err == nil && t.mount && !r.mount {
			err = fault.WithHint(t.away("nothing is mounted there any more"),
				"mount it; if it is to be a directory like others, start again")
		}
		if err == nil {
			t.mount = r.mount
			return r, nil
		}
		t.turn(Down, err)
		if err := t.rest(ctx); err != nil {
			return root{}, err
		}
	}
}

// away is an outage, in words.
func (t *Tree) away(format string, args ...any) error {
	return fault.New(fault.Transient, "watch %s: %s", t.cfg.Root, fmt.Sprintf(format, args...))
}
