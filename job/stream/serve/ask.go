package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"time"

	"holdfast/base/fault"
)

const (
	// part is how much of an answer is held before it is sent. While nothing is sent, an error can still be
	// told.
	part = 64 << 10
	// longest is how long an answer may take, however fast database and client are: it holds a place, and in
	// some databases a lock.
	longest = 10 * time.Minute
)

// question is what a route wants to know of the database.
type question struct {
	key  string // the same for what has the same answer
	kind string // media type of the answer
	long bool   // the answer may be long, and the question hard
	// ask writes the answer. An error of the kind NotFound says that there is none.
	ask func(ctx context.Context, out *reply) error
}

// put puts a question to the database and answers the request with what that says.
func (j *Job) put(w http.ResponseWriter, r *http.Request, q question) {
	out := newReply(r.Context(), w, q.kind, j.cfg.Timeout)
	defer out.stop()
	err := j.ask(r.Context(), q, out)
	switch {
	case err == nil:
		j.last.keep(q.key, out.kept())
	case r.Context().Err() != nil || out.begun:
		panic(http.ErrAbortHandler)
	case fault.Is(err, fault.NotFound):
		j.last.forget(q.key)
		refuse(w, err)
	default:
		j.unable(w, q.key, err)
	}
}

// ask puts a question while the database's gate is open and there is a place, and tells the gate what it
// meets.
func (j *Job) ask(ctx context.Context, q question, out *reply) error {
	if err := j.pass(out.ctx); err != nil {
		return err
	}
	leave, err := j.places.take(q.long)
	if err != nil {
		return err
	}
	defer leave()
	began := time.Now()
	if err = q.ask(out.ctx, out); err == nil {
		err = out.end()
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, errUnsent) {
		return err // the client has it, or does not want it any more
	}
	return j.judge(q, out, began, err)
}

// pass returns nil if the gate is open. Before the first canary is back it waits for that.
func (j *Job) pass(ctx context.Context) error {
	s := j.gate.Status()
	if !s.Open && s.Kind == "" {
		_ = j.gate.Wait(ctx) // if ctx ended it, the gate is still closed
		s = j.gate.Status()
	}
	if s.Open {
		return nil
	}
	return errAway
}

// errAway says that the gate is closed, whose status has the reason.
var errAway = errors.New("the database is away")

// errSilent ends a question that takes too long.
var errSilent = errors.New("no answer came")

// judge says what an error of a question means, and closes the gate if it speaks of the database.
func (j *Job) judge(q question, out *reply, began time.Time, err error) error {
	switch {
	case errors.Is(err, errReplaced):
		return err
	case errors.Is(context.Cause(out.ctx), errSilent) && q.long:
		// The question may just be hard. If the database is silent, the canary or a short question will find that.
		return fault.WithHint(fault.New(fault.Transient, "the database did not answer within %v", j.cfg.Timeout),
			"ask for less: a shorter time, a group, a limit")
	case errors.Is(context.Cause(out.ctx), errSilent):
		err = fault.New(fault.Transient, "%w within %v", errSilent, j.cfg.Timeout)
	case errors.Is(context.Cause(out.ctx), errLong):
		return errLong
	}
	switch fault.KindOf(err) {
	case fault.Unknown, fault.Transient, fault.Throttled, fault.Credentials, fault.Full, fault.Busy:
	default: // it speaks of the question, or of one table
		return err
	}
	if s := j.gate.Status(); s.Open && s.Since.After(began) {
		return err // it was met before the database came back
	}
	j.gate.Report(err)
	return errAway
}

// unable answers a question that can't be answered now with the reason, and with the last answer to it.
func (j *Job) unable(w http.ResponseWriter, key string, err error) {
	status, f, wait := http.StatusServiceUnavailable, failure(err), retry
	s := j.gate.Status()
	switch {
	case errors.Is(err, errAway) && s.Open: // it came back this moment
		f = Failure{Message: "the database was away; it is back this moment", Kind: fault.Transient.String()}
	case errors.Is(err, errAway):
		f = Failure{Message: "the database can't be asked: " + s.Cause, Hint: s.Hint, Kind: s.Kind,
			Since: s.Since.UTC()}
		wait = time.Until(s.Next)
	default:
		switch fault.KindOf(err) {
		case fault.Permanent, fault.Invalid, fault.Conflict, fault.Corrupt:
			status = http.StatusInternalServerError
		}
	}
	if k, ok := j.last.find(key); ok {
		age := time.Since(k.at).Seconds()
		f.Age, f.Last = &age, k.json()
		for name, values := range k.header {
			w.Header()[name] = values
		}
	}
	if status == http.StatusServiceUnavailable {
		later(w, wait)
	}
	tell(w, status, f)
}

// places bound how much is asked at once.
type places struct{ all, long chan struct{} }

func newPlaces(n int) places {
	return places{all: make(chan struct{}, n), long: make(chan struct{}, max(1, n/4))}
}

// take takes a place; leave gives it back.
func (p places) take(long bool) (leave func(), err error) {
	of := []chan struct{}{p.all}
	if long {
		of = append(of, p.long)
	}
	taken := of[:0:0]
	leave = func() {
		for _, c := range taken {
			<-c
		}
	}
	for _, c := range of {
		select {
		case c <- struct{}{}:
			taken = append(taken, c)
		default:
			leave()
			return nil, fault.New(fault.Busy, "%d questions are being answered, which is the most at once", cap(c))
		}
	}
	return leave, nil
}

// reply is an answer on its way. It is held back until it is whole, or too large for that.
type reply struct {
	ctx    context.Context // of the question; ended by the clock
	w      http.ResponseWriter
	header http.Header // of the answer, if it comes to that
	begun  bool        // something is sent

	cancel context.CancelCauseFunc
	bound  context.CancelFunc
	clock  *time.Timer // of the database's silence; it stands still while a client is waited for
	limit  time.Duration

	buf  []byte
	sent []byte // the answer so far, to be kept; nil once it is too large
	size int64
}

// errLong ends an answer that takes longer than any may.
var errLong = fault.New(fault.Transient, "the answer took longer than %v", longest)

// errUnsent is that a client did not take its answer.
var errUnsent = errors.New("the client did not take the answer")

func newReply(ctx context.Context, w http.ResponseWriter, kind string, limit time.Duration) *reply {
	o := &reply{w: w, header: http.Header{"Content-Type": {kind}}, limit: limit}
	ctx, o.bound = context.WithTimeoutCause(ctx, longest, errLong)
	o.ctx, o.cancel = context.WithCancelCause(ctx)
	o.clock = time.AfterFunc(limit, func() { o.cancel(errSilent) })
	return o
}

// stop ends the clock, and what still works for the answer.
func (o *reply) stop() {
	o.clock.Stop()
	o.cancel(nil)
	o.bound()
}

// wrote takes what was appended to the buffer, and sends it once it is large.
func (o *reply) wrote(buf []byte) error {
	o.buf = buf
	if len(o.buf) < part {
		return nil
	}
	return o.send()
}

func (o *reply) send() error {
	if !o.begun {
		o.begun = true
		maps.Copy(o.w.Header(), o.header)
	}
	o.clock.Stop()
	if _, err := o.w.Write(o.buf); err != nil {
		return fmt.Errorf("%w: %w", errUnsent, err)
	}
	o.remember()
	o.clock.Reset(o.limit)
	return nil
}

// remember copies the buffer to what is kept.
func (o *reply) remember() {
	o.size += int64(len(o.buf))
	if o.size <= maxAnswer {
		o.sent = append(o.sent, o.buf...)
	} else {
		o.sent = nil
	}
	o.buf = o.buf[:0]
}

// end sends the rest.
func (o *reply) end() error {
	if !o.begun && o.header.Get("Trailer") == "" {
		o.header.Set("Content-Length", strconv.Itoa(len(o.buf)))
	}
	return o.send()
}

// kept is what is remembered of an answer that was sent.
func (o *reply) kept() *kept {
	k := &kept{at: time.Now(), kind: o.header.Get("Content-Type"), body: o.sent, header: http.Header{}}
	for _, name := range ofWindow {
		if values := o.header.Values(name); len(values) > 0 {
			k.header[name] = values
		}
	}
	return k
}

// json is a kept answer as a value in JSON, nil if it was too large.
func (k *kept) json() json.RawMessage {
	switch {
	case k.body == nil:
		return nil
	case k.kind == jsonType:
		return k.body
	}
	text, _ := json.Marshal(string(k.body)) // a text always has JSON
	return text
}
