package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/kernel/engine"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// small is the size of a file, in bytes, below which shipping it costs more for its round trips than for its bytes.
const small = 1 << 20

// mostLarge is how many large files are under way at once, if the destination takes that many. Over a long distance, a file
// that is being verified, linked and synced leaves the link to the others.
const mostLarge = 24

// shipAll ships the files that are to go to the destination beside each other.
func (t *destination) shipAll(ctx context.Context, g *engine.Group) error {
	j := t.job
	places := max(j.cfg.Workers, t.To.Traits().Streams)
	large := max(1, places/max(j.cfg.Workers, mostLarge))
	return j.spread(ctx, g, t.queue, places, large, t.mayShip, t.ship)
}

// shipment is what the ledger has of a file at the destination, nil for nothing.
func (t *destination) shipment(c connector.Claim) *connector.Shipment {
	if c.Done == nil || c.Done.Of != connector.ByHoldfast {
		return nil
	}
	for i, s := range c.Done.Shipments {
		if s.Destination == t.To.Traits().Root {
			return &c.Done.Shipments[i]
		}
	}
	return nil
}

// mayShip waits until something may go out.
func (t *destination) mayShip(ctx context.Context) error {
	if t.Limited {
		if _, err := t.job.limit.begin(ctx); err != nil {
			return err
		}
	}
	return t.gate.Wait(ctx)
}

// ship brings a file to a destination and records it.
func (t *destination) ship(ctx context.Context, l queue.Lease, f *file) (err error) {
	j := t.job
	began := time.Now()
	if f.to(t).At.IsZero() {
		if j.ledger != nil && !j.ledger.isSure(f.ID) { // another may have brought it since: its packed form has other bytes
			c, err := j.lock(ctx, f, true)
			switch s := t.shipment(c); {
			case err == nil:
				f.note(func(f *file) { f.Held = true })
			// A former life recorded it, gave it back, and came no further. Of a file that is packed or large the store would
			// know more.
			case f.Held && s != nil && f.Packed == nil && s.SHA256 == f.SHA256.sha256():
				f.note(func(f *file) {
					*f.to(t) = shipped{Name: t.Name, Root: s.Destination, Path: Name(s.Path), Verified: s.Verified, At: s.At, Size: s.Size,
						SHA256: sumOf(s.SHA256[:])}
				})
			default:
				return t.missed(ctx, l, f, err)
			}
		}
	}
	if f.to(t).At.IsZero() {
		if f.Packed == nil {
			if err := j.origin.gate.Wait(ctx); err != nil {
				return err
			}
		}
		if f, err = t.bring(ctx, f); err != nil {
			return t.missed(ctx, l, f, err)
		}
	}
	last := j.leaves(f) && !f.to(t).Recorded && f.missing() == 1
	if !f.to(t).Recorded {
		if err := j.record(ctx, t, f, last); err != nil {
			return t.missed(ctx, l, f, err)
		}
	}
	f, err = j.change(f, func(tx *store.Tx, f *file) error {
		f.Failures, f.to(t).Recorded = 0, true
		if j.ledger != nil {
			f.Held = !last // a dead one that goes on was claimed anew
			f.did(Recorded, t.Name, 0, "in %s", j.ledger.Traits().Name)
		}
		if err := t.count(tx, f.size()); err != nil {
			return err
		}
		tx.OnDurable(j.ahead.tell)
		if err := t.queue.Done(tx, l); err != nil {
			return err
		}
		switch {
		case f.missing() > 0:
			if !f.State.ended() {
				return nil
			}
			return f.tidies(tx, j.named) // a person has let it go elsewhere
		case last:
			f.becomes(Done, "")
			f.did(Kept, "", 0, "")
			return nil
		}
		f.becomes(Finishing, "")
		_, err := j.after.Put(tx, f.task())
		return err
	})
	if err == nil {
		if last && j.ledger != nil {
			j.ledger.gaveBack(f.ID)
		}
		to := *f.to(t)
		j.env.Log.Info(fmt.Sprintf("Transferred %s to %s: %s in %v, verified by %s", f.Path, to.Path, disk.Size(f.size()),
			time.Since(began).Round(time.Millisecond), to.Verified))
	}
	return err
}

// size is how many bytes of a file go out.
func (f *file) size() int64 {
	if f.Packed != nil {
		return f.Packed.Size
	}
	return f.Size
}

// missing returns how many destinations do not have the file, or do not have it recorded.
func (f *file) missing() (n int) {
	for _, s := range f.To {
		if !s.Recorded {
			n++
		}
	}
	return n
}

// leaves reports whether the original stays as it is, and nothing is kept beside it.
func (j *Job) leaves(f *file) bool { return f.Packed == nil && j.cfg.After != Remove && !f.Overwrite }

// missed puts a file off that could not be brought. An error that speaks of the destination closes its gate, and costs no
// attempt.
func (t *destination) missed(ctx context.Context, l queue.Lease, f *file, cause error) error {
	j := t.job
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e end
	var slow *slowness
	switch {
	case errors.As(cause, &e), isOfSource(cause), ofTheFile(cause):
	case errors.As(cause, &slow): // what came stays, and is gone on with
		cause = fault.As(fault.Transient, cause)
	default:
		t.gate.Report(cause)
		cause = fault.As(fault.Transient, cause)
	}
	defer j.ahead.tell()
	return j.settle(ctx, t.queue, l, f, cause)
}

// slowness is that a file took longer than it may.
type slowness struct{ after time.Duration }

func (s *slowness) Error() string {
	return fmt.Sprintf("it took longer than %v; what came is gone on with", s.after)
}

// patience is how long a file of a size may be under way.
func (j *Job) patience(size int64) time.Duration {
	return max(j.cfg.CopyTimeout, time.Duration(float64(size)/float64(j.cfg.Slowest)*float64(time.Second)))
}

// bring places a file at the destination.
func (t *destination) bring(ctx context.Context, f *file) (*file, error) {
	j, began := t.job, time.Now()
	f, err := j.repack(ctx, f)
	if err != nil {
		return f, err
	}
	in, content, err := j.content(f)
	if err != nil {
		return f, err
	}
	defer in.Close()
	from := &reading{ReaderAt: content.ReaderAt}
	content.ReaderAt = from
	within := j.patience(content.Size)
	if content.Size > small && t.To.Traits().Streams > j.cfg.Workers { // so many share the link
		within *= time.Duration((mostLarge + j.cfg.Workers - 1) / j.cfg.Workers)
	}
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := startStopwatch(within, func() { cancel(&slowness{within}) })
	defer watch.stop()
	placed, err := t.place(limited, f, content, func(n int64) {
		t.sent.Add(n)
		if t.Limited {
			watch.hold()
			_ = j.limit.take(limited, n) // who is told of bytes asks the context himself
			watch.release()
		}
	})
	if err != nil {
		if cause := context.Cause(limited); limited.Err() != nil && ctx.Err() == nil {
			err = cause
		} else if failed := from.failed(); failed != nil {
			err = failed
		}
		if f.Packed == nil || !fault.Is(err, fault.Conflict) {
			return f, err
		}
		return t.adopt(ctx, f, err)
	}
	if f.Packed == nil && placed.Verified == connector.BySize { // nobody else would notice that it changed on the way
		if err := j.same(in, f); err != nil {
			return f, err
		}
	}
	now := shipped{Name: t.Name, Root: t.To.Traits().Root, Path: Name(placed.Path), Verified: placed.Verified, At: time.Now(),
		Sent: placed.Sent, Size: content.Size, SHA256: sumOf(content.SHA256[:])}
	step := stepNow(Shipped, t.Name, time.Since(began), "%s", placedText(placed))
	if f.Packed == nil && content.Size <= small { // after a crash it is found there
		f.note(func(f *file) {
			*f.to(t) = now
			f.add(step)
		})
		return f, nil
	}
	return j.change(f, func(_ *store.Tx, f *file) error {
		if f.Packed != nil && f.Packed.SHA256 != now.SHA256 {
			return fault.New(fault.Corrupt, "its packed form was lost and made anew while it went out")
		}
		*f.to(t) = now
		f.add(step)
		return nil
	})
}

// place copies the file from another that has the same bytes there, or sends it.
func (t *destination) place(ctx context.Context, f *file, c connector.Content, progress func(int64)) (connector.Placed, error) {
	if from := f.Same[t.Name]; from != "" && f.Packed == nil {
		p, err := t.To.Copy(ctx, string(from), string(f.Name), c)
		if !fault.Is(err, fault.NotFound) {
			return p, err
		}
	}
	return t.To.Place(ctx, string(f.Name), c, progress)
}

// content is what is shipped of a file: its packed form, or the file as it is.
func (j *Job) content(f *file) (*os.File, connector.Content, error) {
	c := connector.Content{Size: f.Size, ModTime: time.Unix(0, f.Mtime), SHA256: f.SHA256.sha256()}
	if f.Packed == nil {
		if path.Base(string(f.Name)) != path.Base(string(f.Path)) {
			return nil, c, fault.WithHint(fault.New(fault.Corrupt, "it is to be %s, and has no packed form", f.Name),
				"let it go, and touch it: then it is a new file")
		}
		in, err := j.open(f)
		c.ReaderAt = in
		return in, c, err
	}
	in, err := os.Open(filepath.Join(j.env.Dir, string(f.Packed.Path)))
	if err != nil {
		return nil, c, fault.New(fault.Corrupt, "open its packed form: %w", err)
	}
	c.ReaderAt, c.Size, c.SHA256 = in, f.Packed.Size, f.Packed.SHA256.sha256()
	return in, c, nil
}

// record writes down in the ledger that a file is at a destination, the last one or not. A claim that was lost meanwhile is taken
// again.
func (j *Job) record(ctx context.Context, t *destination, f *file, last bool) error {
	if j.ledger == nil {
		return nil
	}
	to := *f.to(t)
	s := connector.Shipment{Destination: t.To.Traits().Root, Path: string(to.Path), SHA256: to.SHA256.sha256(), Size: to.Size,
		Verified: to.Verified, At: to.At.UTC()}
	put := func(ctx context.Context) error { return j.ledger.Record(ctx, j.original(f), s, t.index == 0, last) }
	err := j.ledger.ask(ctx, put)
	if !fault.Is(err, fault.Conflict) {
		return err
	}
	if _, err := j.lock(ctx, f, true); err != nil {
		return err
	}
	return j.ledger.ask(ctx, put)
}
