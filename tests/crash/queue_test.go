package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// task is what happens to a task of the queue, and the one that its end leads to.
type task struct {
	Key   string `json:"key,omitempty"`
	Added bool   `json:"added,omitempty"` // Put said that Key was new; of an end, that Next was
	Next  string `json:"next,omitempty"`
}

// put puts a task, which may be there already.
func (j *job) put(r *rand.Rand) error {
	t := queue.Task{Key: taskKey(r.IntN(taskKeys))}
	t.Payload = []byte(t.Key)
	if r.IntN(3) == 0 {
		t.Order = fmt.Sprint("order ", r.IntN(3))
	}
	if r.IntN(3) == 0 {
		t.Due = time.Now().Add(time.Duration(r.IntN(2000)) * time.Millisecond)
	}
	c := change{Kind: aPut, Task: task{Key: t.Key}}
	return j.commit(c, r.IntN(4) == 0, func(tx *store.Tx, c *change) (err error) {
		c.Task.Added, err = j.queue.Put(tx, t)
		return err
	})
}

// taskKeys is how many keys tasks are put under.
const taskKeys = 80

func taskKey(n int) string { return fmt.Sprint("task ", n) }

// labour leases a task and brings it to some end. easily means that it is done.
func (j *job) labour(r *rand.Rand, patience time.Duration, easily bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	leases, err := j.queue.LeaseMany(ctx, 1)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if err != nil {
		return err
	}
	l := leases[0]
	if string(l.Payload) != l.Key {
		return fmt.Errorf("task %s has the payload %q", l.Key, l.Payload)
	}
	if err := j.w.tell(event{What: leased, Name: l.Key, N: uint64(l.Attempt)}); err != nil {
		return err
	}
	c := change{Kind: aDone, Task: task{Key: l.Key}}
	luck := r.IntN(10)
	if easily {
		luck = 9
	}
	switch luck {
	case 0:
		return nil // the worker dies alone: the task comes again with the next life
	case 1:
		if err := j.w.tell(event{What: released, Name: l.Key}); err != nil {
			return err
		}
		fallthrough
	case 2:
		c.Kind = aDelay
	case 3:
		c.Kind = aBury
	}
	after := time.Duration(r.IntN(3)) * 300 * time.Millisecond
	err = j.commit(c, false, func(tx *store.Tx, c *change) error {
		switch {
		case luck == 1:
			return j.queue.Release(tx, l, after)
		case luck == 2:
			_, err := j.queue.Retry(tx, l, after, "not now")
			return err
		case luck == 3:
			return j.queue.Dead(tx, l, "never")
		}
		if err := j.queue.Done(tx, l); err != nil || luck < 7 || easily {
			return err
		}
		c.Task.Next = fmt.Sprint(l.Key, " and on")
		added, err := j.queue.Put(tx, queue.Task{Key: c.Task.Next, Payload: []byte(c.Task.Next)})
		c.Task.Added = added
		return err
	})
	if err == nil && c.Kind == aDone {
		err = j.w.tell(event{What: ended, Name: l.Key})
	}
	return err
}

// decide revives or drops a dead task.
func (j *job) decide(r *rand.Rand) error {
	t, err := j.deadTask(r.IntN(taskKeys))
	if err != nil || t.ID == 0 {
		return err
	}
	if r.IntN(2) == 0 {
		return j.commit(change{Kind: aDrop, Task: task{Key: t.Key}}, false,
			func(tx *store.Tx, _ *change) error { return j.queue.Drop(tx, t.ID) })
	}
	if err := j.w.tell(event{What: released, Name: t.Key}); err != nil {
		return err
	}
	return j.commit(change{Kind: aRevive, Task: task{Key: t.Key}}, false,
		func(tx *store.Tx, _ *change) error { _, err := j.queue.Revive(tx, t.ID); return err })
}

// deadTask returns the first dead task among those of the keys from one on, with ID 0 if there is none.
func (j *job) deadTask(first int) (dead queue.Info, err error) {
	err = j.st.View(context.Background(), func(r store.Reader) error {
		for n := range taskKeys {
			f, _, err := j.queue.Find(r, taskKey((first+n)%taskKeys))
			if err != nil {
				return err
			}
			if f.ID == 0 {
				continue
			}
			t, _, _, err := j.queue.Show(r, f.ID)
			if err != nil {
				return err
			}
			if t.State == queue.Dead {
				dead = t
				return nil
			}
		}
		return nil
	})
	return dead, err
}

// attempts is what the world knows of a task.
type attempts struct {
	Last  uint64 // attempt that was begun
	Again bool   // attempts are counted anew, or the last one was given back
	Ended bool   // its end was acknowledged
}

// begun checks that a task may be begun: once ended it never comes again, and each attempt comes once.
func (w *witness) begun(key string, attempt uint64) error {
	a := w.tasks[key]
	if a.Ended {
		return fmt.Errorf("task %s comes again, though its end was acknowledged", key)
	}
	if attempt <= a.Last && !a.Again {
		return fmt.Errorf("task %s comes as attempt %d behind attempt %d", key, attempt, a.Last)
	}
	w.tasks[key] = attempts{Last: attempt}
	return nil
}

// task applies a change of a task.
func (m *model) task(c change) error {
	key, state := c.Task.Key, m.Tasks[c.Task.Key]
	want := byte(pending)
	switch c.Kind {
	case aPut:
		return m.put(key, c.Task.Added)
	case aDone:
		m.Tasks[key] = done
	case aDelay:
	case aBury:
		m.Tasks[key] = dead
	case aRevive, aDrop:
		want = dead
		m.Tasks[key] = map[string]byte{aRevive: pending, aDrop: discarded}[c.Kind]
	default:
		return fmt.Errorf("unknown change %q", c.Kind)
	}
	if state != want {
		return fmt.Errorf("task %s is %q, want %q", key, state, want)
	}
	if c.Task.Next != "" {
		return m.put(c.Task.Next, c.Task.Added)
	}
	return nil
}

func (m *model) put(key string, added bool) error {
	if known := m.Tasks[key] != 0; known == added {
		return fmt.Errorf("task %s was added (%v), and was there (%v)", key, added, known)
	}
	if added {
		m.Tasks[key] = pending
	}
	return nil
}

// compareTasks holds the queue against the model.
func (m *model) compareTasks(r store.Reader, q *queue.Queue) error {
	if faults, err := q.Verify(r); err != nil || len(faults) > 0 {
		return fmt.Errorf("the queue does not agree with itself: %v (%v)", faults, err)
	}
	counts := map[byte]uint64{}
	for key, state := range m.Tasks {
		counts[state]++
		f, ok, err := q.Find(r, key)
		if err != nil || !ok || f.Done != (state == done) || f.Dropped != (state == discarded) ||
			(f.ID != 0) != (state == pending || state == dead) {
			return fmt.Errorf("task %s is %q, and the queue says %+v %v (%v)", key, state, f, ok, err)
		}
	}
	c, err := q.Counts(r)
	if err != nil || !c.Balanced() || c.Put != uint64(len(m.Tasks)) || c.Done != counts[done] ||
		c.Dead != counts[dead] || c.Dropped != counts[discarded] ||
		c.Ready+c.Leased+c.Waiting != counts[pending] {
		return fmt.Errorf("the queue counts %+v, want %v (%v)", c, counts, err)
	}
	return nil
}
