package journald

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast/connector"
)

// A batch ends when nothing more has come, or it is this large.
const (
	batchEvents = 4096
	batchBytes  = 4 << 20
)

// batch are entries that came together.
type batch struct {
	events []connector.Event
	text   []byte // the messages, one behind the other
	ends   []int  // of the messages
	micro  []int64
	bad    int // what was no entry
}

func (b *batch) reset() {
	clear(b.events)
	b.events, b.text, b.ends, b.micro, b.bad = b.events[:0], b.text[:0], b.ends[:0], b.micro[:0], 0
}

// batcher makes batches of the entries that a child writes.
type batcher struct {
	r      *reader
	e      entry
	last   []field // of the entry before, of which fields is made
	fields map[string]string
}

// fill reads entries until nothing more has come or the batch is full. An error ends the child's life; what was read
// before it is in the batch.
func (r *batcher) fill(b *batch) error {
	b.reset()
	for {
		err := r.r.next(&r.e)
		switch {
		case errors.Is(err, errEntry):
			b.bad++
		case err != nil:
			b.finish()
			return err
		case r.e.cursor != "":
			r.add(b)
		default:
			b.bad++
		}
		if len(b.events) >= batchEvents || len(b.text) >= batchBytes || r.r.waits() {
			b.finish()
			return nil
		}
	}
}

func (r *batcher) add(b *batch) {
	b.text = append(b.text, r.e.message...)
	b.ends = append(b.ends, len(b.text))
	b.micro = append(b.micro, r.e.micro)
	// One writer writes many entries whose fields are the same: they have one map.
	if r.fields == nil || !slices.Equal(r.last, r.e.fields) {
		r.last = append(r.last[:0], r.e.fields...)
		r.fields = fieldsOf(r.e.fields)
	}
	b.events = append(b.events, connector.Event{Kind: connector.EventLine, ID: r.e.cursor, Time: time.UnixMicro(r.e.micro), Cut: r.e.cut,
		Fields: r.fields})
}

// finish gives the events their lines, once the text is not moved any more.
func (b *batch) finish() {
	begin := 0
	for i := range b.events {
		b.events[i].Line = b.text[begin:b.ends[i]:b.ends[i]]
		begin = b.ends[i]
	}
}

func fieldsOf(all []field) map[string]string {
	m := make(map[string]string, len(all)+1)
	for _, f := range all {
		if was, twice := m[f.name]; twice {
			f.value = was + "\n" + f.value
		}
		m[f.name] = f.value
	}
	if u := unitOf(m); u != "" {
		m["_unit"] = u
	}
	return m
}

// unitOf returns the unit that an entry is of, or about: systemd itself and root may speak of another unit, as journalctl(1)
// says under --unit.
func unitOf(m map[string]string) string {
	switch {
	case m["_PID"] == "1" && m["UNIT"] != "":
		return m["UNIT"]
	case m["_UID"] == "0" && m["OBJECT_SYSTEMD_UNIT"] != "":
		return m["OBJECT_SYSTEMD_UNIT"]
	case m["_UID"] == "0" && m["COREDUMP_UNIT"] != "":
		return m["COREDUMP_UNIT"]
	}
	return m["_SYSTEMD_UNIT"]
}

// streamOf identifies the writer whose lines belong together.
func streamOf(m map[string]string) string {
	if s := m["_STREAM_ID"]; s != "" {
		return s
	}
	return strings.Join([]string{m["_BOOT_ID"], m["_PID"], m["SYSLOG_IDENTIFIER"]}, " ")
}

// incoming is a child's output, read by a goroutine, so that the watcher can attend to other things too.
type incoming struct {
	batches chan *batch
	free    chan *batch
	err     error // behind the end of batches
}

// incomingOf reads a child's output until its end or stop is closed. Its owner takes all batches.
func incomingOf(c *child, max int, stop <-chan struct{}) *incoming {
	in := &incoming{batches: make(chan *batch), free: make(chan *batch, 2)}
	in.free <- &batch{}
	in.free <- &batch{}
	c.wait.Go(func() {
		defer close(in.batches)
		r := &batcher{r: newReader(c.out, max)}
		for in.err == nil {
			var b *batch
			select {
			case b = <-in.free:
			case <-stop:
				return
			}
			in.err = r.fill(b)
			select {
			case in.batches <- b:
			case <-stop:
				return
			}
		}
	})
	return in
}

// own copies an event that is kept longer than its batch.
func own(e connector.Event) connector.Event {
	e.Line, e.Fields = nil, maps.Clone(e.Fields)
	return e
}
