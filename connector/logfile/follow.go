package logfile

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/base/lines"
	"holdfast/connector"
)

const (
	chunkBytes  = 128 << 10
	batchEvents = 4096
)

// follower is one call of Watch. It is for one goroutine.
type follower struct {
	cfg    Config
	files  rotation
	wake   wake
	fields map[string]string // of every line
	tell   func(context.Context, connector.Seen) error

	f    *source // nil while there is none
	late *late   // the one before, nil if there was none
	at   *place  // behind what was told; nil before the first look
	mark mark    // what was read of f
	sp   *lines.Splitter
	join *lines.Joiner[written] // nil if lines stand alone
	buf  []byte

	events []connector.Event
	told   []byte    // the last position
	grown  time.Time // when f was last seen to grow, or to be gone
	there  bool      // f was seen at the path
	came   int       // how many files had come then
	gone   bool      // f is no more what is at the path
	// before are the files that had been rotated already when f was begun at the path; nil if f was begun elsewhere.
	before map[identity]bool
	when   when
	blank  bool // only zeros were read of f
}

func newFollower(c Config, at *place, tell func(context.Context, connector.Seen) error) *follower {
	var told []byte
	if at != nil {
		told = at.bytes()
	}
	files := c.files()
	if at != nil && !files.order.fixed {
		files.order.counts = at.Counts
	}
	return &follower{cfg: c, told: told, files: files, wake: wake{files: files}, at: at, tell: tell, buf: make([]byte, chunkBytes),
		when: when{zone: c.zone()}, fields: map[string]string{"_PATH": c.Path}}
}

func (w *follower) close() {
	w.wake.close()
	if w.f != nil {
		w.f.f.Close()
	}
	if w.late != nil {
		w.late.f.f.Close()
	}
}

func (w *follower) run(ctx context.Context) error {
	w.wake.ready()
	if err := w.locate(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		w.wake.ready()
		more, err := w.step(ctx)
		if err == nil {
			err = w.flush(ctx)
		}
		if err != nil {
			return err
		}
		if !more {
			most := w.patience()
			w.wake.wait(ctx, most, most == w.cfg.Look)
		}
	}
	return nil
}

// patience returns how long to wait without news before the file is looked at all the same.
func (w *follower) patience() time.Duration {
	most := w.cfg.Look
	if w.gone {
		most = min(most, time.Until(w.grown.Add(w.cfg.Settle)))
	}
	if w.join != nil {
		if due, open := w.join.Due(); open {
			most = min(most, time.Until(due))
		}
	}
	return most
}

// step reads once, and reports whether there may be more.
func (w *follower) step(ctx context.Context) (bool, error) {
	if w.f == nil {
		return w.enterNext()
	}
	began := time.Now()
	n, err := w.f.read(w.buf, w.sp.Read())
	if fault.Is(err, fault.Corrupt) {
		w.lost(w.at.Offset, err.Error())
		return true, w.leave()
	}
	if err != nil {
		return false, err
	}
	// What was read follows what was read before only if that is still there after the reading.
	if !w.f.packed {
		if same, err := w.same(); err != nil || !same {
			return true, orElse(err, w.truncated)
		}
	}
	if n > 0 && w.mark.offset == 0 {
		// It may have been copied and truncated before anything was read of it.
		if passed, err := w.files.passed(w.at); err != nil || passed {
			w.drop()
			return true, err
		}
	}
	if n > 0 {
		w.grown = time.Now()
		w.when.read(w.f, w.grown)
		return true, w.take(ctx, w.buf[:n])
	}
	if w.join != nil {
		w.join.Quiet(time.Now(), w.text)
	}
	if more, err := w.lateLines(); more || err != nil {
		return more, err
	}
	return w.atEnd(began)
}

func orElse(err error, do func() error) error {
	if err != nil {
		return err
	}
	return do()
}

// drop lets go of a file of which nothing was told.
func (w *follower) drop() {
	w.f.f.Close()
	w.f = nil
	w.at.forget()
}

// same reports whether the file is still the one that was read.
func (w *follower) same() (bool, error) {
	if err := w.f.look(); err != nil {
		return false, err
	}
	if w.f.size < w.sp.Read() {
		return false, nil
	}
	return w.mark.still(w.f)
}

// take makes events of what was read.
func (w *follower) take(ctx context.Context, b []byte) error {
	w.mark.push(b)
	if w.blank {
		b = w.zeros(b)
	}
	w.sp.Push(b)
	for l, ok := w.sp.Next(); ok; l, ok = w.sp.Next() {
		w.line(l)
		if len(w.events) >= batchEvents {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// zeros passes over the zeros at the beginning of a file whose writer went on at its own offset after a truncation.
func (w *follower) zeros(b []byte) []byte {
	text := bytes.TrimLeft(b, "\x00")
	if n := len(b) - len(text); n > 0 {
		w.sp = lines.NewSplitter(w.cfg.MaxLine, w.sp.Read()+int64(n))
	}
	w.blank = len(text) == 0
	return text
}

func (w *follower) line(l lines.Line) {
	at := w.when.of(l.Text)
	if w.join != nil {
		w.join.Add("", written{l.Begin, at}, l.Text, l.Cut, time.Now(), w.text)
		return
	}
	w.event(l.Text, l.Cut, written{l.Begin, at})
}

// written says where a line begins, and when it was written.
type written struct {
	begin int64
	at    time.Time
}

func (w *follower) text(t lines.Text[written]) { w.event(t.Text, t.Cut, t.First) }

func (w *follower) event(text []byte, cut bool, l written) {
	w.events = append(w.events, connector.Event{Kind: connector.EventLine, Time: l.at, ID: w.at.id(l.begin), Line: text, Cut: cut,
		Fields: w.fields})
}

func (w *follower) note(format string, args ...any) {
	w.say(connector.EventNote, "note", w.at.Offset, fmt.Sprintf(format, args...))
}

// lost tells that what follows an offset can't be read.
func (w *follower) lost(offset int64, cause string) {
	w.at.Any = true
	w.say(connector.EventGap, "gap", offset, cause)
}

func (w *follower) say(kind connector.EventKind, what string, offset int64, cause string) {
	w.events = append(w.events, connector.Event{Kind: kind, Time: time.Now(), ID: w.at.id(offset) + ":" + what,
		Cause: cause, Fields: w.fields})
}

// flush tells the events, and the position after them.
func (w *follower) flush(ctx context.Context) error {
	if err := w.stand(); err != nil {
		return err
	}
	position := w.at.bytes()
	if len(w.events) == 0 && string(position) == string(w.told) {
		return nil
	}
	if err := w.tell(ctx, connector.Seen{Events: w.events, Position: position}); err != nil {
		return err
	}
	clear(w.events)
	w.events, w.told = w.events[:0], position
	return nil
}

// stand moves the place to the next line that is not told yet.
func (w *follower) stand() error {
	if w.f == nil {
		return nil
	}
	offset := w.sp.At()
	if w.join != nil {
		if open := w.join.Open(); len(open) > 0 {
			offset = open[0].First.begin
		}
	}
	if offset == w.at.Offset {
		return nil
	}
	w.at.print = print{Offset: offset}
	w.at.Mod = w.f.mod.UnixNano()
	w.at.Begin = w.mark.head[:min(offset, int64(len(w.mark.head)))]
	w.at.Head = hash(w.at.Begin)
	if w.f.packed {
		return nil
	}
	n := min(offset, tailBytes)
	tail, err := w.f.at(offset-n, int(n))
	if err != nil {
		return err
	}
	if still, err := w.mark.still(w.f); err != nil || !still {
		return err // it was truncated just now: it is known by its head alone
	}
	w.at.Tail = hash(tail)
	return nil
}

// begin goes on with a file after an offset. The first bytes of the file are known.
func (w *follower) begin(s *source) error {
	if w.f != nil && w.f != s {
		w.f.f.Close()
	}
	w.f, w.there, w.gone, w.grown = s, false, false, s.mod
	w.sp = lines.NewSplitter(w.cfg.MaxLine, w.at.Offset)
	if err := w.rotatedBefore(); err != nil {
		return err
	}
	w.join = nil
	if w.cfg.Join != nil {
		w.join = lines.NewJoiner[written](*w.cfg.Join.Rule())
	}
	w.mark = mark{offset: w.at.Offset}
	head, err := s.at(0, int(min(w.at.Offset, headBytes)))
	if err != nil {
		return err
	}
	n := min(w.at.Offset, tailBytes)
	tail, err := s.at(w.at.Offset-n, int(n))
	w.mark.head, w.mark.tail = slices.Clone(head), slices.Clone(tail)
	w.blank = len(bytes.Trim(head, "\x00")) == 0 && len(bytes.Trim(tail, "\x00")) == 0
	return err
}

// rotatedBefore notes which files had been rotated before the one that is begun.
func (w *follower) rotatedBefore() error {
	w.before = nil
	all, err := w.files.list()
	if err != nil || len(all) == 0 || all[len(all)-1].path != w.cfg.Path || all[len(all)-1].identity != w.f.identity {
		return err
	}
	w.before = map[identity]bool{}
	for _, e := range all[:len(all)-1] {
		w.before[e.identity] = true
	}
	return nil
}

// learn finds out, from the name that the file was given, in which direction its rotation counts.
func (w *follower) learn(own identity) (err error) {
	w.at.Counts, err = w.files.learn(own, w.before)
	return err
}
