package logfile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/connector/watchertest"
	"holdfast/tests/testenv"
)

// writer writes numbered lines and rotates as its chance has it.
type writer struct {
	*log
	r       *rand.Rand
	f       *os.File
	n       int
	keep    int  // rotated files
	up      bool // they are counted as log4j does: the youngest has the highest number
	dropped bool
	moments []moment
	stop    func()
}

// moment is where the watcher stood once, and how much it had told by then.
type moment struct {
	position []byte
	events   int
}

func (w *writer) start() {
	f, err := New(w.cfg)
	must(w.t, err)
	w.stop = watchertest.Start(w.t, f, w.Position(), w.tell)
}

func (w *writer) tell(ctx context.Context, s connector.Seen) error {
	err := w.Tell(ctx, s)
	// Of a file in which nothing was ever read nobody can say, when it is gone, whether it was the last one to go.
	if told := len(w.Events()); err == nil && told > 0 {
		w.moments = append(w.moments, moment{w.Position(), told})
	}
	return err
}

// back loses the last that was kept, as a job does that is killed before all of it is on the disk.
func (w *writer) back() {
	most := min(len(w.moments), 30)
	w.moments = w.moments[:len(w.moments)-w.r.IntN(most)]
	last, kept := w.moments[len(w.moments)-1], watchertest.New(w.t)
	must(w.t, kept.Tell(w.t.Context(), connector.Seen{Events: w.Events()[:last.events], Position: last.position}))
	w.Keeper = kept
}

func (w *writer) open() {
	f, err := os.OpenFile(w.cfg.Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(w.t, err)
	w.f = f
}

// put writes lines, in pieces now and then.
func (w *writer) put() {
	for range w.r.IntN(20) {
		line := fmt.Sprintf("%06d %s\n", w.n, strings.Repeat("x", w.r.IntN(60)))
		w.n++
		if w.r.IntN(4) == 0 {
			_, err := w.f.WriteString(line[:4])
			must(w.t, err)
			line = line[4:]
			w.pause()
		}
		_, err := w.f.WriteString(line)
		must(w.t, err)
	}
}

func (w *writer) pause() { time.Sleep(time.Duration(w.r.IntN(3000)) * time.Microsecond) }

// shift makes room for a new file, and returns its suffix: the oldest goes.
func (w *writer) shift() string {
	if w.up {
		return w.shiftDown()
	}
	for i := w.keep; i >= 1; i-- {
		for _, ext := range []string{"", ".gz"} {
			name := w.path("." + strconv.Itoa(i) + ext)
			if _, err := os.Stat(name); err != nil {
				continue
			}
			if i == w.keep {
				must(w.t, os.Remove(name))
				w.dropped = true
				continue
			}
			must(w.t, os.Rename(name, w.path("."+strconv.Itoa(i+1)+ext)))
		}
	}
	return ".1"
}

// shiftDown makes room above: while there is none, each takes the number below.
func (w *writer) shiftDown() string {
	for i := 1; i <= w.keep; i++ {
		if !w.there(i) {
			return "." + strconv.Itoa(i)
		}
	}
	for i := 1; i <= w.keep; i++ {
		for _, ext := range []string{"", ".gz"} {
			name := w.path("." + strconv.Itoa(i) + ext)
			if _, err := os.Stat(name); err != nil {
				continue
			}
			if i == 1 {
				must(w.t, os.Remove(name))
				w.dropped = true
				continue
			}
			must(w.t, os.Rename(name, w.path("."+strconv.Itoa(i-1)+ext)))
		}
	}
	return "." + strconv.Itoa(w.keep)
}

func (w *writer) there(i int) bool {
	_, plain := os.Stat(w.path("." + strconv.Itoa(i)))
	_, packed := os.Stat(w.path("." + strconv.Itoa(i) + ".gz"))
	return plain == nil || packed == nil
}

func (w *writer) rotate() {
	to := w.shift()
	if w.r.IntN(2) == 0 {
		w.copyTruncate(to)
		return
	}
	w.rename("", to)
	for range w.r.IntN(3) {
		w.put() // it does not know yet
	}
	must(w.t, w.f.Close())
	w.open()
}

// Lines are written, files are rotated in both ways, packed and removed, and the watcher ends and begins at any moment:
// each line is told once, or a gap is told.
func TestEveryLineOnceOrAGap(t *testing.T) {
	seed := testenv.Seed(t)
	for i := range testenv.Count(t, 100) {
		t.Run(strconv.Itoa(i), func(t *testing.T) { campaign(t, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
}

func campaign(t *testing.T, r *rand.Rand) {
	w := &writer{log: newLog(t), r: r, keep: 3 + r.IntN(20), up: r.IntN(3) == 0}
	w.cfg.Settle = 100 * time.Millisecond
	w.cfg.Since = "2020-01-01T00:00:00Z"
	w.open()
	w.write("begin\n")
	w.start()
	w.Tells("begin")
	for range 60 {
		switch r.IntN(8) {
		case 0:
			w.rotate()
		case 1:
			killed := r.IntN(2) == 0
			if killed {
				w.Refuse(func() error { return watchertest.ErrKilled })
			}
			w.pause()
			w.stop()
			if killed {
				w.back()
			}
			for range r.IntN(4) {
				w.put()
				if r.IntN(3) == 0 {
					w.rotate()
				}
			}
			w.pack()
			w.start()
		case 2:
			w.pack()
		default:
			w.put()
		}
		w.pause()
	}
	must(t, w.f.Close())
	w.write("end\n")
	w.Until("end", func() bool { return slices.Contains(w.Lines(), "end") })
	w.Until("line before the end", func() bool { return w.dropped || len(w.Lines()) >= w.n+2 })
	w.stop()
	w.check()
}

// pack packs one of the rotated files.
func (w *writer) pack() {
	i := 2 + w.r.IntN(4)
	if w.up && !w.there(i+1) {
		return // its writer may not know yet that it was rotated
	}
	name := w.path("." + strconv.Itoa(i))
	if _, err := os.Stat(name); err == nil {
		pack(w.t, name)
	}
}

func (w *writer) check() {
	defer func() {
		if w.t.Failed() {
			w.t.Logf("position %s; gaps and notes %.3000q", w.Position(), slices.DeleteFunc(w.Told(), func(s string) bool { return s[0] < 65 }))
		}
	}()
	told, gaps := map[int]bool{}, 0
	for _, l := range w.Lines() {
		if strings.HasPrefix(l, "GAP ") {
			gaps++
			continue
		}
		n := w.n
		if l == "begin" {
			n = -1
		} else if l != "end" {
			var err error
			if n, err = strconv.Atoi(l[:min(6, len(l))]); err != nil {
				w.t.Fatalf("this line was never written: %q", l)
			}
		}
		if told[n] {
			w.t.Fatalf("line %d was told twice", n)
		}
		told[n] = true
	}
	if missing := w.n + 2 - len(told); missing > 0 && gaps == 0 {
		first := 0
		for told[first] {
			first++
		}
		w.t.Fatalf("%d lines were not told, the first is %d of %d, and no gap says so", missing, first, w.n)
	}
	if gaps > 0 && !w.dropped {
		w.t.Fatalf("nothing was removed, and yet %d gaps are told", gaps)
	}
}
