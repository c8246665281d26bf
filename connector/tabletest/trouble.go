package tabletest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/tests/testenv"
)

// stopped: the error of who asks comes back as it is, at once, and the next question is answered.
func stopped(d *driver) {
	rows := hours(50)
	d.write(rows...)
	enough := errors.New("enough")
	for _, after := range []int{1, 2, 50} {
		n := 0
		err := d.tables.Rows(d.in(), d.query(), func([]any) error {
			if n++; n == after {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || fault.KindOf(err) != fault.Unknown || n != after {
			d.Errorf("stopped at row %d: got %v (kind %v) after %d rows", after, err, fault.KindOf(err), n)
		}
	}
	d.gives(d.query(), rows...)
}

// nested: who is given a row may ask the next question before it takes another.
func nested(d *driver) {
	rows := hours(5)
	d.write(rows...)
	n := 0
	err := d.tables.Rows(d.in(), d.query(), func([]any) error {
		n++
		q := d.query()
		q.From = time.Unix(rows[2].Time, 0)
		d.gives(q, rows[2:]...)
		d.newest(d.query(), time.Unix(rows[4].Time, 0))
		return nil
	})
	if err != nil || n != len(rows) {
		d.Errorf("got %d rows, %v", n, err)
	}
}

// beside: many ask at once while rows are written; nobody sees an error, nor fewer rows than were there.
func beside(d *driver) {
	const deliveries, each, askers = 20, 50, 4
	rows := hours(deliveries * each)
	d.write(rows[:each]...)
	ctx, cancel := context.WithTimeout(context.Background(), d.tg.Recovers)
	defer cancel()
	over := make(chan struct{})
	var all sync.WaitGroup
	for range askers {
		all.Go(func() {
			for before := each; ; {
				select {
				case <-over:
					return
				default:
				}
				got, err := d.ask(ctx, d.everything())
				if err == nil && len(got) < before {
					err = fmt.Errorf("%d rows, and there were %d before", len(got), before)
				}
				if err == nil {
					before = len(got)
					_, _, err = d.tables.Newest(ctx, d.query())
				}
				if err != nil {
					d.Errorf("beside writes: %v", err)
					return
				}
			}
		})
	}
	var err error
	for i := 1; i < deliveries && err == nil; i++ {
		err = d.deliver(rows[i*each : (i+1)*each])
	}
	close(over)
	all.Wait()
	if err != nil {
		d.Fatal(err)
	}
	d.gives(d.query(), rows...)
}

// cancelled: a question ends with its context, before it is asked and while it is answered.
func cancelled(d *driver) {
	rows := hours(200)
	d.write(rows...)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d.refused(ctx, d.tables, d.query(), fault.Transient)

	ctx, cancel = context.WithCancel(context.Background())
	defer cancel()
	n := 0
	err := d.tables.Rows(ctx, d.query(), func([]any) error {
		n++
		cancel()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || n != 1 {
		d.Errorf("cancelled at the first row: got %v after %d rows", err, n)
	}
	d.gives(d.query(), rows...)
}

// away: a database that is away is an outage, and the same reader goes on when it is back.
func away(d *driver) {
	if d.lacks(d.tg.Away.Lacks) {
		return
	}
	rows := hours(10)
	d.write(rows...)
	d.gives(d.query(), rows...)
	d.do(d.tg.Away.Do)
	for range 3 {
		d.refused(d.in(), d.tables, d.query(), fault.Transient)
	}
	fresh := d.open(d.tg.Open)
	d.refused(d.in(), fresh, d.query(), fault.Transient)
	d.do(d.tg.Away.Undo)
	d.recovers(rows...)
}

// restarted: connections that a restart has ended are replaced.
func restarted(d *driver) {
	if d.lacks(d.tg.Restart.Lacks) {
		return
	}
	rows := hours(10)
	d.write(rows...)
	d.gives(d.query(), rows...)
	d.do(d.tg.Restart.Do)
	d.do(d.tg.Restart.Undo)
	d.recovers(rows...)
}

// frozen: a database that says nothing is an outage, in time.
func frozen(d *driver) {
	if d.lacks(d.tg.Freeze.Lacks) {
		return
	}
	rows := hours(10)
	d.write(rows...)
	d.gives(d.query(), rows...)
	d.do(d.tg.Freeze.Do)
	begun := time.Now()
	d.refused(context.Background(), d.tables, d.query(), fault.Transient)
	if took := time.Since(begun); took > 2*d.tg.Timeout+10*time.Second {
		d.Errorf("two questions took %v, want at most %v each", took, d.tg.Timeout)
	}
	d.do(d.tg.Freeze.Undo)
	d.recovers(rows...)
}

// denied: who is refused is told so.
func denied(d *driver) {
	if d.lacks(d.tg.Denied.Lacks) {
		return
	}
	d.write(hours(1)...)
	d.refused(d.in(), d.open(d.tg.Denied.Open), d.query(), fault.Credentials)
}

// leavesNothing: after Close nothing of a reader runs.
func leavesNothing(d *driver) {
	rows := hours(500)
	d.write(rows...)
	before := append(testenv.ProxyLeaks(), goleak.IgnoreCurrent())
	tables, err := d.tg.Open()
	if err != nil {
		d.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			n := 0
			err := tables.Rows(d.in(), d.everything(), func([]any) error { n++; return nil })
			if err != nil || n != len(rows) {
				d.Errorf("got %d rows, %v", n, err)
			}
			if _, ok, err := tables.Newest(d.in(), d.query()); !ok || err != nil {
				d.Errorf("newest: got %v %v", ok, err)
			}
		})
	}
	all.Wait()
	enough := errors.New("enough")
	if err := tables.Rows(d.in(), d.query(), func([]any) error { return enough }); !errors.Is(err, enough) {
		d.Errorf("stopped: got %v", err)
	}
	if err := tables.Close(); err != nil {
		d.Errorf("close: %v", err)
	}
	leaked(d.T, before)
}

func leaked(t *testing.T, before []goleak.Option) {
	t.Helper()
	if err := goleak.Find(before...); err != nil {
		t.Errorf("after Close: %v", err)
	}
}
