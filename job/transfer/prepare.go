package transfer

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/base/fits"
	"holdfast/connector"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// ready gets a file ready to be shipped. What took long is in the store before the next step begins.
func (j *Job) ready(ctx context.Context, l queue.Lease, f *file) error {
	for _, step := range []func(context.Context, *file) (*file, error){j.lookUp, j.read, j.judge, j.claim, j.pack, j.place} {
		next, err := step(ctx, f)
		if fault.Is(err, fault.Invalid) { // a command that packs says so, too, when the original is not there
			if in, no := j.open(f); no != nil {
				err = no
			} else {
				in.Close()
			}
		}
		if err != nil {
			return j.settle(ctx, j.prepare, l, f, err)
		}
		f = next
	}
	_, err := j.change(f, func(tx *store.Tx, f *file) error {
		f.becomes(Shipping, "")
		f.To = make([]shipped, len(j.destinations))
		for i, t := range j.destinations {
			f.To[i].Name, f.To[i].Root = t.Name, t.To.Traits().Root
			task := f.task()
			task.Lane = f.lane()
			task.Order = string(f.Name) // never two to one name at once
			if _, err := t.queue.Put(tx, task); err != nil {
				return err
			}
		}
		return j.prepare.Done(tx, l)
	})
	return err
}

// leasedFrom reads the file of a task.
func leasedFrom(r store.Reader, l queue.Lease) (*file, error) {
	id, err := idOf(l.Payload)
	if err != nil {
		return nil, fault.New(fault.Corrupt, "task %q has payload %q", l.Key, l.Payload)
	}
	return readFile(r, id)
}

// now returns the present state of a file, which others may have changed.
func (j *Job) now(f *file) (now *file, err error) {
	err = j.env.Store.Latest(func(r store.Reader) error {
		now, err = readFile(r, f.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, with := range f.noted {
		now.note(with)
	}
	return now, nil
}

// end is an error that ends a file's way although nothing is wrong: the file is known, or gone.
type end struct {
	state State
	why   string
}

func (e end) Error() string { return e.why }

// busy is how long a file that somebody else transfers is left alone, at least.
const busy = 5 * time.Second

// settle ends the task of a file that can't go on, or puts it off, depending on what kept it.
func (j *Job) settle(ctx context.Context, q *queue.Queue, l queue.Lease, f *file, cause error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if source, ok := errors.AsType[*sourceError](cause); ok && source.away {
		j.origin.report(source)
	}
	var e end
	dead, now, err := j.isLast(f, cause)
	gave := false
	if err == nil && dead {
		gave, err = j.giveBack(ctx, now)
	}
	if err != nil {
		return err
	}
	_, err = j.change(f, func(tx *store.Tx, f *file) error {
		switch {
		case errors.As(cause, &e):
			was := f.State
			f.becomes(e.state, e.why)
			f.did(Act(e.state), of(q), 0, "%s", e.why)
			if err := q.Drop(tx, l.ID); err != nil {
				return err
			}
			if e.state == Gone && was != Gone { // it is taken in again if it comes back
				if _, err := j.prepare.Forget(tx, f.key()); err != nil {
					return err
				}
			}
			if e.state == Known && j.overwrites(f) {
				return j.willOverwrite(tx, f)
			}
			return f.tidies(tx, j.named)
		case fault.Is(cause, fault.Busy):
			f.Why = cause.Error()
			f.did(PutOff, of(q), 0, "%v", cause)
			return q.Release(tx, l, max(busy, fault.WaitOf(cause)))
		case isOutage(cause):
			f.Why = cause.Error()
			f.did(PutOff, of(q), 0, "%v", cause)
			return q.Release(tx, l, time.Second)
		}
		f.Failures++
		if dead {
			if gave && f.missing() == len(f.To) { // meanwhile another destination has claimed it again, to record it
				f.Held = false
			}
			return f.dies(tx, q, l, cause)
		}
		f.Why = cause.Error()
		f.did(Failed, of(q), 0, "%v", cause)
		_, err := q.Retry(tx, l, pause(f.Failures), cause.Error())
		return err
	})
	if err == nil && errors.As(cause, &e) {
		j.env.Log.Info(fmt.Sprintf("Passed over %s: %s", f.Path, e.why))
	}
	if err == nil && dead {
		j.env.History.Warn("file.dead", "%s: %v", f.Path, cause)
	}
	return err
}

// isOutage reports whether an error says nothing against the file itself. Errors that were met on this machine say themselves
// whether they are outages.
func isOutage(cause error) bool {
	if source, ok := errors.AsType[*sourceError](cause); ok {
		return source.away
	}
	return fault.Is(cause, fault.Transient)
}

// isLast reports whether a file that failed is to be a dead letter, and how the file is by now.
func (j *Job) isLast(f *file, cause error) (is bool, now *file, err error) {
	if _, ends := errors.AsType[end](cause); ends || fault.Is(cause, fault.Busy) || isOutage(cause) {
		return false, f, nil
	}
	if now, err = j.now(f); err != nil {
		return false, f, err
	}
	return lasts(cause) || now.Failures+1 >= j.cfg.Attempts, now, nil
}

// giveBack gives back the claim of a file that becomes a dead letter and is nowhere, because other files may have the same
// bytes.
func (j *Job) giveBack(ctx context.Context, f *file) (gave bool, err error) {
	claimed := j.ledger != nil && (f.Held || j.ledger.isSure(f.ID))
	if !claimed || slices.ContainsFunc(f.To, func(s shipped) bool { return s.Recorded }) {
		return false, nil
	}
	err = j.ledger.ask(ctx, func(ctx context.Context) error { return j.ledger.Unlock(ctx, j.original(f)) })
	if err != nil && !ofTheFile(err) { // what it says of the file does not matter any more
		return false, err
	}
	j.ledger.gaveBack(f.ID)
	return true, nil
}

// lasts reports whether trying again can't help.
func lasts(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.Conflict, fault.Permanent:
		return true
	}
	return false
}

// pause returns how long a file that failed so many times in a row waits before it is tried again.
func pause(failures int) time.Duration {
	return min(time.Second<<min(failures, 10), 5*time.Minute)
}

// lookUp asks the ledger whether the file is done: another process may have done it, or rawtransfer.
func (j *Job) lookUp(ctx context.Context, f *file) (*file, error) {
	if j.ledger == nil || f.Held {
		return f, nil
	}
	source := j.source(f)
	var found map[string]connector.Entry
	err := j.ledger.ask(ctx, func(ctx context.Context) (err error) {
		found, err = j.ledger.Find(ctx, []string{source})
		return err
	})
	e, ok := found[source]
	if err != nil || !ok {
		return f, err
	}
	if e.Of == connector.ByRawtransfer || e.Size == f.Size && e.Created.Equal(time.Unix(0, f.Mtime)) {
		return f, known(e)
	}
	return f, nil // its hash tells
}

func known(e connector.Entry) error {
	s := e.Shipments[0]
	return end{Known, fmt.Sprintf("the ledger has it: %s, since %s", s.Path, s.At.UTC().Format(time.RFC3339))}
}

// open opens the original, if it is still this one.
func (j *Job) open(f *file) (*os.File, error) {
	name := j.source(f)
	in, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case isGone(err):
		return nil, j.notThere(f)
	case errors.Is(err, syscall.ELOOP):
		return nil, end{Gone, "it is not there any more"}
	case errors.Is(err, fs.ErrPermission):
		return nil, fault.WithHint(ofSource(err), "give this user the right to read it")
	case err != nil:
		return nil, ofSource(err)
	}
	if err := j.same(in, f); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

const wasChanged = "another file is there now, or it was changed: that is one of its own"

// same returns nil if an open file is the one that was found, unchanged.
func (j *Job) same(in *os.File, f *file) error {
	now, err := identityOf(in)
	if err != nil {
		return ofSource(err)
	}
	if now.Path = f.Path; now != f.Identity {
		return end{Gone, wasChanged}
	}
	return nil
}

// identityOf is the identity of an open file, without its path. What is no regular file has none.
func identityOf(in *os.File) (i Identity, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return i, fmt.Errorf("look at %s: %w", in.Name(), err)
	}
	if !isFile(&st) {
		return i, nil
	}
	return identityFrom("", &st), nil
}

func identityFrom(path Name, st *unix.Stat_t) Identity {
	return Identity{Path: path, Device: st.Dev, Inode: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano()}
}

func isFile(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFREG }

// read makes sure of the file, and hashes it, in one pass.
func (j *Job) read(ctx context.Context, f *file) (*file, error) {
	if !f.Hashed.IsZero() {
		return f, nil
	}
	in, err := j.open(f)
	if err != nil {
		return f, err
	}
	defer in.Close()
	began := time.Now()
	one, two := sha1.New(), sha256.New()
	from, hashes := &stoppable{ctx, in}, io.MultiWriter(one, two)
	var report fits.Report
	if isFITS(string(f.Path)) {
		report, err = fits.Check(io.TeeReader(from, hashes))
	} else {
		_, err = io.CopyBuffer(hashes, from, make([]byte, min(256<<10, f.Size+1)))
	}
	if err != nil {
		if ctx.Err() != nil {
			return f, err
		}
		return f, ofSource(fmt.Errorf("read %s: %w", f.Path, err))
	}
	if err := j.same(in, f); err != nil {
		return f, err
	}
	at, said := time.Now(), "no FITS file"
	if report.Verdict != "" {
		said = "FITS: " + string(report.Verdict)
	}
	why := ""
	if isBad(report.Verdict) {
		why = report.String()
		said += ": " + why
	}
	step := stepNow(Read, "", at.Sub(began), "%s", said)
	return j.finds(f, at.Sub(began), func(f *file) {
		f.Hashed, f.Verdict, f.Tiled, f.Why, f.Failures = at, report.Verdict, report.Packed, why, 0
		f.SHA1, f.SHA256 = sumOf(one.Sum(nil)), sumOf(two.Sum(nil))
		f.Meta = metaOf(j.cfg.Meta, string(f.Path))
		f.add(step)
	})
}

// quick is how long a step may take to be simply done once more after a crash. Nobody would notice that, and a commit takes as
// long.
const quick = 100 * time.Millisecond

// finds notes what a step found, or writes it down if it took long.
func (j *Job) finds(f *file, took time.Duration, with func(f *file)) (*file, error) {
	if took < quick {
		f.note(with)
		return f, nil
	}
	return j.change(f, func(_ *store.Tx, f *file) error {
		with(f)
		return nil
	})
}

// isFITS reports whether a file says by its name that it is one.
func isFITS(name string) bool {
	switch path.Ext(strings.TrimSuffix(strings.ToLower(name), ".fz")) {
	case ".fits", ".fit", ".fts":
		return true
	}
	return false
}

// stoppable is a reader that ends with a context.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s *stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// metaOf finds values in the name of a file.
func metaOf(re *regexp.Regexp, name string) map[string]string {
	if re == nil {
		return nil
	}
	m := re.FindStringSubmatch(path.Base(name))
	values := map[string]string{}
	for i, column := range re.SubexpNames() {
		if column != "" && i < len(m) && m[i] != "" {
			values[column] = m[i]
		}
	}
	return values
}

// judge refuses a bad file, unless the job ships those too.
func (j *Job) judge(_ context.Context, f *file) (*file, error) {
	if !isBad(f.Verdict) || j.cfg.ShipBad {
		return f, nil
	}
	return f, fault.WithHint(fault.New(fault.Invalid, "%s", f.Why),
		"look at the file; `bad: ship` in the configuration ships it as it is")
}

// claim claims the file in the ledger.
func (j *Job) claim(ctx context.Context, f *file) (*file, error) {
	if j.ledger == nil || j.ledger.isSure(f.ID) {
		return f, nil
	}
	c, err := j.lock(ctx, f, f.Held)
	if err != nil {
		return f, err
	}
	step := stepNow(Claimed, "", 0, "in %s", j.ledger.Traits().Name)
	held := func(f *file) {
		f.Held = true
		f.Same = j.copies(c.Same)
		f.add(step)
	}
	// Packing takes its time, and a claim that the store does not know of is never given back if the file goes meanwhile
	if j.packs(f) {
		return j.finds(f, quick, held)
	}
	f.note(held)
	return f, nil
}

// lock claims a file, or says why it is not ours.
func (j *Job) lock(ctx context.Context, f *file, again bool) (c connector.Claim, err error) {
	losses := 0
	err = j.ledger.ask(ctx, func(ctx context.Context) (err error) {
		losses = j.ledger.lossesSoFar()
		c, err = j.ledger.Lock(ctx, j.original(f), again)
		return err
	})
	switch {
	case err != nil:
		return c, err
	case c.Done != nil && (c.Done.Of == connector.ByRawtransfer || c.Done.SHA1 == f.SHA1.sha1()):
		return c, known(*c.Done)
	case c.Done != nil:
		return c, fault.WithHint(fault.New(fault.Conflict, "the ledger has a file of this name with other bytes: %s",
			c.Done.Shipments[0].Path), "rename one of them; nothing is overwritten")
	case !c.Held:
		err := fault.New(fault.Busy, "%s transfers it", c.By)
		err.Wait = max(time.Until(c.Until), 0)
		return c, err
	}
	j.ledger.claimed(f.ID, losses)
	return c, nil
}

// copies returns, by destination, the names under which the same bytes are there already.
func (j *Job) copies(e *connector.Entry) map[string]Name {
	if e == nil {
		return nil
	}
	names := map[string]Name{}
	for _, s := range e.Shipments {
		for _, t := range j.destinations {
			if name, ok := nameAt(t.To.Traits(), s); ok && s.Destination != "" {
				names[t.Name] = Name(name)
			}
		}
	}
	return names
}
