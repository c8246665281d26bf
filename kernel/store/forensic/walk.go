package forensic

// logRecord is one whole record of a log.
type logRecord struct {
	off, end int64
	payload  []byte // valid until emit returns
	repaired bool   // one of its bits had to be turned back
}

// flaw is a place where a log can't be read on.
type flaw struct {
	off    int64 // the first byte that is not served: the start of the record that is broken
	at     int64 // the chunk that is broken
	resume int64 // where sound chunks begin again, or the file's size
	bit    int64 // the turned bit that explains it (counted from the file's start), or -1
	behind bool  // a record begins, or the log's closing mark stands, behind it
	headed bool  // the broken chunk has a header of this log: its first sector was written
	cause  string
}

// walked is the strict reading of one log file.
type walked struct {
	size    int64
	end     int64 // behind the last sound chunk or closing mark
	served  int64 // where Pebble stops: the end of the last whole record before the first flaw
	closed  bool  // the mark of a closed log was found
	flaws   []flaw
	promise int64 // the highest offset that a sync-offset header calls durable, or -1
}

// intact is where the first break of the chunks is.
func (w *walked) intact() int64 {
	if len(w.flaws) > 0 {
		return w.flaws[0].at
	}
	return w.end
}

// walker reads a log chunk by chunk. It owns data and turns flipped bits back in it.
type walker struct {
	data []byte
	f    framing
	emit func(logRecord) error
	out  walked

	open     bool // within a record
	begin    int64
	buf      []byte
	repaired bool
	lost     bool // behind a flaw: continuations of the broken record are passed over
}

// walk reads a whole log strictly and hands each whole record to emit: those in front of a flaw,
// those behind it, and those that one turned bit had hidden. The error is emit's.
func walk(data []byte, f framing, emit func(logRecord) error) (walked, error) {
	w := &walker{data: data, f: f, emit: emit}
	w.out.size, w.out.promise = int64(len(data)), -1
	for off, done := 0, false; !done; {
		var err error
		if off, done, err = w.step(off); err != nil {
			return w.out, err
		}
	}
	return w.out, nil
}

// step handles what stands at off and says where to go on.
func (w *walker) step(off int) (next int, done bool, err error) {
	c, o := chunkAt(w.data, off, w.f)
	switch o {
	case chunkGood:
		return c.end, false, w.take(c)
	case chunkPad:
		return (off/blockSize + 1) * blockSize, false, nil
	case chunkTrailer:
		if w.open {
			w.flaw(off, off, "a record has no end")
		}
		w.beginsBehind()
		w.out.closed, w.out.end = true, int64(c.end)
		if len(w.out.flaws) == 0 {
			w.out.served = w.out.end
		}
		return 0, true, nil
	case chunkEnd:
		if w.open {
			w.flaw(off, off, "the file ends within a record")
		}
		return 0, true, nil
	}
	return w.broken(off, o)
}

// broken handles a place that holds no sound chunk: a flipped bit is turned back; otherwise the
// next sound chunk is looked for, and where there is none the log ends here.
func (w *walker) broken(off int, o outcome) (next int, done bool, err error) {
	if o == chunkBad {
		if bit, ok := flippedBit(w.data, off, w.f); ok {
			w.data[bit/8] ^= 1 << (bit % 8)
			c, _ := chunkAt(w.data, off, w.f)
			w.note(flaw{off: w.brokenFrom(off), at: int64(off), resume: int64(c.end), bit: bit,
				cause: "one bit is turned"})
			w.repaired = true
			return off, false, nil
		}
	}
	cause := map[outcome]string{chunkZero: "nothing is written here",
		chunkStale: "the remains of an older log", chunkBad: "no sound chunk"}[o]
	resume, ok := nextGood(w.data, off+1, w.f)
	if ok || w.open || o == chunkBad {
		w.flaw(off, resume, cause)
		w.out.flaws[len(w.out.flaws)-1].headed = ofThisLog(w.data[off:], w.f)
	}
	return resume, !ok, nil
}

// take adds a sound chunk to the record it belongs to and emits the record when it is whole.
func (w *walker) take(c chunk) error {
	w.out.end = int64(c.end)
	if c.sync {
		w.out.promise = max(w.out.promise, int64(min(c.syncOffset, 1<<62)))
	}
	starts := c.pos == posFull || c.pos == posFirst
	switch {
	case starts && w.open:
		w.flaw(c.off, c.off, "a record has no end")
	case !starts && !w.open && w.lost:
		return nil
	case !starts && !w.open:
		w.begin = int64(c.off)
		w.flaw(c.off, c.end, "a record has no beginning")
		return nil
	}
	if starts {
		w.beginsBehind()
		w.open, w.lost, w.begin, w.buf = true, false, int64(c.off), w.buf[:0]
	}
	w.buf = append(w.buf, c.payload...)
	if c.pos == posFirst || c.pos == posMiddle {
		return nil
	}
	r := logRecord{off: w.begin, end: int64(c.end), payload: w.buf, repaired: w.repaired}
	w.open, w.repaired = false, false
	if len(w.out.flaws) == 0 {
		w.out.served = r.end
	}
	return w.emit(r)
}

// brokenFrom is where the record begins that a broken chunk at off belongs to.
func (w *walker) brokenFrom(off int) int64 {
	if w.open {
		return w.begin
	}
	return int64(off)
}

// flaw ends the record in hand and notes what is unreadable up to resume.
func (w *walker) flaw(off, resume int, cause string) {
	w.note(flaw{off: w.brokenFrom(off), at: int64(off), resume: int64(resume), bit: -1, cause: cause})
	w.open, w.lost, w.repaired = false, true, false
}

func (w *walker) note(f flaw) { w.out.flaws = append(w.out.flaws, f) }

// beginsBehind tells the flaws so far that something follows them.
func (w *walker) beginsBehind() {
	for i := len(w.out.flaws) - 1; i >= 0 && !w.out.flaws[i].behind; i-- {
		w.out.flaws[i].behind = true
	}
}
