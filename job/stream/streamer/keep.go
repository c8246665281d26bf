package streamer

import (
	"context"
	"fmt"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// measureEvery is the least time between two looks at the quota.
const measureEvery = time.Second

// runKeep keeps the marks, and lets windows go that need not be kept any more.
func (j *Job) runKeep(ctx context.Context) error {
	kept := j.desk.figures().marks
	var measured time.Time
	for {
		if time.Since(measured) >= measureEvery {
			j.measure()
			measured = time.Now()
		}
		var now marks
		changed := j.desk.look(func() { now = j.desk.marks })
		err := error(nil)
		if now != kept {
			err = j.env.Store.UpdateLazy(func(tx *store.Tx) error {
				put(tx, keyMarks(), now)
				return nil
			})
		}
		if err == nil {
			kept = now
			err = j.trim()
		}
		again := time.Hour
		if fault.Is(err, fault.Full) { // what memory knows is written when there is room
			err, again = nil, time.Second
		}
		if err == nil {
			err = wait(ctx, again, changed)
		}
		if err != nil {
			return err
		}
	}
}

// trim removes the oldest windows: confirmed ones beyond what is to be retained, and, if they may go, those that were sent and
// not confirmed, beyond the room for all.
func (j *Job) trim() error {
	var done, undone []*window
	confirms := false
	j.desk.look(func() {
		d := j.desk
		confirms = d.marks.Confirms
		last := d.marks.Sent
		if confirms && !j.cfg.Expire {
			last = d.marks.Confirmed
		}
		bytes, confirmed := d.bytes, 0
		for n := d.oldest; n <= d.marks.Confirmed; n++ {
			if d.windows[n] != nil {
				confirmed++
			}
		}
		for n := d.oldest; n <= last; n++ {
			w := d.windows[n]
			isConfirmed := n <= d.marks.Confirmed
			if bytes <= j.cfg.RetainBytes && !(isConfirmed && confirmed > j.cfg.RetainWindows) {
				break
			}
			switch {
			case w == nil:
				continue
			case isConfirmed:
				done, confirmed = append(done, w), confirmed-1
			default:
				undone = append(undone, w)
			}
			bytes -= w.weight()
		}
	})
	if len(done) > 0 {
		if err := j.remove(done, settled, nil); err != nil {
			return err
		}
	}
	switch {
	case len(undone) == 0:
		return nil
	case confirms:
		return j.remove(undone, lost, j.tooMany)
	}
	return j.remove(undone, assumed, func(all []*window) string { return j.tooMany(all) + ", and nobody ever confirmed one" })
}

// tooMany says why windows go that nobody confirmed.
func (j *Job) tooMany(all []*window) string {
	first, last := all[0], all[len(all)-1]
	return fmt.Sprintf("windows %d to %d, %s from %s to %s, can't be sent again any more: more than %s "+
		"wait for their confirmation", first.Number, last.Number, plural.Of(rowsOf(all), "row"), first.From.Format(time.RFC3339),
		last.To.Format(time.RFC3339), disk.Size(uint64(j.cfg.RetainBytes)))
}

func rowsOf(all []*window) (n int) {
	for _, w := range all {
		n += w.Rows
	}
	return n
}

// remove removes windows from the store, and then from memory. Those that nobody has confirmed by then, which may be fewer than
// when they were chosen, are told to people in the words of why, and are a gap if they are lost.
func (j *Job) remove(all []*window, f fate, why func(unconfirmed []*window) string) error {
	update := j.env.Store.UpdateLazy
	if f != settled {
		update = j.env.Store.Update
	}
	text := ""
	err := update(func(tx *store.Tx) error {
		for _, w := range all {
			tx.Delete(keyWindow(w.Number))
			tx.DeleteRange(keyBatches(w.Pile), keyBatches(w.Pile).End())
		}
		left := j.desk.unconfirmed(all)
		if f == settled || len(left) == 0 {
			return nil
		}
		text = why(left)
		if f != lost {
			return nil
		}
		return lose(tx, j.source, balance.Expired, rowsOf(left), text)
	})
	if err != nil {
		return err
	}
	j.desk.change(func() { j.desk.drop(all, f) })
	if text != "" {
		j.env.History.Warn("stream."+map[fate]string{lost: "lost", assumed: "expired"}[f], "%s", text)
	}
	return nil
}

// lose counts rows that won't be where they belong.
func lose(tx *store.Tx, source uint32, c balance.Cause, rows int, why string) error {
	now := time.Now().UTC()
	return balance.PutGap(tx, balance.Gap{Source: source, Missing: uint64(rows), Cause: c,
		State: balance.GapLost, Found: now, Next: now, Note: why})
}

// measure holds what waits against its quota, and tells people when its level changes.
func (j *Job) measure() {
	var used int64
	j.desk.look(func() { used = j.desk.pending() })
	now, before := j.quota.At(used)
	if now == before {
		return
	}
	size, marks := disk.Size(uint64(max(used, 0))), j.quota.Quota().Marks
	switch now {
	case engine.Hard:
		does := "reading waits"
		if j.cfg.Expire {
			does = "the oldest of those that were sent go"
		}
		j.env.History.Warn("quota.hard", "windows that wait take %s, above their hard mark of %s: %s", size,
			disk.Size(uint64(marks.Hard)), does)
	case engine.Soft:
		if before == engine.Fine {
			j.env.History.Warn("quota.soft", "windows that wait take %s, above their soft mark of %s", size,
				disk.Size(uint64(marks.Soft)))
		}
	default:
		j.env.History.Note("quota.fine", "windows that wait take %s, below their marks", size)
	}
}
