// Package action does what rules decided: it takes a call, in which every word is settled, does it once, and says how it went. It
// keeps nothing, retries nothing, and decides nothing: who queues calls, and what becomes of one whose outcome nobody knows, is
// job/supervise's.
//
// What a call may reach is given by Tools. Programs are run by base/process: no shell, an environment of their own, the
// whole of what they started ended at the time-out, and dead with us.
package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/process"
	"holdfast/base/visible"
	"holdfast/job/supervise/rule"
)

// ErrUnknown is in an error of Units when something was begun, and nobody can say how it ended.
var ErrUnknown = errors.New("nobody knows how it ended")

// Units are the services of the machine.
type Units interface {
	// Do does a verb of systemctl to a unit, and returns when systemd's job has ended.
	Do(ctx context.Context, verb, unit string) error
	// Kill sends a signal, without its SIG, to all processes of a unit.
	Kill(ctx context.Context, unit, signal string) error
}

// Tools are what actions are done with.
type Tools struct {
	// Units is nil where there is no systemd.
	Units Units
	// Notify tells people something, by the name of a target.
	Notify func(ctx context.Context, target, text string) error
	// Order gives a job of ours an order, and returns what it says to that.
	Order func(ctx context.Context, job, order string, with map[string]string) (string, error)
	// Secrets has the URL and headers of a request, which are not kept with the call.
	Secrets func(c *rule.Call) (*rule.Request, error)
	// Client makes requests.
	Client *http.Client
	// Origins, if it is not nil, is told which programs run.
	Origins *Origins
	// Life tells our marks from those of other jobs, and of other lives of the store: see Leftover.
	Life string
}

// Outcome is how a call went.
type Outcome struct {
	Begun time.Time     `json:"begun"`
	Took  time.Duration `json:"took"`
	// Failed is why it did not do what it should; "" if it did.
	Failed string `json:"failed,omitempty"`
	// Code is what a program ended with, -1 if a signal ended it, or the status of an HTTP answer.
	Code int `json:"code,omitempty"`
	// Output is what the program wrote, or the beginning of the answer's body: text, in which what is no text is written as
	// an escape.
	Output string `json:"output,omitempty"`
	// Left is how many processes a program left behind that had to be killed.
	Left int `json:"left,omitempty"`
	// Unknown is whether nobody knows if it did what it should. Failed says why.
	Unknown bool `json:"unknown,omitempty"`
	// Again is whether it makes sense to try it again: nobody has to change anything first.
	Again bool `json:"again,omitempty"`
}

const (
	// mostOutput is how much of an output is kept.
	mostOutput = 16 << 10
	// grace is how long a program that took too long has to end.
	grace = 2 * time.Second
)

// Do does a call, within its time. When ctx ends it is broken off, and what has become of it is not known: that is the error.
func (t *Tools) Do(ctx context.Context, c *rule.Call) (Outcome, error) {
	o := Outcome{Begun: time.Now()}
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var err error
	switch {
	case c.Run != nil:
		err = t.run(ctx, c, &o)
	case c.HTTP != nil:
		err = t.request(limited, c, &o)
	case c.Systemctl != "":
		err = t.unit(func() error { return t.Units.Do(limited, c.Systemctl, c.Unit) })
	case c.Signal != "":
		err = t.unit(func() error { return t.Units.Kill(limited, c.Unit, c.Signal) })
	case c.Notify != "":
		err = t.Notify(limited, c.Notify, c.Text)
	case c.Holdfast != "":
		o.Output, err = t.Order(limited, c.Job, c.Holdfast, c.With)
	default:
		err = fault.New(fault.Invalid, "this action says nothing that could be done")
	}
	o.Took = time.Since(o.Begun)
	if ctx.Err() != nil {
		return o, context.Cause(ctx)
	}
	if err == nil {
		return o, nil
	}
	o.Failed, o.Again = err.Error(), !slices.Contains(hopeless, fault.KindOf(err))
	o.Unknown = errors.Is(err, ErrUnknown)
	if errors.Is(err, context.DeadlineExceeded) { // that it took too long is known
		o.Unknown = false
		o.Failed = fmt.Sprintf("it took longer than %v: %v", c.Timeout, err)
	}
	return o, nil
}

// hopeless are the kinds of faults that another try does not mend.
var hopeless = []fault.Kind{fault.Permanent, fault.Invalid, fault.Credentials, fault.NotFound}

func (t *Tools) unit(do func() error) error {
	if t.Units == nil {
		return fault.New(fault.Permanent, "there is no systemd here that could be asked")
	}
	return do()
}

// run runs a program.
func (t *Tools) run(ctx context.Context, c *rule.Call, o *Outcome) error {
	if err := process.Safe(c.Run[0]); err != nil { // looked at each time: it may be another one than when the rules were read
		return err
	}
	cmd := process.Command{Args: c.Run, Mark: t.mark(c), Within: c.Timeout, Grace: grace, Keep: mostOutput}
	for name, value := range c.Env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if c.RunAs != "" {
		var err error
		if cmd.User, err = process.FindUser(c.RunAs); err != nil {
			return err
		}
	}
	started, ended := t.Origins.begins(c.ID, cmd.Mark)
	defer ended()
	cmd.Started = started
	r, err := cmd.Run(ctx)
	o.Code, o.Output, o.Left = r.Code, visible.Text(r.Text(), "\n\t"), r.Left
	if err == nil && !r.OK() {
		return fmt.Errorf("%s: %v", c.Run[0], r)
	}
	return err
}

// mark returns what the processes of a call are found by. The ID is escaped: it has the key, and so any bytes of a line in it.
func (t *Tools) mark(c *rule.Call) string { return t.Life + "/" + url.PathEscape(c.ID) }

// Leftover ends the programs that were running when an earlier process of ours was killed, and returns how many processes
// that were.
func (t *Tools) Leftover() (int, error) {
	if t.Life == "" {
		return 0, nil
	}
	return process.Sweep(t.Life + "/")
}

func text(b []byte) string {
	return visible.Text(process.Result{Output: b, Cut: len(b)}.Text(), "\n\t")
}

// request makes an HTTP request.
func (t *Tools) request(ctx context.Context, c *rule.Call, o *Outcome) error {
	secret, err := t.Secrets(c)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, c.HTTP.Method, secret.URL.Reveal(), strings.NewReader(c.HTTP.Body))
	if err != nil {
		return fault.New(fault.Permanent, "the URL of this request is none") // the error would show it
	}
	req.Header.Set("Content-Type", c.HTTP.Type)
	req.Header.Set("User-Agent", "holdfast")
	// A server that knows this key does what it is asked for only once (draft-ietf-httpapi-idempotency-key-header).
	req.Header.Set("Idempotency-Key", `"`+url.PathEscape(c.ID)+`"`)
	for name, value := range secret.Headers {
		req.Header.Set(name, value.Reveal())
	}
	resp, err := t.Client.Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL, which may hold a secret
	}
	if err != nil {
		return fault.New(fault.Transient, "%w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostOutput))
	o.Code, o.Output = resp.StatusCode, text(body)
	switch {
	case resp.StatusCode/100 == 3:
		return fault.WithHint(fault.New(fault.Invalid, "the server answers %s, and no redirect is followed: what is sent may be secret",
			resp.Status), "name the URL that it leads to")
	case resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusRequestTimeout:
		return fault.New(fault.Invalid, "the server answers %s", resp.Status)
	case resp.StatusCode/100 != 2:
		return fault.New(fault.Transient, "the server answers %s", resp.Status)
	case err != nil:
		return fault.New(fault.Transient, "the answer %s breaks off: %w", resp.Status, err)
	}
	return nil
}
