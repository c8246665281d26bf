package api

import (
	"context"
	"maps"
	"path/filepath"
	"time"

	"holdfast/app/desk"
	"holdfast/base/fault"
	"holdfast/kernel/engine"
)

// routes are all that the API answers.
func routes(d *desk.Desk) map[string]work {
	all := map[string]work{}
	for _, room := range []map[string]work{jobRoutes(d), spoolRoutes(d), deadRoutes(d), fileRoutes(d),
		checkpointRoutes(d), watchRoutes(d), crawlRoutes(d), superviseRoutes(d), tourRoutes(d)} {
		maps.Copy(all, room)
	}
	return all
}

// watchRoutes are for other programs that watch over us.
func watchRoutes(d *desk.Desk) map[string]work {
	return map[string]work{
		"GET " + openapiPath: describe,
		"GET " + metricsPath: newMetrics(d).serve,
		"GET " + healthPath:  healthy,
		"GET " + readyPath:   func(_ context.Context, c *call) (any, error) { return ready(d, c) },
	}
}

func jobRoutes(d *desk.Desk) map[string]work {
	return map[string]work{
		"GET /api/v1/jobs": func(ctx context.Context, c *call) (any, error) {
			return d.Status(ctx, c.FormValue("job"))
		},
		"GET /api/v1/jobs/{job}": func(ctx context.Context, c *call) (any, error) {
			rep, err := d.Status(ctx, c.job())
			if err != nil || len(rep.Jobs) == 0 {
				return nil, err
			}
			return rep.Jobs[0], nil
		},
		"GET /api/v1/gates": func(ctx context.Context, c *call) (any, error) {
			list, err := d.Gates(ctx, c.FormValue("job"))
			return map[string]any{"gates": list}, err
		},
		"GET /api/v1/balance": func(ctx context.Context, c *call) (any, error) {
			list, err := d.Balance(ctx, c.FormValue("job"))
			return map[string]any{"jobs": list}, err
		},
		"GET /api/v1/jobs/{job}/gaps": func(ctx context.Context, c *call) (any, error) {
			return gaps(ctx, d, c)
		},
		"GET /api/v1/windows": func(ctx context.Context, c *call) (any, error) { return windows(ctx, d, c) },
		"GET /api/v1/series":  func(_ context.Context, c *call) (any, error) { return series(d, c) },
		"GET /api/v1/jobs/{job}/timeline": func(ctx context.Context, c *call) (any, error) {
			return timeline(ctx, d, c)
		},
		"GET /api/v1/audit": func(ctx context.Context, c *call) (any, error) {
			return d.Audit(ctx, c.FormValue("job"), c.flag("deep"), c.tell)
		},
		"GET /api/v1/overview": newOverviews(d).serve,
		"GET /api/v1/session":  session,
		"GET /api/v1/events":   newStreams(d).events,
		"POST /api/v1/reload":  func(ctx context.Context, _ *call) (any, error) { return d.Reload(ctx) },
		"POST /api/v1/jobs/{job}/pause": func(_ context.Context, c *call) (any, error) {
			return done(d.Pause(c.job()))
		},
		"POST /api/v1/jobs/{job}/resume": func(_ context.Context, c *call) (any, error) {
			return done(d.Resume(c.job()))
		},
		"POST /api/v1/jobs/{job}/acknowledge": func(ctx context.Context, c *call) (any, error) {
			var shown *desk.Loss
			if err := c.body(&shown); err != nil {
				return nil, err
			}
			return done(d.Acknowledge(ctx, c.job(), shown))
		},
		"POST /api/v1/jobs/{job}/gates/{gate}/open": func(_ context.Context, c *call) (any, error) {
			o, err := c.order()
			if err != nil {
				return nil, err
			}
			return done(d.OpenGate(c.job(), c.PathValue("gate"), o.Reason))
		},
		"GET /api/v1/jobs/{job}/reports": func(_ context.Context, c *call) (any, error) { return reports(d, c) },
		"POST /api/v1/jobs/{job}/backfill": func(ctx context.Context, c *call) (any, error) {
			return said(d.Command(ctx, c.job(), "backfill"))
		},
	}
}

func spoolRoutes(d *desk.Desk) map[string]work {
	return map[string]work{
		"GET /api/v1/jobs/{job}/spool": func(ctx context.Context, c *call) (any, error) {
			return blocks(ctx, d, c)
		},
		"GET /api/v1/jobs/{job}/spool/stats": func(ctx context.Context, c *call) (any, error) {
			sel, err := c.selection()
			if err != nil {
				return nil, err
			}
			return d.Stats(ctx, c.job(), sel)
		},
		"GET /api/v1/jobs/{job}/spool/rows": func(ctx context.Context, c *call) (any, error) {
			return rows(ctx, d, c)
		},
		"POST /api/v1/jobs/{job}/spool/verify": func(ctx context.Context, c *call) (any, error) {
			return d.VerifySpool(ctx, c.job(), c.tell)
		},
		"POST /api/v1/jobs/{job}/spool/replay": func(ctx context.Context, c *call) (any, error) {
			o, err := c.order()
			if err != nil {
				return nil, err
			}
			return d.Replay(ctx, c.job(), o.Sink, o.From, o.To, c.tell)
		},
		"POST /api/v1/jobs/{job}/spool/import": func(ctx context.Context, c *call) (any, error) {
			return importDir(ctx, d, c)
		},
		"POST /api/v1/jobs/{job}/spool/export": func(ctx context.Context, c *call) (any, error) {
			return exportDir(ctx, d, c)
		},
	}
}

func deadRoutes(d *desk.Desk) map[string]work {
	return map[string]work{
		"GET /api/v1/jobs/{job}/dead": func(ctx context.Context, c *call) (any, error) {
			return letters(ctx, d, c)
		},
		"GET /api/v1/jobs/{job}/dead/{id}": func(ctx context.Context, c *call) (any, error) {
			return letter(ctx, d, c)
		},
		"POST /api/v1/jobs/{job}/dead/{id}/retry": func(ctx context.Context, c *call) (any, error) {
			id, err := c.number("id", 0)
			if err != nil {
				return nil, err
			}
			return done(d.RetryDead(ctx, c.job(), id))
		},
		"POST /api/v1/jobs/{job}/dead/{id}/edit": func(ctx context.Context, c *call) (any, error) {
			id, err := c.number("id", 0)
			if err != nil {
				return nil, err
			}
			o, err := c.order()
			if err != nil {
				return nil, err
			}
			return done(d.EditDead(ctx, c.job(), id, o.Edit))
		},
		"POST /api/v1/jobs/{job}/dead/{id}/discard": func(ctx context.Context, c *call) (any, error) {
			id, err := c.number("id", 0)
			if err != nil {
				return nil, err
			}
			o, err := c.order()
			if err != nil {
				return nil, err
			}
			return done(d.DiscardDead(ctx, c.job(), id, o.Reason))
		},
	}
}

func checkpointRoutes(d *desk.Desk) map[string]work {
	return map[string]work{
		"GET /api/v1/checkpoints": func(_ context.Context, c *call) (any, error) {
			list, err := d.ListCheckpoints(c.FormValue("job"))
			return map[string]any{"checkpoints": list}, err
		},
		"POST /api/v1/jobs/{job}/checkpoints": func(ctx context.Context, c *call) (any, error) {
			o, err := c.order()
			if err != nil {
				return nil, err
			}
			return d.CreateCheckpoint(ctx, c.job(), o.Name, c.tell)
		},
		"POST /api/v1/jobs/{job}/checkpoints/import": func(ctx context.Context, c *call) (any, error) {
			o, err := c.order()
			if err = given("file", o.File, err); err != nil {
				return nil, err
			}
			return d.ImportCheckpoint(ctx, c.job(), o.File, c.tell)
		},
		"POST /api/v1/jobs/{job}/checkpoints/{name}/verify": func(ctx context.Context, c *call) (any, error) {
			return d.VerifyCheckpoint(ctx, c.job(), c.PathValue("name"), c.tell)
		},
		"POST /api/v1/jobs/{job}/checkpoints/{name}/restore": func(ctx context.Context, c *call) (any, error) {
			o, err := c.order()
			if err != nil {
				return nil, err
			}
			if o.Dir != "" {
				return d.RestoreInto(ctx, c.job(), c.PathValue("name"), o.Dir, c.tell)
			}
			return d.RestoreCheckpoint(ctx, c.job(), c.PathValue("name"), c.tell)
		},
		"POST /api/v1/jobs/{job}/checkpoints/{name}/export": func(ctx context.Context, c *call) (any, error) {
			o, err := c.order()
			if err = given("file", o.File, err); err != nil {
				return nil, err
			}
			return d.ExportCheckpoint(ctx, c.job(), c.PathValue("name"), o.File, c.tell)
		},
		"POST /api/v1/jobs/{job}/checkpoints/{name}/remove": func(_ context.Context, c *call) (any, error) {
			return done(d.RemoveCheckpoint(c.job(), c.PathValue("name")))
		},
	}
}

// reports answers as the API of the stream does.
func reports(d *desk.Desk, c *call) (any, error) {
	h, err := d.Reports(c.job())
	if err == nil {
		c.told = true
		h.ServeHTTP(c.w, c.Request)
	}
	return nil, err
}

// Order is what comes with a POST.
type Order struct {
	Dir    string `json:"dir,omitempty"` // an absolute path
	Raw    bool   `json:"raw,omitempty"`
	Reason string `json:"reason,omitempty"`
	Name   string `json:"name,omitempty"`
	File   string `json:"file,omitempty"` // an absolute path
	Sink   string `json:"sink,omitempty"`
	// From and To are event times; zero is no bound.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Edit changes the row of a dead letter.
	desk.Edit
}

// order reads what is ordered. A key that is not known is refused: with a mistyped bound a replay would have
// none.
func (c *call) order() (o Order, err error) {
	if err := c.body(&o); err != nil {
		return o, err
	}
	for _, p := range []string{o.Dir, o.File} {
		if p != "" && !filepath.IsAbs(p) {
			return o, fault.New(fault.Invalid, "want an absolute path, got %q", p)
		}
	}
	return o, nil
}

// Said is the answer to an order.
type Said struct {
	Text string `json:"text"`
}

// given refuses an order without the path that it is about.
func given(key, path string, err error) error {
	if err == nil && path == "" {
		err = fault.New(fault.Invalid, "read request: %s is missing, want an absolute path", key)
	}
	return err
}

func done(err error) (any, error) { return Said{"done"}, err }

func said(text string, err error) (any, error) { return Said{text}, err }

func importDir(ctx context.Context, d *desk.Desk, c *call) (any, error) {
	o, err := c.order()
	if err = given("dir", o.Dir, err); err != nil {
		return nil, err
	}
	return d.Import(ctx, c.job(), o.Dir, c.tell)
}

func exportDir(ctx context.Context, d *desk.Desk, c *call) (any, error) {
	o, err := c.order()
	if err = given("dir", o.Dir, err); err != nil {
		return nil, err
	}
	return d.Export(ctx, c.job(), o.Dir, o.Raw, c.tell)
}

func letters(ctx context.Context, d *desk.Desk, c *call) (any, error) {
	after, err := c.number("after", 0)
	if err != nil {
		return nil, err
	}
	max, err := c.number("max", 1000)
	if err != nil {
		return nil, err
	}
	list, err := d.DeadLetters(ctx, c.job(), after, int(min(max, maxLetters)))
	return map[string]any{"dead": append([]desk.DeadLetter{}, list...)}, err
}

func letter(ctx context.Context, d *desk.Desk, c *call) (any, error) {
	id, err := c.number("id", 0)
	if err != nil {
		return nil, err
	}
	return d.DeadLetter(ctx, c.job(), id)
}

// maxGaps and the others are how many of them one answer has at most.
const (
	maxGaps    = 10_000
	maxLetters = 10_000
	maxWindows = 10_000
	maxPoints  = 5_000
)

func gaps(ctx context.Context, d *desk.Desk, c *call) (any, error) {
	max, err := c.number("max", 1000)
	if err != nil {
		return nil, err
	}
	return d.Gaps(ctx, c.job(), !c.flag("all"), c.FormValue("after"), int(min(max, maxGaps)))
}

// windows answers with the windows of streams.
func windows(ctx context.Context, d *desk.Desk, c *call) (any, error) {
	limit, err := c.number("limit", 1000)
	if err != nil {
		return nil, err
	}
	q, err := desk.WindowQuery(c.FormValue("from"), c.FormValue("to"), c.FormValue("state"), c.FormValue("after"),
		int(min(limit, maxWindows)))
	if err != nil {
		return nil, err
	}
	list, next, err := d.Windows(ctx, c.FormValue("job"), q)
	out := map[string]any{"windows": list}
	if next != "" {
		out["next"] = next
	}
	return out, err
}

// timeline answers with how a job went between two times, given in seconds since 1970: the last hour without them.
func timeline(ctx context.Context, d *desk.Desk, c *call) (any, error) {
	now := uint64(time.Now().Unix())
	to, err := c.number("to", now)
	if err != nil {
		return nil, err
	}
	from, err := c.number("from", to-min(to, 3600))
	if err != nil {
		return nil, err
	}
	most, err := c.number("points", 1000)
	if err != nil {
		return nil, err
	}
	at := func(seconds uint64) time.Time { return time.Unix(int64(min(seconds, 1<<40)), 0) }
	return d.Timeline(ctx, c.job(), at(from), at(to), int(min(max(most, 1), maxPoints)))
}

// series answers with the samples behind a time, given in seconds since 1970.
func series(d *desk.Desk, c *call) (any, error) {
	since, err := c.number("since", 0)
	if err != nil {
		return nil, err
	}
	list, err := d.Series(c.FormValue("job"), time.Unix(int64(min(since, 1<<40)), 0))
	return map[string]any{"every": engine.SampleEvery.Seconds(), "jobs": list}, err
}
