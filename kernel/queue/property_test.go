package queue

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"holdfast/base/fault"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

var errNo = errors.New("no")

// want is what a queue should hold of one task that is there.
type want struct {
	state    string // open (ready or waiting), leased or dead
	attempts int
	order    string
	turn     int       // its place in its order
	due      time.Time // not before
}

// model is what a queue should hold.
type model struct {
	tasks              map[string]want
	ended              map[string]string // done or dropped
	put, done, dropped uint64
	turns              int
}

func (m model) clone() model {
	m.tasks, m.ended = maps.Clone(m.tasks), maps.Clone(m.ended)
	return m
}

// outcome is what can be seen of a queue: what of a model must be found after a cut.
func (m model) outcome() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m.tasks)) {
		t := m.tasks[k]
		fmt.Fprintf(&b, "%s %s %d; ", k, t.state, t.attempts)
	}
	for _, k := range slices.Sorted(maps.Keys(m.ended)) {
		fmt.Fprintf(&b, "%s %s; ", k, m.ended[k])
	}
	fmt.Fprintf(&b, "put %d done %d dropped %d", m.put, m.done, m.dropped)
	return b.String()
}

// mayRun reports whether a task may be leased now.
func (m model) mayRun(key string, now time.Time) bool {
	t := m.tasks[key]
	if t.state != "open" || t.due.After(now) {
		return false
	}
	for _, o := range m.tasks {
		if t.order != "" && o.order == t.order && o.state != "dead" && o.turn < t.turn {
			return false
		}
	}
	return true
}

const attempts = 3

// reopened is the model after the process ended.
func (m model) reopened() model {
	m = m.clone()
	for k, t := range m.tasks {
		if t.state == "leased" {
			t.state, t.due = "open", time.Time{}
			if t.attempts == attempts {
				t.state = "dead"
			}
			m.tasks[k] = t
		}
	}
	return m
}

type machine struct {
	tb     testing.TB
	fs     *storetest.CrashFS
	st     *store.Store
	q      *Queue
	now    model
	states []model // the last durable one and all since: one of these must be left by a cut
	held   []Lease
	lost   []Lease // of former lives
}

func newMachine(tb testing.TB) *machine {
	m := &machine{tb: tb, fs: storetest.NewCrashFS(), now: model{tasks: map[string]want{}, ended: map[string]string{}}}
	m.states = []model{m.now}
	m.open()
	return m
}

func (m *machine) open() {
	var err error
	if m.st, err = store.Open("/job", storetest.Options(m.tb, m.fs.FS())); err != nil {
		m.tb.Fatal(err)
	}
	if m.q, err = Open(m.st, "frames", Options{Lanes: []Lane{{Weight: 3}, {Weight: 1, Newest: true}}, Attempts: attempts}); err != nil {
		m.tb.Fatal(err)
	}
}

func (m *machine) close() {
	m.q.Close()
	m.st.Close()
}

// commit runs f in a transaction that is durable, lazy, or fails; it reports whether it happened.
func (m *machine) commit(t *rapid.T, f func(tx *store.Tx, next *model) error) bool {
	how := rapid.SampledFrom([]string{"durable", "durable", "lazy", "lazy", "failed"}).Draw(t, "commit")
	next, do := m.now.clone(), m.st.Update
	if how == "lazy" {
		do = m.st.UpdateLazy
	}
	err := do(func(tx *store.Tx) error {
		tx.Set(store.Job.K().Str("touch"), nil) // so that it does write something
		if err := f(tx, &next); err != nil {
			return err
		}
		if how == "failed" {
			return errNo
		}
		return nil
	})
	if how == "failed" && err == errNo {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	m.commited(next, how == "durable")
	return true
}

func (m *machine) commited(next model, durable bool) {
	if m.now = next; durable {
		m.states = nil
	}
	m.states = append(m.states, next)
}

func drawKey(t *rapid.T) string { return rapid.StringMatching(`[a-h]`).Draw(t, "key") }

func drawDelay(t *rapid.T) time.Duration {
	return rapid.SampledFrom([]time.Duration{0, 0, time.Second, 10 * time.Second}).Draw(t, "delay")
}

func (m *machine) put(t *rapid.T) {
	var tasks []Task
	for range rapid.IntRange(1, 4).Draw(t, "n") {
		task := Task{Key: drawKey(t), Order: rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "order"),
			Lane: rapid.IntRange(0, 1).Draw(t, "lane"), Payload: []byte("for ")}
		task.Payload = append(task.Payload, task.Key...)
		if d := drawDelay(t); d > 0 {
			task.Due = time.Now().Add(d)
		}
		tasks = append(tasks, task)
	}
	m.commit(t, func(tx *store.Tx, next *model) error {
		before := next.put
		for _, task := range tasks {
			if _, ok := next.tasks[task.Key]; ok || next.ended[task.Key] != "" {
				continue
			}
			next.turns++
			next.put++
			next.tasks[task.Key] = want{state: "open", order: task.Order, turn: next.turns, due: task.Due}
		}
		n, err := m.q.PutAll(tx, tasks)
		if uint64(n) != next.put-before {
			t.Fatalf("added %d, want %d", n, next.put-before)
		}
		return err
	})
}

func (m *machine) lease(t *rapid.T) {
	time.Sleep(rapid.SampledFrom([]time.Duration{0, 0, time.Second, 10 * time.Second}).Draw(t, "sleep"))
	most := rapid.IntRange(1, 3).Draw(t, "most")
	leases, err := m.q.look(most)
	if err != nil {
		t.Fatal(err)
	}
	now, next := time.Now(), m.now.clone()
	for _, l := range leases {
		if !next.mayRun(l.Key, now) {
			t.Fatalf("%s was leased and may not run: %s", l.Key, next.outcome())
		}
		w := next.tasks[l.Key]
		w.state = "leased"
		w.attempts++
		next.tasks[l.Key] = w
		if l.Attempt != w.attempts || string(l.Payload) != "for "+l.Key {
			t.Fatalf("leased %+v, want attempt %d", l, w.attempts)
		}
		m.held = append(m.held, l)
	}
	if len(leases) < most {
		for k := range next.tasks {
			if next.mayRun(k, now) {
				t.Fatalf("%s may run and was not leased: %s", k, next.outcome())
			}
		}
	}
	if len(leases) > 0 {
		m.commited(next, true)
	}
}

// finish ends one of the leases that are held.
func (m *machine) finish(t *rapid.T) {
	if len(m.held) == 0 {
		t.Skip("nothing is held")
	}
	i := rapid.IntRange(0, len(m.held)-1).Draw(t, "which")
	how := rapid.SampledFrom([]string{"done", "done", "retry", "release", "dead", "drop"}).Draw(t, "how")
	l, delay := m.held[i], drawDelay(t)
	ok := m.commit(t, func(tx *store.Tx, next *model) error {
		w := next.tasks[l.Key]
		w.state, w.due = "open", time.Time{}
		if delay > 0 {
			w.due = time.Now().Add(delay)
		}
		var err error
		switch how {
		case "done":
			delete(next.tasks, l.Key)
			next.done++
			next.ended[l.Key] = how
			return m.q.Done(tx, l)
		case "drop":
			delete(next.tasks, l.Key)
			next.dropped++
			next.ended[l.Key] = how
			return m.q.Drop(tx, l.ID)
		case "dead":
			w.state = "dead"
			err = m.q.Dead(tx, l, "bad header")
		case "release":
			w.attempts--
			err = m.q.Release(tx, l, delay)
		case "retry":
			var dead bool
			if w.attempts == attempts {
				w.state = "dead"
			}
			if dead, err = m.q.Retry(tx, l, delay, "no answer"); dead != (w.state == "dead") {
				t.Fatalf("%s: dead %v after %d attempts", l.Key, dead, w.attempts)
			}
		}
		next.tasks[l.Key] = w
		return err
	})
	if ok {
		m.held = slices.Delete(m.held, i, i+1)
		m.lost = append(m.lost, l)
	}
}

// person revives, drops and forgets.
func (m *machine) person(t *rapid.T) {
	key := drawKey(t)
	how := rapid.SampledFrom([]string{"revive", "drop", "forget"}).Draw(t, "how")
	m.commit(t, func(tx *store.Tx, next *model) error {
		f, _, err := m.q.Find(tx, key)
		if err != nil {
			return err
		}
		w, there := next.tasks[key]
		switch {
		case how == "forget":
			was := next.ended[key] != ""
			delete(next.ended, key)
			if ok, err := m.q.Forget(tx, key); ok != was || err != nil {
				t.Fatalf("forgot %s: %v %v, want %v", key, ok, err, was)
			}
		case !there:
			if f.ID != 0 {
				t.Fatalf("found %+v for %s", f, key)
			}
		case how == "revive" && w.state == "dead":
			next.turns++
			next.tasks[key] = want{state: "open", order: w.order, turn: next.turns}
			_, err = m.q.Revive(tx, f.ID)
		case how == "drop" && w.state != "leased":
			delete(next.tasks, key)
			next.dropped++
			next.ended[key] = how
			err = m.q.Drop(tx, f.ID)
		}
		return err
	})
}

// useLost tries a lease that is no longer good.
func (m *machine) useLost(t *rapid.T) {
	if len(m.lost) == 0 {
		t.Skip("none is lost")
	}
	l := rapid.SampledFrom(m.lost).Draw(t, "lease")
	err := m.st.Update(func(tx *store.Tx) error { return m.q.Done(tx, l) })
	if !fault.Is(err, fault.Conflict) {
		t.Fatalf("done by a lost lease: got %v, want a Conflict fault", err)
	}
}

// end ends the process, by a power cut or not.
func (m *machine) end(t *rapid.T) {
	fs := m.fs
	m.q.Close()
	if rapid.Bool().Draw(t, "power cut") {
		fs = m.fs.After(rapid.IntRange(0, 100).Draw(t, "kept"), rapid.Uint64().Draw(t, "seed"))
	} else {
		m.states = []model{m.now}
	}
	if err := m.st.Close(); err != nil {
		t.Fatal(err)
	}
	m.fs = fs
	m.open()
	m.lost, m.held = append(m.lost, m.held...), nil
	found, i := m.read(t), 0
	for i = range m.states {
		if s := m.states[i].reopened(); s.outcome() == found {
			m.now, m.states = s, []model{s}
			return
		}
	}
	t.Fatalf("found %s\nwhich the queue never was since the last durable commit: %s", found, m.states[0].reopened().outcome())
}

// read returns the outcome that the queue shows, and checks that it agrees with itself.
func (m *machine) read(t *rapid.T) string {
	got := model{tasks: map[string]want{}, ended: map[string]string{}}
	err := m.st.Latest(func(r store.Reader) error {
		faults, err := m.q.Verify(r)
		if len(faults) > 0 || err != nil {
			t.Fatalf("the queue does not agree with itself (%v):\n%s", err, strings.Join(faults, "\n"))
		}
		for key := 'a'; key <= 'h'; key++ {
			f, _, err := m.q.Find(r, string(key))
			switch {
			case err != nil:
				return err
			case f.ID != 0:
				i, _, _, err := m.q.Show(r, f.ID)
				if err != nil {
					return err
				}
				state := i.State.String()
				if i.State == Ready || i.State == Waiting {
					state = "open"
				}
				got.tasks[i.Key] = want{state: state, attempts: i.Attempts}
			case f.Done:
				got.ended[string(key)] = "done"
			case f.Dropped:
				got.ended[string(key)] = "drop"
			}
		}
		c, err := m.q.Counts(r)
		got.put, got.done, got.dropped = c.Put, c.Done, c.Dropped
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got.outcome()
}

// bubble hides from rapid that there is a deadline, which can't be asked for inside a bubble.
type bubble struct{ testing.TB }

func TestQueueAgainstModelWithPowerCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubble{t}, func(rt *rapid.T) {
			m := newMachine(t)
			defer func() { m.close() }()
			rt.Repeat(map[string]func(*rapid.T){
				"put":    m.put,
				"lease":  m.lease,
				"finish": m.finish,
				"person": m.person,
				"lost":   m.useLost,
				"end":    m.end,
				"": func(t *rapid.T) {
					if got := m.read(t); got != m.now.outcome() {
						t.Fatalf("the queue is\n%s, want\n%s", got, m.now.outcome())
					}
				},
			})
		})
	})
}
