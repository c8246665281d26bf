package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/app/desk"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/face/api"
)

// asked is a data directory with somebody who answers for it.
type asked struct {
	place  datadir.Place
	client *api.Client
	close  func() error
	// rep is what a command that works on a job was told when the job was looked for.
	rep desk.Report
}

// found are the data directories that the command is about, and the configuration, if one was given.
func (f *face) found() (found []datadir.Place, cfg *app.Config, err error) {
	dir := f.dataDir
	if f.config != "" {
		if cfg, err = app.Peek(f.config); err != nil {
			return nil, nil, err
		}
		if dir == "" {
			dir = cfg.DataDir
		}
	}
	found, err = datadir.Places(dir)
	return found, cfg, err
}

// places opens every data directory that the command is about.
func (f *face) places() (all []asked, err error) {
	found, cfg, err := f.found()
	if err != nil {
		return nil, err
	}
	for _, p := range found {
		a, err := open(p, cfg)
		if err != nil {
			for _, a := range all {
				a.close()
			}
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// startingFor is how long a process may hold a data directory without answering on its socket.
const startingFor = 3 * time.Second

// answersIn is how long a process that listens on its socket may take to say that it is there. One that takes longer was
// stopped, or hangs.
const answersIn = 30 * time.Second

// answers waits until a process says that it is there.
func answers(c *api.Client, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return c.Do(ctx, api.Request{Method: http.MethodGet, Path: "/healthz"})
}

// open finds who answers for a data directory: the engine that runs there, else we ourselves.
func open(p datadir.Place, cfg *app.Config) (asked, error) {
	for deadline := time.Now().Add(startingFor); ; {
		if c, err := api.Dial(p.Dir); err == nil {
			err := answers(c, answersIn)
			if err == nil {
				return asked{place: p, client: c, close: func() error { return nil }}, nil
			}
			if errors.Is(err, context.DeadlineExceeded) {
				return asked{}, fault.WithHint(fault.New(fault.Transient, "the holdfast that runs in %s does not answer: it was asked %v ago",
					p.Dir, answersIn), "it was stopped (SIGSTOP) or hangs, or the machine does: see its log and `systemctl status`")
			}
		}
		d, err := desk.Open(p, cfg)
		if err == nil {
			// Root may ask of what belongs to a service, which has to be able to go on with it.
			done := func() error { return errors.Join(d.Close(), disk.GiveBack(p.Dir)) }
			return asked{place: p, client: api.Local(api.Handler(d)), close: done}, nil
		}
		if !fault.Is(err, fault.Busy) {
			return asked{}, err
		}
		if time.Now().After(deadline) {
			return asked{}, fault.WithHint(fmt.Errorf("%w, which does not answer", err),
				"it may be starting or waiting for room on the disk: see its log")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// each calls do for every data directory.
func (f *face) each(do func(a asked) error) (err error) {
	all, err := f.places()
	if err != nil {
		return err
	}
	for _, a := range all {
		err = errors.Join(err, do(a))
	}
	for _, a := range all {
		err = errors.Join(err, a.close())
	}
	return err
}

// withJob calls do for the data directory that has the job; "" stands for the only job there is.
func (f *face) withJob(ctx context.Context, job string, do func(a asked, job string) error) error {
	return f.withJobOf(ctx, "", job, do)
}

// withJobOf is withJob for jobs of one kind.
func (f *face) withJobOf(ctx context.Context, kind, job string, do func(a asked, job string) error) (err error) {
	all, err := f.places()
	if err != nil {
		return err
	}
	defer func() {
		for _, a := range all {
			err = errors.Join(err, a.close())
		}
	}()
	type one struct {
		a   asked
		job string
	}
	var hits []one
	var names []string
	for _, a := range all {
		if a.rep, err = a.status(ctx); err != nil {
			return err
		}
		for _, j := range a.rep.Jobs {
			if kind != "" && j.Kind != kind && j.Name != job {
				continue
			}
			names = append(names, j.Name)
			if job == "" || j.Name == job {
				hits = append(hits, one{a, j.Name})
			}
		}
	}
	switch {
	case len(hits) == 1:
		return do(hits[0].a, hits[0].job)
	case len(hits) == 0 && job != "":
		return fault.WithHint(fault.New(fault.NotFound, "there is no job %s", job), "jobs are: %s",
			orNone(strings.Join(names, ", ")))
	case len(hits) == 0:
		return fault.New(fault.NotFound, "there is no %s", cmp.Or(kind, "job"))
	case job == "":
		return &fault.Usage{Err: fault.WithHint(errors.New("there is more than one "+cmp.Or(kind, "job")), "name one of: %s",
			strings.Join(names, ", "))}
	}
	return &fault.Usage{Err: fault.WithHint(
		fmt.Errorf("there is a job %s in more than one data directory", job),
		"choose one with --data-dir")}
}

func (a asked) status(ctx context.Context) (rep desk.Report, err error) {
	return rep, a.client.Do(ctx, api.Request{Method: "GET", Path: "/api/v1/jobs", Result: &rep})
}

// path is a path of the API below a job.
func path(job string, rest ...string) string {
	p := "/api/v1/jobs/" + url.PathEscape(job)
	for _, r := range rest {
		p += "/" + url.PathEscape(r)
	}
	return p
}
